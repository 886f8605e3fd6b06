// Products of four bytes at a time: uint8 activations times int8 weights, added in int32. No sum of
// two products may saturate on the way, as those of vpmaddubsw do (2 * 255 * 127 > 2^15).
#pragma once
#include "simd.h"

namespace fastconv::cpu::FASTCONV_ISA {

// The sum of the two products of 16-bit integers in each lane.
static inline vint add_pairs(vint a, vint b) {
#if defined(__AVX512BW__)
  return (vint)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (vint)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (vint)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
  return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)

// With vpdpbusd a vector of weights is used as it is.
constexpr bool kVnni = true;
struct Weights4 {
  explicit Weights4(vint bytes) : all(bytes) {}
  vint all;
};
struct Activations4 {
  explicit Activations4(int32_t bytes) : all(splat(bytes)) {}
  vint all;
};
static inline vint dot4(vint sum, const Activations4& a, const Weights4& b) {
#if defined(__AVX512VNNI__)
  return (vint)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a.all, (__m512i)b.all);
#else
  return (vint)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)a.all, (__m256i)b.all);
#endif
}

#else

// Elsewhere bytes 0 and 2, and bytes 1 and 3, are widened to 16 bits, for add_pairs().
constexpr bool kVnni = false;
typedef int16_t vshort __attribute__((vector_size(4 * kLanes)));

struct Weights4 {
  explicit Weights4(vint bytes)
      : even((vint)((vshort)bytes << 8 >> 8)), odd((vint)((vshort)bytes >> 8)) {}
  vint even, odd;
};
struct Activations4 {
  explicit Activations4(int32_t bytes)
      : even(splat(bytes) & 0x00ff00ff), odd(splat(bytes) >> 8 & 0x00ff00ff) {}
  vint even, odd;
};
static inline vint dot4(vint sum, const Activations4& a, const Weights4& b) {
  return sum + add_pairs(a.even, b.even) + add_pairs(a.odd, b.odd);
}

#endif

}  // namespace fastconv::cpu::FASTCONV_ISA
