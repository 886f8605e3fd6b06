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

// What is computed side by side, as every round waits for the one before.
constexpr int kChains = kLanes == 16 ? 4 : 2;

static inline void philox(Counter (&counters)[kChains], uint64_t key) {
  uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
  for (int round = 0; round < 10; ++round) {
    for (Counter& c : counters) {
      const vword first = times(c.word[0], 0xD2511F53), second = times(c.word[2], 0xCD9E8D57);
      c = {{(second >> 32) ^ c.word[1] ^ low, second, (first >> 32) ^ c.word[3] ^ high, first}};
    }
    low += 0x9E3779B9;
    high += 0xBB67AE85;
  }
}

constexpr int kVectors = 2 * kChains;          // of words, that one call of philox gives
constexpr int64_t kGroup = kVectors * kLanes;  // words

// What tells the numbers of one operation apart: element i has word i % 4 of the counter
// (i / 4 low, i / 4 high, step, stream).
struct Stream {
  uint64_t seed;
  uint32_t step, stream;
};

// Of two vectors of pairs, the pairs in turn: a0 b0 a1 b1 ..., the lower half or the upper.
static inline vint interleave(vword a, vword b, bool upper) {
  vword pick;
  for (int i = 0; i < kCounters; ++i)
    pick[i] = (uint64_t)(i / 2 + (upper ? kCounters / 2 : 0) + i % 2 * kCounters);
  return (vint)__builtin_shuffle(a, b, pick);
}

// The words of the elements [first, first + kGroup); `first` divides by kGroup.
static inline void draw(const Stream& s, int64_t first, vint (&words)[kVectors]) {
  Counter counters[kChains];
  vword lane;
  for (int i = 0; i < kCounters; ++i) lane[i] = (uint64_t)i;
  for (int i = 0; i < kChains; ++i) {
    const vword index = lane + (uint64_t)(first / 4 + i * kCounters);
    counters[i] = {{index, index >> 32, vword{} + s.step, vword{} + s.stream}};
  }
  philox(counters, s.seed);
  for (int i = 0; i < kChains; ++i) {
    const vword(&word)[4] = counters[i].word;
    const vword even = (word[0] & 0xffffffff) | word[1] << 32;
    const vword odd = (word[2] & 0xffffffff) | word[3] << 32;
    words[2 * i] = interleave(even, odd, false);
    words[2 * i + 1] = interleave(even, odd, true);
  }
}

// The upper 24 bits of each word.
static inline vint upper_bits(vint word) { return (word >> 8) & 0xffffff; }

// How many of the 2^24 values of upper_bits are below `probability`, which is in [0, 1].
static inline int32_t bits_below(float probability) {
  const double scaled = (double)probability * 0x1p24;
  const int32_t whole = (int32_t)scaled;
  return whole + (whole < scaled);
}

}  // namespace fastconv::cpu::FASTCONV_ISA
