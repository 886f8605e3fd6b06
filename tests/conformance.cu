// What instructions of GPUs do, of which the emulator has models: each case runs one, and gives the
// words that come out. conformance.py compares them with what is known, in the emulator and on
// GPUs.
#include <string.h>

#include <algorithm>
#include <memory>
#include <type_traits>

#include "hopper_map.h"
#include "kernels.h"
#include "pack.h"

namespace fastconv::cuda {

KernelList kernels(const Backend&, OpKind) { return {nullptr, 0}; }
bool tiles(const Backend&, OpKind, const char*, const DeviceCall&) { return false; }

namespace {

constexpr int kBox = kBoxWidth<BFloat16>;

__device__ __forceinline__ uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
__device__ __forceinline__ float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// Small integers in a half: sums of their products are exact.
template <class T>
__device__ __forceinline__ uint32_t two_small(int i) {
  const auto value = [](int i) { return (float)((i * 7 + i / 5) % 5 - 2); };
  return narrow_pair<T>(value(i), value(i + 1));
}
template <class T>
__device__ __forceinline__ uint16_t small(int i) {
  return (uint16_t)two_small<T>(i);
}

struct Copies {
  static constexpr int kThreads = kWarp;
  struct Shared {
    alignas(16) uint32_t words[kWarp][4];
  };
  const uint32_t* from;
  uint32_t* out;
  __device__ void operator()(Shared& shared) const {
    const int lane = (int)threadIdx.x;
    copy_async(shared.words[lane], from + 4 * (lane ^ 5), lane % 3 != 0);
    commit_copies();
    wait_copies<0>();
    __syncthreads();
    for (int i = 0; i < 4; ++i) out[lane * 4 + i] = shared.words[lane ^ 1][i];
  }
};

template <bool Transposed>
struct Matrices {
  static constexpr int kThreads = kWarp;
  struct Shared {
    alignas(16) uint16_t rows[kWarp][8];
  };
  uint32_t* out;
  __device__ void operator()(Shared& shared) const {
    const int lane = (int)threadIdx.x;
    for (int i = 0; i < 8; ++i) shared.rows[lane][i] = (uint16_t)(lane * 8 + i);
    __syncthreads();
    uint32_t words[4];
    if constexpr (Transposed)
      load_transposed(words, shared.rows[lane ^ 3]);
    else
      load_matrices(words, shared.rows[lane ^ 3]);
    for (int i = 0; i < 4; ++i) out[lane * 4 + i] = words[i];
  }
};

// Of a half, or of floats that are exact in TF32.
template <class T>
struct WarpProduct {
  using Small = std::conditional_t<sizeof(T) == sizeof(float), BFloat16, T>;
  static constexpr int kThreads = kWarp;
  struct Shared {
    int unused;
  };
  uint32_t* out;
  __device__ void operator()(Shared&) const {
    const int lane = (int)threadIdx.x;
    uint32_t a[4], b[2];
    float sum[4];
    const uint32_t kept = sizeof(T) == sizeof(float) ? 0xffff0000 : 0xffffffff;
    for (int i = 0; i < 4; ++i)
      a[i] = two_small<Small>(lane * 11 + i * 3) & kept, sum[i] = (float)(lane - i);
    for (int i = 0; i < 2; ++i) b[i] = two_small<Small>(lane * 5 + i * 7 + 1) & kept;
    multiply_add<T>(sum, a, b);
    for (int i = 0; i < 4; ++i) out[lane * 4 + i] = bits_of(sum[i]);
  }
};

// Ties, what is near them, the largest, infinite and tiny numbers; a NaN is some NaN.
struct Rounding {
  static constexpr int kThreads = kWarp;
  uint32_t* out;
  __device__ void operator()() const {
    const uint32_t tails[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x18000, 0x17fff};
    const uint32_t heads[] = {0x3f800000, 0, 0x7f7f0000, 0x80800000};
    const int lane = (int)threadIdx.x;
    const uint32_t bits = heads[lane / 8] + tails[lane % 8];
    const float x = float_of(bits), other = float_of(bits ^ 0x80000000);
    out[lane] = narrow_pair<BFloat16>(x, other);
    out[2 * kWarp + lane] = round_to_tf32(bits >> 3 | 0x20000000);
    const uint32_t nan = narrow_pair<BFloat16>(float_of(0x7f800001 + lane), float_of(0x7f800000));
    out[kWarp + lane] = nan >> 16 | (uint32_t)((nan & 0x7fff) > 0x7f80) << 16;
  }
};

// Ties of float16 and what is near them: among normal numbers, the largest, those that become
// infinite, denormals and what is below them. And back: denormals, infinity, others.
struct RoundingToFloat16 {
  static constexpr int kThreads = kWarp;
  uint32_t* out;
  __device__ void operator()() const {
    const uint32_t tails[] = {0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x3000, 0x2fff};
    const uint32_t heads[] = {0x3f800000, 0x477fe000, 0x33000000, 0xb8000000};
    const int lane = (int)threadIdx.x;
    const uint32_t bits = heads[lane / 8] + tails[lane % 8];
    const float x = float_of(bits), other = float_of(bits ^ 0x80000000);
    out[lane] = narrow_pair<Float16>(x, other);
    const uint32_t nan = narrow_pair<Float16>(float_of(0x7f800001 + lane), float_of(0xff800000));
    out[kWarp + lane] = nan >> 16 | (uint32_t)((nan & 0x7fff) > 0x7c00) << 16;
    const uint32_t heads16[] = {0, 0x83ff, 0x7bf9, 0x3c01};
    out[2 * kWarp + lane] = bits_of(to_float(Float16{(uint16_t)(heads16[lane / 8] + lane % 8)}));
  }
};

struct Box {
  static constexpr int kThreads = kWarpgroup;
  struct Shared {
    uint32_t words[kBox * kBox / 2];
    Barrier full;
  };
  TensorMap map;
  bool windows;
  uint32_t* out;
  __device__ void operator()(Shared& shared) const {
    if constexpr (kHopper) {
      if (threadIdx.x == 0) {
        make_barrier(shared.full, 1);
        publish_barriers();
      }
      __syncthreads();
      if (threadIdx.x == 0) {
        arrive_expecting(shared.full, sizeof shared.words);
        if (windows)
          load_windows(shared.words, map, shared.full, 8, 3, 1, 0, 2, 1);
        else
          load_box(shared.words, map, shared.full, 24, 10, 1);
      }
      wait_for(shared.full, 0);
      for (int i = (int)threadIdx.x; i < kBox * kBox / 2; i += kThreads) out[i] = shared.words[i];
    }
  }
};

// Of boxes as they lie in shared memory, whatever that means: descriptors and swizzle decide.
template <class T, int Columns, bool TurnA, bool TurnB>
struct GroupProduct {
  static constexpr int kThreads = kWarpgroup;
  struct Shared {
    uint16_t a[kBox][kBox], b[2 * kBox][kBox];
  };
  uint32_t* out;
  __device__ void operator()(Shared& shared) const {
    if constexpr (kHopper) {
      const int thread = (int)threadIdx.x;
      for (int i = thread; i < kBox * kBox; i += kThreads)
        shared.a[i / kBox][i % kBox] = small<T>(i);
      for (int i = thread; i < 2 * kBox * kBox; i += kThreads)
        shared.b[i / kBox][i % kBox] = small<T>(3 * i + 1);
      publish_barriers();
      __syncthreads();
      float sums[Columns / 2] = {};
      fence_products();
      for (int k = 0; k < 32; k += 16)
        multiply<T, TurnA, TurnB>(
            sums, describe_operand<TurnA>(TurnA ? shared.a[k] : shared.a[0] + k),
            describe_operand<TurnB>(TurnB ? shared.b[k] : shared.b[0] + k), k > 0);
      end_group();
      wait_for_groups<0>();
      for (int i = 0; i < Columns / 2; ++i) out[thread * Columns / 2 + i] = bits_of(sums[i]);
    }
  }
};

constexpr int kMostWords = kWarpgroup * 64, kMapWords = 1 << 13;

// In memory that host and device share.
struct Memory {
  KernelError error;
  alignas(64) uint32_t map[kMapWords];  // two numbers each
  alignas(64) uint32_t out[kMostWords];
};

struct Run {
  const Backend* backend;
  const char* name;
  Memory* memory;
  int words;  // that the case gives
};

template <class K>
void start(Run& run, const char* name, const K& kernel, int words) {
  if (strcmp(run.name, name) != 0) return;
  KernelCall call{};
  call.error = &run.memory->error;
  run.words = words;
  launch(call, kernel, 1);
}

void start_all(Run& run) {
  const uint32_t* map = run.memory->map;
  uint32_t* out = run.memory->out;
  start(run, "copies", Copies{map, out}, kWarp * 4);
  start(run, "matrices", Matrices<false>{out}, kWarp * 4);
  start(run, "matrices, transposed", Matrices<true>{out}, kWarp * 4);
  start(run, "product of a warp", WarpProduct<BFloat16>{out}, kWarp * 4);
  start(run, "product of a warp, TF32", WarpProduct<float>{out}, kWarp * 4);
  start(run, "product of a warp, float16", WarpProduct<Float16>{out}, kWarp * 4);
  start(run, "rounding", Rounding{out}, kWarp * 3);
  start(run, "rounding to float16", RoundingToFloat16{out}, kWarp * 3);
  if (!has_hopper(*run.backend)) return;
  const WindowMap windows = {3, 72, {9, 7}, {5, 4}, {2, 2}, {-1, -1}};
  start(run, "box", Box{map_boxes(map, {72, 50, 2}, kBox, Dtype::bfloat16), false, out},
        kBox * kBox / 2);
  start(run, "windows", Box{map_windows(map, windows, kBox, Dtype::bfloat16), true, out},
        kBox * kBox / 2);
  start(run, "product of a group, 64", GroupProduct<BFloat16, 64, false, false>{out},
        kWarpgroup * 32);
  start(run, "product of a group, 64, a turned", GroupProduct<BFloat16, 64, true, false>{out},
        kWarpgroup * 32);
  start(run, "product of a group, 64, b turned", GroupProduct<BFloat16, 64, false, true>{out},
        kWarpgroup * 32);
  start(run, "product of a group, 128", GroupProduct<BFloat16, 128, false, false>{out},
        kWarpgroup * 64);
  start(run, "product of a group, 128, both turned", GroupProduct<BFloat16, 128, true, true>{out},
        kWarpgroup * 64);
  start(run, "product of a group, 64, float16", GroupProduct<Float16, 64, false, true>{out},
        kWarpgroup * 32);
  start(run, "product of a group, 128, float16", GroupProduct<Float16, 128, true, false>{out},
        kWarpgroup * 64);
}

}  // namespace

// The words of a case, written to `out`: how many, 0 if the device cannot run it, -1 if it failed.
extern "C" __attribute__((visibility("default"))) int64_t conformance(const Backend* backend,
                                                                      const char* name,
                                                                      uint32_t* out) {
  void* place = backend->device->share(*backend, sizeof(Memory));
  if (!place) return -1;
  Run run = {backend, name, new (place) Memory{}, 0};
  for (int i = 0; i < kMapWords; ++i) run.memory->map[i] = (uint32_t)(2 * i | (2 * i + 1) << 16);
  backend->prepared(
      *backend, true, [](void* context) { start_all(*static_cast<Run*>(context)); }, &run);
  const bool failed = backend->device->wait(*backend) != nullptr;
  std::copy_n(run.memory->out, run.words, out);
  backend->release(*backend, place, sizeof(Memory));
  return failed ? -1 : run.words;
}

}  // namespace fastconv::cuda
