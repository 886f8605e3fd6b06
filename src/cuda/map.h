// dst[i] = f(sources[i]...), element by element, of float, bfloat16 or float16. All that a thread
// reads is read before the first is written, so that dst may be a source of its type.
#pragma once
#include "kernels.h"
#include "pack.h"

namespace fastconv::cuda {

// A thread has `Packs` packs of `Each` elements, a block's width apart.
template <int Packs, int Each, class F, class D, class... S>
struct Map {
  static constexpr int kThreads = 256, kBlock = kThreads * Packs * Each;
  static constexpr int N = sizeof...(S);
  const void* sources[N];
  D* dst;
  int64_t count;
  bool aligned;  // to 16 bytes, all of them
  F f;

  __device__ void operator()() const {
    const int64_t begin = (int64_t)blockIdx.x * kBlock + threadIdx.x * Each;
    float x[Packs][N][Each] = {};
#pragma unroll
    for (int p = 0; p < Packs; ++p) read(begin + p * kThreads * Each, x[p]);
#pragma unroll
    for (int p = 0; p < Packs; ++p) {
#pragma unroll
      for (int i = 0; i < Each; ++i) x[p][0][i] = value(x[p], i);
      store_some(dst, begin + p * kThreads * Each, count, aligned, x[p][0]);
    }
  }

 private:
  __device__ __forceinline__ void read(int64_t first, float (&x)[N][Each]) const {
    int n = 0;
    ((load_some(static_cast<const S*>(sources[n]), first, count, aligned, x[n]), ++n), ...);
  }
  __device__ __forceinline__ float value(const float (&x)[N][Each], int i) const {
    if constexpr (N == 1)
      return f(x[0][i]);
    else if constexpr (N == 2)
      return f(x[0][i], x[1][i]);
    else
      return f(x[0][i], x[1][i], x[2][i]);
  }
};

template <int Packs, int Each, class D, class F, class... S>
void start_map(const KernelCall& call, D* dst, int64_t count, const F& f, const S*... sources) {
  using M = Map<Packs, Each, F, D, S...>;
  const bool aligned = is_aligned(dst) && (is_aligned(sources) && ...);
  launch(call, M{{sources...}, dst, count, aligned, f}, ceil_div(count, M::kBlock));
}

// For functions of any size.
template <class D, class F, class... S>
void map(const KernelCall& call, D* dst, int64_t count, const F& f, const S*... sources) {
  start_map<1, 4>(call, dst, count, f, sources...);
}
// For functions of a few instructions, which wait for memory: more of it is on its way.
template <class D, class F, class... S>
void map_light(const KernelCall& call, D* dst, int64_t count, const F& f, const S*... sources) {
  start_map<2, kPack<D, S...>>(call, dst, count, f, sources...);
}

}  // namespace fastconv::cuda
