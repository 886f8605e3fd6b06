// Kernels with a fault each, which the emulator must find, and one without.
#include <string.h>

#include "kernels.h"
#include "pack.h"
#include "tensor_core.h"

namespace fastconv::cuda {
namespace {

constexpr int kWidth = 64;

struct Base {
  static constexpr int kThreads = kWidth;
  struct Shared {
    float values[kWidth];
  };
  float* out;
};

struct Sound : Base {
  __device__ void operator()(Shared& shared) const {
    shared.values[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = shared.values[(threadIdx.x + 1) % kWidth];
  }
};

template <int Step>
struct MissingBarrier : Base {
  __device__ void operator()(Shared& shared) const {
    shared.values[threadIdx.x] = (float)threadIdx.x;
    out[threadIdx.x] = shared.values[(threadIdx.x + Step) % kWidth];
  }
};

struct BarrierInBranch : Base {
  __device__ void operator()(Shared&) const {
    if (threadIdx.x < kWidth / 2) __syncthreads();
    out[threadIdx.x] = 0;
  }
};

struct UnwrittenShared : Base {
  __device__ void operator()(Shared& shared) const {
    if (threadIdx.x != 7) shared.values[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = shared.values[threadIdx.x];
  }
};

struct PartOfAWarp {
  static constexpr int kThreads = 40;
  struct Shared {
    float values[1];
  };
  float* out;
  __device__ void operator()(Shared&) const {
    out[threadIdx.x] = __shfl_xor_sync(kAllLanes, (float)threadIdx.x, 1);
  }
};

struct NoShared {
  static constexpr int kThreads = kWidth;
  float* out;
  __device__ void operator()() const { __syncthreads(); }
};

template <bool Waits>
struct Copied {
  static constexpr int kThreads = kWidth;
  struct Shared {
    alignas(16) float values[kWidth];
  };
  float* out;
  __device__ void operator()(Shared& shared) const {
    if (threadIdx.x < kWidth / 4) copy_async(shared.values + threadIdx.x * 4, out, false);
    commit_copies();
    if (Waits) wait_copies<0>();
    __syncthreads();
    out[threadIdx.x] = shared.values[threadIdx.x];
  }
};

// Rows of a matrix that are `Apart` bytes apart.
template <int Apart>
struct Rows {
  static constexpr int kThreads = kWarp;
  struct Shared {
    alignas(128) char rows[8 * Apart];
  };
  float* out;
  __device__ void operator()(Shared& shared) const {
    uint32_t words[4];
    load_matrices(words, shared.rows + threadIdx.x % 8 * Apart);
    out[threadIdx.x] = 0;
  }
};

// A product of TF32: 8 times the square of 1, if what is a little more is rounded.
template <bool Rounds>
struct Rounded {
  static constexpr int kThreads = kWarp;
  struct Shared {
    float values[1];
  };
  float* out;
  __device__ void operator()(Shared&) const {
    const uint32_t word = (uint32_t)__float_as_int(1 + 0x1p-12f);
    const uint32_t x = Rounds ? round_to_tf32(word) : word, a[4] = {x, x, x, x}, b[2] = {x, x};
    float sum[4] = {};
    multiply_add<float>(sum, a, b);
    out[threadIdx.x] = sum[0];
  }
};

// 16 times the smallest denormal of float16 times 1024, stored in one half and read as another.
template <class Stored, class Read>
struct Halves {
  static constexpr int kThreads = kWarp;
  struct Shared {
    float values[1];
  };
  float* out;
  __device__ void operator()(Shared&) const {
    const uint32_t x = narrow_pair<Stored>(0x1p-24f, 0x1p-24f);
    const uint32_t y = narrow_pair<Stored>(1024, 1024), a[4] = {x, x, x, x}, b[2] = {y, y};
    float sum[4] = {};
    multiply_add<Read>(sum, a, b);
    out[threadIdx.x] = sum[0];
  }
};

}  // namespace

KernelList kernels(const Backend&, OpKind) { return {nullptr, 0}; }
bool tiles(const Backend&, OpKind, const char*, const DeviceCall&) { return false; }

// The fault that was found, or null; `out` holds 64 numbers.
extern "C" __attribute__((visibility("default"))) const char* planted(const Backend* backend,
                                                                      const char* name,
                                                                      float* out) {
  const KernelError none{};
  KernelCall call{};
  call.error = const_cast<KernelError*>(&none);
  const auto is = [name](const char* other) { return strcmp(name, other) == 0; };
  if (is("sound")) launch(call, Sound{{out}}, 1);
  if (is("missing barrier, read ahead")) launch(call, MissingBarrier<1>{{out}}, 1);
  if (is("missing barrier, read behind")) launch(call, MissingBarrier<kWidth - 1>{{out}}, 1);
  if (is("barrier in a branch")) launch(call, BarrierInBranch{{out}}, 1);
  if (is("unwritten shared memory")) launch(call, UnwrittenShared{{out}}, 1);
  if (is("part of a warp")) launch(call, PartOfAWarp{out}, 1);
  if (is("no shared memory")) launch(call, NoShared{out}, 1);
  if (is("copy")) launch(call, Copied<true>{out}, 1);
  if (is("copy that nobody waits for")) launch(call, Copied<false>{out}, 1);
  if (is("rows in different banks")) launch(call, Rows<16>{out}, 1);
  if (is("rows in the same banks")) launch(call, Rows<128>{out}, 1);
  if (is("operands rounded to TF32")) launch(call, Rounded<true>{out}, 1);
  if (is("operands that are not rounded to TF32")) launch(call, Rounded<false>{out}, 1);
  if (is("float16 as float16")) launch(call, Halves<Float16, Float16>{out}, 1);
  if (is("bfloat16 as float16")) launch(call, Halves<BFloat16, Float16>{out}, 1);
  if (is("float16 as bfloat16")) launch(call, Halves<Float16, BFloat16>{out}, 1);
  if (is("host reads the device")) {
    const float* memory = static_cast<float*>(backend->allocate(*backend, 4096));
    out[0] = memory[0];
  }
  if (is("written behind the memory")) {
    float* memory = static_cast<float*>(backend->allocate(*backend, 4096));
    for_each(call, 1025, [=] __device__(int64_t i) { memory[i] = 0; });
  }
  return backend->device->wait(*backend);
}

}  // namespace fastconv::cuda
