// dst[i] = f(sources[i]...) by map, f(i, sources[i]...) by map_at: element by element, four a
// thread, read before the first is written, so that dst may be a source.
#pragma once
#include "kernels.h"

namespace fastconv::cuda {

template <bool Indexed, int N, class F>
struct Map {
  static constexpr int kThreads = 256, kEach = 4;
  const float* sources[N];
  float* dst;
  int64_t count;
  bool aligned;  // to 16 bytes, all of them
  F f;

  __device__ __forceinline__ float value(const float (&x)[N][kEach], int64_t first, int i) const {
    if constexpr (N == 1)
      return of(first + i, x[0][i]);
    else if constexpr (N == 2)
      return of(first + i, x[0][i], x[1][i]);
    else
      return of(first + i, x[0][i], x[1][i], x[2][i]);
  }
  template <class... X>
  __device__ __forceinline__ float of([[maybe_unused]] int64_t i, X... x) const {
    if constexpr (Indexed)
      return f(i, x...);
    else
      return f(x...);
  }

  __device__ void operator()() const {
    const int64_t first = thread_index() * kEach;
    if (first >= count) return;
    float x[N][kEach] = {};
    if (aligned && first + kEach <= count) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float4 four = *reinterpret_cast<const float4*>(sources[n] + first);
        x[n][0] = four.x, x[n][1] = four.y, x[n][2] = four.z, x[n][3] = four.w;
      }
      const float4 result = {value(x, first, 0), value(x, first, 1), value(x, first, 2),
                             value(x, first, 3)};
      *reinterpret_cast<float4*>(dst + first) = result;
      return;
    }
    float result[kEach] = {};
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (first + i >= count) continue;
#pragma unroll
      for (int n = 0; n < N; ++n) x[n][i] = sources[n][first + i];
      result[i] = value(x, first, i);
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      if (first + i < count) dst[first + i] = result[i];
  }
};

static inline bool is_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

template <bool Indexed, class F, class... Sources>
void start_map(const KernelCall& call, float* dst, int64_t count, const F& f,
               const Sources*... sources) {
  using M = Map<Indexed, sizeof...(Sources), F>;
  const bool aligned = is_aligned(dst) && (is_aligned(sources) && ...);
  launch(call, M{{sources...}, dst, count, aligned, f}, ceil_div(count, M::kThreads * M::kEach));
}

template <class F, class... Sources>
void map(const KernelCall& call, float* dst, int64_t count, const F& f, const Sources*... sources) {
  start_map<false>(call, dst, count, f, sources...);
}
template <class F, class... Sources>
void map_at(const KernelCall& call, float* dst, int64_t count, const F& f,
            const Sources*... sources) {
  start_map<true>(call, dst, count, f, sources...);
}

}  // namespace fastconv::cuda
