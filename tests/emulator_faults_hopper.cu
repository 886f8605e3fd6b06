// A product of boxes that TMA brings, with a fault each in what barriers and products need, which
// the emulator must find, and one without.
#include <string.h>

#include <type_traits>

#include "hopper_map.h"
#include "kernels.h"

namespace fastconv::cuda {
namespace {

enum class Bug {
  none,
  early_release,    // a stage is given back while products still read it
  no_wait,          // sums are read while products still write them
  wrong_parity,     // the first phase seems to have ended
  too_few_bytes,    // a barrier expects less than comes
  no_bytes,         // a barrier does not wait for a box
  not_made,         // a barrier is used as it is found
  misplaced_box,    // a box begins where the swizzle does not
  too_many_arrive,  // at a barrier
  other_half        // products take bfloat16 for float16
};

constexpr int kWidth = 64, kSlices = 5, kStages = 2;

// a [64, depth] and b [depth, 64], of small integers.
uint16_t a[kWidth][kSlices * kWidth], b[kSlices * kWidth][kWidth];

template <Bug bug>
struct RowOfProduct {
  static constexpr int kThreads = 2 * kWarpgroup;
  struct Stage {
    uint16_t a[kWidth][kWidth], b[kWidth][kWidth];
  };
  struct Shared {
    Stage stages[kStages];
    uint16_t more[kWidth][kWidth];
    Barrier full[kStages], empty[kStages];
  };
  TensorMap map_a, map_b;
  float* out;

  void operator()(Shared& shared) const {
    if (threadIdx.x == 0 && bug != Bug::not_made)
      for (int i = 0; i < kStages; ++i)
        make_barrier(shared.full[i], 1), make_barrier(shared.empty[i], 1);
    __syncthreads();
    if (threadIdx.x == 0) produce(shared);
    if (threadIdx.x >= kWarpgroup) consume(shared);
  }

  void produce(Shared& shared) const {
    constexpr int kBytes = bug == Bug::no_bytes        ? 0
                           : bug == Bug::too_few_bytes ? sizeof(Stage) - 128
                                                       : sizeof(Stage);
    for (int i = 0; i < kSlices; ++i) {
      Stage& stage = shared.stages[i % kStages];
      Barrier& full = shared.full[i % kStages];
      wait_for(shared.empty[i % kStages], i / kStages % 2 ^ 1);
      arrive_expecting(full, kBytes);
      load_box(stage.a[bug == Bug::misplaced_box], map_a, full, i * kWidth, 0, 0);
      load_box(stage.b, map_b, full, 0, i * kWidth, 0);
      if (bug == Bug::too_many_arrive) arrive(full);
    }
  }

  void consume(Shared& shared) const {
    const bool leads = threadIdx.x == kWarpgroup;
    using Half = std::conditional_t<bug == Bug::other_half, Float16, BFloat16>;
    float sums[kWidth / 2];
    for (int i = 0; i < kSlices; ++i) {
      const Stage& stage = shared.stages[i % kStages];
      wait_for(shared.full[i % kStages], bug == Bug::wrong_parity ? 1 : i / kStages % 2);
      fence_products();
      for (int k = 0; k < kWidth; k += 16)
        multiply<Half, false, true>(sums, describe_operand<false>(stage.a[0] + k),
                                    describe_operand<true>(stage.b[k]), i > 0 || k > 0);
      end_group();
      if (bug != Bug::early_release && bug != Bug::no_wait) wait_for_groups<0>();
      if (leads) arrive(shared.empty[i % kStages]);
      if (bug == Bug::early_release) wait_for_groups<0>();
    }
    const int lane = (int)threadIdx.x - kWarpgroup;
    if (lane < 4)
      for (int i = 0; i < kWidth; ++i)
        if (i % 8 / 2 == lane) out[i] = sums[i / 8 * 4 + i % 2];
    wait_for_groups<0>();
  }
};

uint16_t small(int i) { return (uint16_t[]){0, 0x3f80, 0x4000, 0xbf80, 0xc000}[i % 5]; }
float value(uint16_t bits) {
  return bits ? (bits & 0x8000 ? -1.0f : 1.0f) * (bits & 0x4000 ? 2.0f : 1.0f) : 0.0f;
}

template <Bug bug>
void run(const KernelCall& call, float* out) {
  RowOfProduct<bug> kernel;
  kernel.map_a = map_boxes(a, {kSlices * kWidth, kWidth, 1}, kWidth, Dtype::bfloat16);
  kernel.map_b = map_boxes(b, {kWidth, kSlices * kWidth, 1}, kWidth, Dtype::bfloat16);
  kernel.out = out;
  launch(call, kernel, 1);
}

}  // namespace

KernelList kernels(const Backend&, OpKind) { return {nullptr, 0}; }
bool tiles(const Backend&, OpKind, const char*, const DeviceCall&) { return false; }

// The fault that was found, or null; `out` holds 64 numbers, 0 where the product is right.
extern "C" __attribute__((visibility("default"))) const char* planted(const Backend* backend,
                                                                      const char* name,
                                                                      float* out) {
  for (int i = 0; i < kWidth; ++i)
    for (int k = 0; k < kSlices * kWidth; ++k) a[i][k] = small(3 * i + k), b[k][i] = small(k + i);
  const KernelError none{};
  KernelCall call{};
  call.error = const_cast<KernelError*>(&none);
  const auto is = [name](const char* other) { return strcmp(name, other) == 0; };
  if (is("none")) run<Bug::none>(call, out);
  if (is("early release")) run<Bug::early_release>(call, out);
  if (is("no wait")) run<Bug::no_wait>(call, out);
  if (is("wrong parity")) run<Bug::wrong_parity>(call, out);
  if (is("too few bytes")) run<Bug::too_few_bytes>(call, out);
  if (is("no bytes")) run<Bug::no_bytes>(call, out);
  if (is("not made")) run<Bug::not_made>(call, out);
  if (is("misplaced box")) run<Bug::misplaced_box>(call, out);
  if (is("too many arrive")) run<Bug::too_many_arrive>(call, out);
  if (is("other half")) run<Bug::other_half>(call, out);
  for (int i = 0; i < kWidth; ++i)
    for (int k = 0; k < kSlices * kWidth; ++k) out[i] -= value(a[0][k]) * value(b[k][i]);
  return backend->device->wait(*backend);
}

}  // namespace fastconv::cuda
