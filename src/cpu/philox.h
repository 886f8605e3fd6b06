// Philox4x32-10, a counter-based random generator: Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011. A number depends on its counter and key alone.
#pragma once
#include "simd.h"

namespace fastconv::cpu::FASTCONV_ISA {

// Counters side by side, each 32-bit word in a 64-bit lane, where the upper half is ignored.
typedef uint64_t vword __attribute__((vector_size(4 * kLanes)));
constexpr int kCounters = kLanes / 2;

struct Counter {
  vword word[4];
};

static inline vword times(vword a, uint32_t b) {
#if defined(__AVX512F__)
  return (vword)_mm512_maskz_mul_epu32(0xff, (__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
  return (vword)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#elif defined(__SSE2__)
  return (vword)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(b));
#else
  return (a & 0xffffffff) * b;
#endif
}

static inline Counter philox(Counter c, uint64_t key) {
  uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const vword first = times(c.word[0], 0xD2511F53), second = times(c.word[2], 0xCD9E8D57);
    c = {{(second >> 32) ^ c.word[1] ^ low, second, (first >> 32) ^ c.word[3] ^ high, first}};
    low += 0x9E3779B9;
    high += 0xBB67AE85;
  }
  return c;
}

}  // namespace fastconv::cpu::FASTCONV_ISA
