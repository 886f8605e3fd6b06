// bfloat16, the upper half of a float. Kernels read and write it a vector at a time and compute in
// float32; products take it in pairs.
#pragma once
#include "convert.h"
#include "simd.h"

namespace fastconv::cpu::FASTCONV_ISA {

static inline float to_float(float x) { return x; }
static inline float to_float(BFloat16 x) { return widen(x); }

typedef uint32_t vuint __attribute__((vector_size(4 * kLanes)));
typedef uint16_t vhalf __attribute__((vector_size(2 * kLanes)));
typedef uint16_t vhalf_any __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

// gcc 12 takes detours for __builtin_convertvector, and warns of its own header without the mask.
static inline vuint halves_of(vhalf h) {
#if defined(__AVX512F__)
  return (vuint)_mm512_maskz_cvtepu16_epi32((__mmask16)-1, (__m256i)h);
#elif defined(__AVX2__)
  return (vuint)_mm256_cvtepu16_epi32((__m128i)h);
#else
  return __builtin_convertvector(h, vuint);
#endif
}

// Rounds to nearest, ties to even; NaN stays NaN.
static inline vhalf narrowed(vfloat v) {
#if defined(__AVX512BF16__)
  return (vhalf)_mm512_cvtneps_pbh((__m512)v);
#else
  const vuint word = (vuint)v, rounded = (word + 0x7fff + (word >> 16 & 1)) >> 16;
  return __builtin_convertvector(v != v ? word >> 16 | 0x40 : rounded, vhalf);
#endif
}

static inline vhalf load_halves(const BFloat16* p, int64_t count) {
  if (count == kLanes) return *reinterpret_cast<const vhalf_any*>(p);
#if defined(__AVX512F__)
  return (vhalf)_mm256_maskz_loadu_epi16(part_mask(count), p);
#else
  vhalf h = {};
  __builtin_memcpy(&h, p, static_cast<size_t>(2 * count));
  return h;
#endif
}

// Beside those of simd.h.
static inline vfloat load(const BFloat16* p) {
  return (vfloat)(halves_of(load_halves(p, kLanes)) << 16);
}
static inline vfloat load_part(const BFloat16* p, int64_t count) {
  return (vfloat)(halves_of(load_halves(p, count)) << 16);
}
static inline void store(BFloat16* p, vfloat v) { *reinterpret_cast<vhalf_any*>(p) = narrowed(v); }
static inline void store_part(BFloat16* p, vfloat v, int64_t count) {
  const vhalf h = narrowed(v);
#if defined(__AVX512F__)
  _mm256_mask_storeu_epi16(p, part_mask(count), (__m256i)h);
#else
  __builtin_memcpy(p, &h, static_cast<size_t>(2 * count));
#endif
}
static inline void stream(BFloat16* p, vfloat v) {
#if defined(__AVX512F__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)narrowed(v));
#else
  store(p, v);
#endif
}

// Elements of a row that a product takes at a time: one float, or a pair of bfloat16.
template <class T>
constexpr int64_t kInWord = sizeof(float) / sizeof(T);

// A pair is a word of two bfloat16, the first one in its lower half.
static inline vfloat pairs_of(vhalf first, vhalf second) {
  return (vfloat)(halves_of(first) | halves_of(second) << 16);
}

// dst[i][j] = the pair of column j of rows 2i and 2i + 1, of `count` rows; zeros behind the last
// row and the last column. `width` is a multiple of kLanes; row(i) gives an address.
template <class Row>
static inline void pack_pairs(int64_t count, int64_t columns, int64_t width, const Row& row,
                              float* dst) {
  for (int64_t i = 0; i < count; i += 2, dst += width) {
    const BFloat16 *first = row(i), *second = i + 1 < count ? row(i + 1) : nullptr;
    for (int64_t j = 0; j < width; j += kLanes) {
      const int64_t left = columns - j, lanes = left < 0 ? 0 : left < kLanes ? left : kLanes;
      const vhalf below = second ? load_halves(second + j, lanes) : vhalf{};
      store(dst + j, pairs_of(load_halves(first + j, lanes), below));
    }
  }
}

// sum + the products of both halves of a and b.
static inline vfloat add_pairs(vfloat sum, vfloat a, vfloat b) {
#if defined(__AVX512BF16__)
  return (vfloat)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  const auto first = [](vfloat v) { return (vfloat)((vuint)v << 16); };
  const auto second = [](vfloat v) { return (vfloat)((vuint)v & 0xffff0000); };
  return sum + first(a) * first(b) + second(a) * second(b);
#endif
}

}  // namespace fastconv::cpu::FASTCONV_ISA
