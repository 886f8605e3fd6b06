// Loops over contiguous float32 arrays, a vector at a time; dst may be one of the sources.
#pragma once
#include "parallel.h"
#include "simd.h"

namespace fastconv::cpu::FASTCONV_ISA {

constexpr int64_t kMapBlock = 16384;  // elements a task: small against L2, large against a fork

// dst[i] = f(a[i]) for i in [0, count), on the calling thread.
template <class F>
static inline void map_range(const float* a, float* dst, int64_t count, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(dst + i, f(load(a + i)));
  if (i < count) store_part(dst + i, f(load_part(a + i, count - i)), count - i);
}

template <class F>
static inline void map_range(const float* a, const float* b, float* dst, int64_t count,
                             const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(dst + i, f(load(a + i), load(b + i)));
  if (i == count) return;
  const int64_t rest = count - i;
  store_part(dst + i, f(load_part(a + i, rest), load_part(b + i, rest)), rest);
}

// The same on all threads; `work` is the cost of one element.
template <class F>
static inline void map(const float* a, float* dst, int64_t count, int64_t work, const F& f) {
  parallel_blocks(count, kMapBlock, work, [&](int64_t begin, int64_t end) {
    map_range(a + begin, dst + begin, end - begin, f);
  });
}

template <class F>
static inline void map(const float* a, const float* b, float* dst, int64_t count, int64_t work,
                       const F& f) {
  parallel_blocks(count, kMapBlock, work, [&](int64_t begin, int64_t end) {
    map_range(a + begin, b + begin, dst + begin, end - begin, f);
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
