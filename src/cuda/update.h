// Optimisers: one pass over weights, gradients and N slots of a parameter block, four a thread.
#pragma once
#include "map.h"

namespace fastconv::cuda {

// Calls f(w, g, s, hyper), which changes the weight w and its slots s, for each weight; `hyper`
// holds the scalars of the step.
template <int N, class F>
struct Update {
  static constexpr int kThreads = 256, kEach = 4;
  const float *hyper, *from[2 + N];  // weights, gradients, slots
  float* to[1 + N];                  // weights, slots
  int64_t count;
  bool aligned;  // to 16 bytes, all of them
  F f;

  __device__ void operator()() const {
    const int64_t first = thread_index() * kEach;
    float x[2 + N][kEach] = {};
#pragma unroll
    for (int k = 0; k < 2 + N; ++k) load_some(from[k], first, count, aligned, x[k]);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      float s[N > 0 ? N : 1] = {};
#pragma unroll
      for (int k = 0; k < N; ++k) s[k] = x[2 + k][i];
      f(x[0][i], x[1][i], s, hyper);
#pragma unroll
      for (int k = 0; k < N; ++k) x[2 + k][i] = s[k];
    }
    store_some(to[0], first, count, aligned, x[0]);
#pragma unroll
    for (int k = 0; k < N; ++k) store_some(to[1 + k], first, count, aligned, x[2 + k]);
  }
};

template <int N, class F>
void update(const KernelCall& call, const F& f) {
  Update<N, F> kernel{input<float>(call, 2), {}, {}, elements(call.inputs[0]), true, f};
  for (int k = 0; k < 2 + N; ++k) {
    kernel.from[k] = input<float>(call, k < 2 ? k : k + 1);
    kernel.aligned &= is_aligned(kernel.from[k]);
  }
  for (int k = 0; k < 1 + N; ++k) {
    kernel.to[k] = output<float>(call, k);
    kernel.aligned &= is_aligned(kernel.to[k]);
  }
  launch(call, kernel, ceil_div(kernel.count, Update<N, F>::kThreads * Update<N, F>::kEach));
}

}  // namespace fastconv::cuda
