// Dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014). Which elements are
// kept is the same on every backend; src/cpu/dropout.cpp says how.
#include "map.h"
#include "philox.h"

namespace fastconv::cuda {
namespace {

float kept_scale(const KernelCall& call) { return 1.0f / (1.0f - attrs<DropoutAttrs>(call).rate); }

// A group of elements shares a counter.
template <class T>
struct Dropout {
  static constexpr int kThreads = 256, kGroup = 4;
  Stream stream;
  uint32_t threshold;
  float scale;
  const T* src;
  T* dst;
  uint8_t* mask;  // null: nobody wants it
  int64_t count;
  bool aligned;

  __device__ void operator()() const {
    const int64_t first = thread_index() * kGroup;
    if (first >= count) return;
    float x[kGroup] = {};
    load_some(src, first, count, aligned, x);
    const Words words = stream.words(thread_index());
    uint32_t kept = 0;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const bool keep = words.word[i] >> 8 >= threshold;
      x[i] = keep ? x[i] * scale : 0.0f;
      kept |= (uint32_t)keep << 8 * i;
    }
    store_some(dst, first, count, aligned, x);
    if (!mask) return;
    if (aligned && first + kGroup <= count) {
      *reinterpret_cast<uint32_t*>(mask + first) = kept;
      return;
    }
#pragma unroll
    for (int i = 0; i < kGroup; ++i)
      if (first + i < count) mask[first + i] = (uint8_t)(kept >> 8 * i);
  }
};

template <class T>
void dropout(const KernelCall& call) {
  const auto& a = attrs<DropoutAttrs>(call);
  const T* src = input<T>(call, 0);
  T* dst = output<T>(call, 0);
  uint8_t* mask = output<uint8_t>(call, 1);
  const int64_t count = elements(call.inputs[0]);
  const bool aligned = is_aligned(src) && is_aligned(dst) && is_aligned(mask);
  using Kernel = Dropout<T>;
  launch(call,
         Kernel{{input<int64_t>(call, 1), a.stream},
                bits_below(a.rate),
                kept_scale(call),
                src,
                dst,
                mask,
                count,
                aligned},
         ceil_div(count, Kernel::kThreads * Kernel::kGroup));
}

template <class T>
void dropout_backward(const KernelCall& call) {
  const float scale = kept_scale(call);
  map_light(
      call, output<T>(call, 0), elements(call.inputs[0]),
      [=] __device__(float dy, float keep) { return keep != 0 ? dy * scale : 0.0f; },
      input<T>(call, 0), input<uint8_t>(call, 1));
}

void run_dropout(const KernelCall& call) {
  with_float(call, [&](auto tag) { dropout<typename decltype(tag)::type>(call); });
}
void run_dropout_backward(const KernelCall& call) {
  with_float(call, [&](auto tag) { dropout_backward<typename decltype(tag)::type>(call); });
}

constexpr Kernel kDropout[] = {{"dropout", needs_float, nullptr, run_dropout}};
constexpr Kernel kDropoutBackward[] = {
    {"dropout_backward", needs_float, nullptr, run_dropout_backward}};

}  // namespace

KernelList dropout_kernels(OpKind kind) {
  if (kind == OpKind::dropout) return list(kDropout);
  if (kind == OpKind::dropout_backward) return list(kDropoutBackward);
  return {nullptr, 0};
}

}  // namespace fastconv::cuda
