// Philox4x32-10, a counter-based random generator: Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011. The words are those of src/cpu/philox.h.
#pragma once
#include "kernels.h"

namespace fastconv::cuda {

struct Words {
  uint32_t word[4];
};

__device__ __forceinline__ Words philox(Words c, uint64_t key) {
  uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t first = (uint64_t)c.word[0] * 0xD2511F53u;
    const uint64_t second = (uint64_t)c.word[2] * 0xCD9E8D57u;
    c = {{(uint32_t)(second >> 32) ^ c.word[1] ^ low, (uint32_t)second,
          (uint32_t)(first >> 32) ^ c.word[3] ^ high, (uint32_t)first}};
    low += 0x9E3779B9u;
    high += 0xBB67AE85u;
  }
  return c;
}

// What tells the numbers of one operation apart: element i has word i % 4 of the counter
// (i / 4 low, i / 4 high, step, stream). `random` is seed and step.
struct Stream {
  const int64_t* random;
  uint32_t stream;
  __device__ __forceinline__ Words words(int64_t group) const {
    const uint64_t index = (uint64_t)group;
    return philox({{(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)random[1], stream}},
                  (uint64_t)random[0]);
  }
};

// f(i, word of element i) for i in [0, count).
template <class F>
void for_words(const KernelCall& call, const Stream& stream, int64_t count, const F& f) {
  for_each(call, ceil_div(count, 4), [=] __device__(int64_t group) {
    const Words words = stream.words(group);
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (group * 4 + k < count) f(group * 4 + k, words.word[k]);
  });
}

// How many of the 2^24 values of the upper 24 bits are below `probability`, which is in [0, 1].
static inline uint32_t bits_below(float probability) {
  const double scaled = (double)probability * 0x1p24;
  const uint32_t whole = (uint32_t)scaled;
  return whole + (whole < scaled);
}

}  // namespace fastconv::cuda
