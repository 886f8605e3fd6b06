// Loops over contiguous arrays of floats or bfloat16, a vector at a time; dst may be one of the
// sources.
#pragma once
#include "bfloat16.h"
#include "parallel.h"

namespace fastconv::cpu::FASTCONV_ISA {

constexpr int64_t kMapBlock = 16384;  // elements a task: small against L2, large against a fork

// dst[i] = f(a[i]) for i in [0, count), on the calling thread; `streams`: past the caches, which
// needs an aligned dst.
template <class A, class D, class F>
static inline void map_range(const A* a, D* dst, int64_t count, const F& f, bool streams = false) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const vfloat value = f(load(a + i));
    streams ? stream(dst + i, value) : store(dst + i, value);
  }
  if (i < count) store_part(dst + i, f(load_part(a + i, count - i)), count - i);
}

template <class T, class F>
static inline void map_range(const T* a, const T* b, T* dst, int64_t count, const F& f,
                             bool streams = false) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const vfloat value = f(load(a + i), load(b + i));
    streams ? stream(dst + i, value) : store(dst + i, value);
  }
  if (i == count) return;
  const int64_t rest = count - i;
  store_part(dst + i, f(load_part(a + i, rest), load_part(b + i, rest)), rest);
}

// Calls body(begin, end, streams) for blocks of `dst`, which is not streamed where it lies in a
// source: the caches have its lines already.
template <class T, class Body>
static inline void map_blocks(const T* dst, int64_t count, int64_t work, bool in_place,
                              const Body& body) {
  const bool streams = !in_place && worth_streaming(dst, count * int64_t{sizeof(T)});
  parallel_blocks(count, kMapBlock, work, [&](int64_t begin, int64_t end) {
    body(begin, end, streams);
    if (streams) stream_end();
  });
}

// map_range on all threads; `work` is the cost of one element.
template <class A, class D, class F>
static inline void map(const A* a, D* dst, int64_t count, int64_t work, const F& f) {
  const bool in_place = static_cast<const void*>(dst) == a;
  map_blocks(dst, count, work, in_place, [&](int64_t begin, int64_t end, bool streams) {
    map_range(a + begin, dst + begin, end - begin, f, streams);
  });
}

template <class T, class F>
static inline void map(const T* a, const T* b, T* dst, int64_t count, int64_t work, const F& f) {
  const bool in_place = dst == a || dst == b;
  map_blocks(dst, count, work, in_place, [&](int64_t begin, int64_t end, bool streams) {
    map_range(a + begin, b + begin, dst + begin, end - begin, f, streams);
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
