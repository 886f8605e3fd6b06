// Element types as C++ types, and conversion between any two of them: constexpr, for the kernels of
// src/cuda take it from here.
#pragma once
#include "fastconv/types.h"

namespace fastconv::cpu::FASTCONV_ISA {

struct Boolean {
  uint8_t bits;
};
struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

static constexpr uint32_t float_bits(float x) { return __builtin_bit_cast(uint32_t, x); }
static constexpr float bits_float(uint32_t word) { return __builtin_bit_cast(float, word); }

// A value in the arithmetic type that holds it.
template <class T>
static constexpr T widen(T x) {
  return x;
}
static constexpr uint8_t widen(Boolean x) { return x.bits != 0; }
static constexpr float widen(BFloat16 x) { return bits_float((uint32_t)x.bits << 16); }
// The denormals of float16 are made from their integer: float denormals are flushed.
static constexpr float widen(Float16 x) {
  const uint32_t sign = (uint32_t)(x.bits & 0x8000) << 16;
  const uint32_t magnitude = x.bits & 0x7fff;
  const float small = (float)(int32_t)magnitude * 0x1p-24f;
  const uint32_t rebias = magnitude < 0x7c00 ? 112u << 23 : 224u << 23;
  const uint32_t word = magnitude < 0x400 ? float_bits(small) : (magnitude << 13) + rebias;
  return bits_float(word | sign);
}

// Rounds to nearest, ties to even; NaN stays NaN.
static constexpr BFloat16 to_bfloat16(float x) {
  const uint32_t word = float_bits(x);
  const uint32_t rounded = (word + 0x7fff + (word >> 16 & 1)) >> 16;
  return {(uint16_t)(x != x ? word >> 16 | 0x40 : rounded)};
}

// Below 2^-14 the sum with 0.5 has the last place of float16's denormals, and rounds for us.
static constexpr Float16 to_float16(float x) {
  const uint32_t word = float_bits(x), sign = word >> 16 & 0x8000, magnitude = word & 0x7fffffff;
  const uint32_t small = float_bits(bits_float(magnitude) + 0.5f) - float_bits(0.5f);
  const uint32_t normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
  uint32_t result = magnitude < (113u << 23) ? small : normal;
  result = magnitude >= 0x477ff000 ? 0x7c00 : result;  // 65520 and above
  result = magnitude > 0x7f800000 ? 0x7e00 : result;
  return {(uint16_t)(result | sign)};
}

// Floating to integer saturates, and NaN gives 0; `low` and `high` are exact in From.
template <class To, class From>
static constexpr To saturate(From x, From low, From high, To lowest, To highest) {
  const To inside = x > low && x < high ? (To)x : To{0};
  return x >= high ? highest : (x <= low ? lowest : inside);
}

template <class T>
constexpr bool kFloating = false;
template <>
inline constexpr bool kFloating<float> = true;
template <>
inline constexpr bool kFloating<double> = true;

// From an arithmetic type, which widen() gives. Integer to integer wraps.
template <class To, class From>
struct Narrow {
  static constexpr To of(From x) { return (To)x; }
};
template <class From>
struct Narrow<Boolean, From> {
  static constexpr Boolean of(From x) { return {(uint8_t)(x != 0)}; }
};
template <class From>
struct Narrow<BFloat16, From> {
  static constexpr BFloat16 of(From x) { return to_bfloat16((float)x); }
};
template <class From>
struct Narrow<Float16, From> {
  static constexpr Float16 of(From x) { return to_float16((float)x); }
};
template <class From>
  requires kFloating<From>
struct Narrow<int64_t, From> {
  static constexpr int64_t of(From x) {
    return saturate<int64_t, From>(x, -0x1p63, 0x1p63, INT64_MIN, INT64_MAX);
  }
};
template <class From>
  requires kFloating<From>
struct Narrow<int32_t, From> {
  static constexpr int32_t of(From x) {
    return saturate<int32_t, From>(x, -0x1p31, 0x1p31, INT32_MIN, INT32_MAX);
  }
};
template <class From>
  requires kFloating<From>
struct Narrow<uint8_t, From> {
  static constexpr uint8_t of(From x) { return saturate<uint8_t, From>(x, 0, 255, 0, 255); }
};
template <class From>
  requires kFloating<From>
struct Narrow<int8_t, From> {
  static int8_t of(From x) { return saturate<int8_t, From>(x, -128, 127, -128, 127); }
};

template <class To, class From>
static constexpr To convert(From x) {
  const auto wide = widen(x);
  return Narrow<To, decltype(widen(x))>::of(wide);
}

template <class T>
struct TypeTag {
  using type = T;
};

// Calls f with the TypeTag of a dtype known only at run time.
template <class F>
static inline void with_type(Dtype dtype, const F& f) {
  switch (dtype) {
    case Dtype::float32: return f(TypeTag<float>{});
    case Dtype::float64: return f(TypeTag<double>{});
    case Dtype::bfloat16: return f(TypeTag<BFloat16>{});
    case Dtype::float16: return f(TypeTag<Float16>{});
    case Dtype::int64: return f(TypeTag<int64_t>{});
    case Dtype::int32: return f(TypeTag<int32_t>{});
    case Dtype::uint8: return f(TypeTag<uint8_t>{});
    case Dtype::boolean: return f(TypeTag<Boolean>{});
    case Dtype::int8: return f(TypeTag<int8_t>{});
  }
}

// Calls f with an unsigned type of that many bytes, for kernels that only move data.
template <class F>
static inline void with_size(int64_t bytes, const F& f) {
  switch (bytes) {
    case 1: return f(TypeTag<uint8_t>{});
    case 2: return f(TypeTag<uint16_t>{});
    case 4: return f(TypeTag<uint32_t>{});
    default: return f(TypeTag<uint64_t>{});
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
