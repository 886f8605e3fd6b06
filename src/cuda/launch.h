// Starting kernels. All that was started on a device runs in that order.
#pragma once
#include "device.h"
#include "fastconv/backend.h"

namespace fastconv::cuda {

template <class K>
constexpr bool kCooperates = requires { typename K::Shared; };

template <class K>
constexpr int64_t shared_bytes() {
  if constexpr (kCooperates<K>)
    return sizeof(typename K::Shared);
  else
    return 0;
}

// Blocks of a kernel that a multiprocessor shall hold at once, which bounds their registers: its
// kBlocks, or 1.
template <class K>
constexpr int resident_blocks() {
  if constexpr (requires { K::kBlocks; })
    return K::kBlocks;
  else
    return 1;
}

#if defined(FASTCONV_EMULATED)

template <class K>
void launch(const KernelCall& call, const K& kernel, int64_t blocks) {
  const KernelError* error = call.error;
  emulator::launch(blocks, K::kThreads, shared_bytes<K>(), [kernel, error](void* shared) {
    if (error->step) return;
    if constexpr (kCooperates<K>)
      kernel(*static_cast<typename K::Shared*>(shared));
    else
      kernel();
  });
}

#else

// What the backend (cuda_backend.cu) knows of this thread's launches.
cudaStream_t stream();
void note(cudaError_t error);

// After an error in an earlier step nothing more may change, as if the plan had stopped.
template <class K>
__global__ void __launch_bounds__(K::kThreads, resident_blocks<K>())
    entry(const __grid_constant__ K kernel, const KernelError* error) {
  if (error->step) return;
  if constexpr (kCooperates<K>) {
    extern __shared__ __align__(1024) unsigned char shared[];
    kernel(*reinterpret_cast<typename K::Shared*>(shared));
  } else {
    kernel();
  }
}

template <class K>
void launch(const KernelCall& call, const K& kernel, int64_t blocks) {
  if (blocks == 0) return;
  constexpr int64_t shared = shared_bytes<K>();
  if constexpr (shared > 48 * 1024)
    note(cudaFuncSetAttribute(entry<K>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  cudaLaunchConfig_t config{};
  config.gridDim = dim3((unsigned)blocks);
  config.blockDim = dim3(K::kThreads);
  config.dynamicSmemBytes = shared;
  config.stream = stream();
  note(cudaLaunchKernelEx(&config, entry<K>, kernel, static_cast<const KernelError*>(call.error)));
}

#endif

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// f(i) for i in [0, count), each by a thread of its own.
template <class F>
struct ForEach {
  static constexpr int kThreads = 256;
  int64_t count;
  F f;
  __device__ void operator()() const {
    const int64_t i = thread_index();
    if (i < count) f(i);
  }
};

template <class F>
void for_each(const KernelCall& call, int64_t count, const F& f) {
  launch(call, ForEach<F>{count, f}, ceil_div(count, ForEach<F>::kThreads));
}

}  // namespace fastconv::cuda
