// Quantised arrays: sums of products of bytes, exact in int32, and how such a sum becomes a byte
// again. The arithmetic is the same on every instruction set, to the last bit; the build keeps
// products and sums of floats apart for it (-ffp-contract=off).
#pragma once
#include "kernels.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {

// Register of kLanes bytes: the compiler takes them apart where it is left to convert vectors.
#if defined(__AVX2__)
typedef __m128i vbytes;  // AVX2 uses its lower half
#elif defined(__SSE4_1__)
typedef __m128i vbytes;  // its lowest quarter
#else
typedef uint8_t vbytes __attribute__((vector_size(kLanes)));
#endif

static inline vint widen_bytes(vbytes v) {
#if defined(__AVX512F__)
  return (vint)_mm512_maskz_cvtepu8_epi32((__mmask16)-1, v);
#elif defined(__AVX2__)
  return (vint)_mm256_cvtepu8_epi32(v);
#elif defined(__SSE4_1__)
  return (vint)_mm_cvtepu8_epi32(v);
#else
  return __builtin_convertvector(v, vint);
#endif
}

// The lowest byte of each lane.
static inline vbytes narrow_bytes(vint v) {
#if defined(__AVX512F__)
  return _mm512_maskz_cvtepi32_epi8((__mmask16)-1, (__m512i)v);
#elif defined(__AVX2__)
  const __m256i lowest = _mm256_set1_epi32(0x0c080400);
  const __m256i halves = _mm256_shuffle_epi8((__m256i)v, lowest);
  return _mm_unpacklo_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
#elif defined(__SSE4_1__)
  return _mm_shuffle_epi8((__m128i)v, _mm_set1_epi32(0x0c080400));
#else
  return __builtin_convertvector(v, vbytes);
#endif
}

// `count` (0 .. kLanes) bytes as lanes; the others are 0.
static inline vint load_bytes(const uint8_t* p, int64_t count = kLanes) {
  vbytes bytes = {};
  if (count == kLanes)
    __builtin_memcpy(&bytes, p, kLanes);
  else
    __builtin_memcpy(&bytes, p, static_cast<size_t>(count));
  return widen_bytes(bytes);
}

// The same with a sign.
static inline vint load_bytes(const int8_t* p, int64_t count = kLanes) {
  return load_bytes(reinterpret_cast<const uint8_t*>(p), count) << 24 >> 24;
}

// The lowest byte of each lane.
static inline void store_bytes(uint8_t* p, vint v, int64_t count = kLanes) {
  const vbytes bytes = narrow_bytes(v);
  if (count == kLanes)
    __builtin_memcpy(p, &bytes, kLanes);
  else
    __builtin_memcpy(p, &bytes, static_cast<size_t>(count));
}

// Half to even, for |x| < 2^22: the last place of the sum is 1, and its bits are x's.
static inline vint round_even(vfloat x) {
  const float shift = 0x1.8p23f;
  return (vint)(x + shift) - 0x4b400000;
}

// NaN becomes `low`.
static inline vfloat clip_to(vfloat x, float low, float high) {
  return min(max(x, splat(low)), splat(high));
}

// Requantization with its operands.
struct Requantizer {
  float multiplier, add_multiplier;
  float low, high;
  int32_t add_zero_point, zero_point;
  bool real;
  const uint8_t* add;  // null: none
  uint8_t* dst;

  // Elements go to dst[at .. at + count); x is what r is in steps of dst.
  void put(vfloat x, int64_t at, int64_t count) const {
    put_case(x, at, count, add != nullptr, real);
  }
  // The same where loops know the last arguments.
  __attribute__((always_inline)) void put_case(vfloat x, int64_t at, int64_t count, bool has_add,
                                               bool is_real) const {
    if (has_add) x += to_float(load_bytes(add + at, count) - add_zero_point) * add_multiplier;
    x = clip_to(x, low, high);
    if (is_real)
      store_lanes(reinterpret_cast<float*>(dst) + at, x, count);
    else
      store_bytes(dst + at, round_even(x) + zero_point, count);
  }
};

static inline Requantizer requantizer(const KernelCall& call, const Requantization& to,
                                      int32_t add_at) {
  return {to.src.scale / to.dst.scale,
          to.add.scale / to.dst.scale,
          to.low,
          to.high,
          to.add.zero_point,
          to.dst.zero_point,
          to.real != 0,
          to.has_add ? input<uint8_t>(call, add_at) : nullptr,
          output<uint8_t>(call, 0)};
}

// quantized_conv.cpp: a dense product for each group.
const char* quantized_conv_product_declines(const KernelCall& call);
void quantized_conv_product(const KernelCall& call);
int64_t quantized_conv_product_workspace(const KernelCall& call);
int64_t quantized_conv_product_prepared(const KernelCall& call);
void quantized_conv_product_prepare(const KernelCall& call);

// quantized_depthwise.cpp: one channel to one channel, and plain loops for every geometry.
const char* quantized_conv_depthwise_declines(const KernelCall& call);
void quantized_conv_depthwise(const KernelCall& call);
int64_t quantized_conv_depthwise_workspace(const KernelCall& call);
void quantized_conv_direct(const KernelCall& call);

// quantized_pool.cpp
void quantized_average_pool(const KernelCall& call);

}  // namespace fastconv::cpu::FASTCONV_ISA
