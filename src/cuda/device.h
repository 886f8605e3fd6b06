// The device as kernels see it: CUDA's own words, which emulator.h offers to g++ as well, so that
// one source is compiled for GPUs and for the tests' emulator.
//
// A kernel is an object: its fields are the arguments, operator() is what one thread does, kThreads
// the threads of a block. If threads work together (__syncthreads, shuffles), it has a struct
// Shared, which operator() gets: the shared memory of the block. launch() of launch.h starts it.
#pragma once
#include <math.h>
#include <stdint.h>

#if defined(FASTCONV_EMULATED)
#include "emulator.h"
#endif

namespace fastconv::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffff;

// The index of a thread in a grid whose threads stand in one row.
__device__ __forceinline__ int64_t thread_index() {
  return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

struct Add {
  template <class T>
  __host__ __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// Of two values; NaN wins.
struct Larger {
  template <class T>
  __host__ __device__ T operator()(T a, T b) const {
    return b > a || b != b ? b : a;
  }
};
struct Smaller {
  template <class T>
  __host__ __device__ T operator()(T a, T b) const {
    return b < a || b != b ? b : a;
  }
};

// What the threads of a block have, joined in an order that is always the same; all get the result.
// `partial` holds a value a warp.
template <int Threads, class T, class Op>
__device__ __forceinline__ T join_block(T value, const Op& op, T* partial) {
  static_assert(Threads % kWarp == 0 && Threads <= kWarp * kWarp);
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2)
    value = op(value, __shfl_xor_sync(kAllLanes, value, step));
  if constexpr (Threads > kWarp) {
    __syncthreads();  // `partial` may still be read
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
    __syncthreads();
    value = partial[0];
#pragma unroll
    for (int warp = 1; warp < Threads / kWarp; ++warp) value = op(value, partial[warp]);
  }
  return value;
}

}  // namespace fastconv::cuda
