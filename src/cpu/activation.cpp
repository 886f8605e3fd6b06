// Activations and softmax, forward and backward. Output and input may be the same memory.
#include "activation.h"

#include "kernels.h"
#include "map.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// Operations an element, of the dearest activation; the threads need no better figure.
constexpr int64_t kWork = 8;

void run_activation(const KernelCall& call) {
  const auto& a = attrs<ActivationAttrs>(call);
  with_float(call, [&](auto type) {
    using T = typename decltype(type)::type;
    with_activation(a.activation, [&](auto tag) {
      map(input<T>(call, 0), output<T>(call, 0), elements(call.outputs[0]), kWork,
          [&](vfloat x) { return activate<tag.value>(a.alpha, x); });
    });
  });
}

void run_activation_backward(const KernelCall& call) {
  const auto& a = attrs<ActivationAttrs>(call);
  with_float(call, [&](auto type) {
    using T = typename decltype(type)::type;
    with_activation(a.activation, [&](auto tag) {
      map(input<T>(call, 0), input<T>(call, 1), output<T>(call, 0), elements(call.outputs[0]),
          kWork, [&](vfloat dy, vfloat y) { return activate_gradient<tag.value>(a.alpha, dy, y); });
    });
  });
}

// Calls f(index, count) for the vectors of a row, the last of which may be part.
template <class F>
inline void for_vectors(int64_t length, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) f(i, kLanes);
  if (i < length) f(i, length - i);
}

inline vfloat load_lanes(const float* p, int64_t count) {
  return count == kLanes ? load(p) : load_part(p, count);
}
inline void store_lanes(float* p, vfloat v, int64_t count) {
  if (count == kLanes)
    store(p, v);
  else
    store_part(p, v, count);
}

// The largest is subtracted, so that exp cannot overflow.
inline void softmax_row(const float* src, float* dst, int64_t length) {
  vfloat top = splat(-kInfinity), total = {};
  for_vectors(length, [&](int64_t i, int64_t n) {
    top = max(first_lanes(n) ? load_lanes(src + i, n) : top, top);
  });
  const float largest = max(top);
  for_vectors(length, [&](int64_t i, int64_t n) {
    const vfloat e = exp(load_lanes(src + i, n) - largest);
    total += first_lanes(n) ? e : splat(0.0f);
    store_lanes(dst + i, e, n);
  });
  const float scale = 1.0f / sum(total);
  for_vectors(length, [&](int64_t i, int64_t n) {
    store_lanes(dst + i, load_lanes(dst + i, n) * scale, n);
  });
}

// A row that fits one vector never goes through memory.
inline void softmax_short_row(const float* src, float* dst, int64_t length) {
  const vint inside = first_lanes(length);
  const vfloat x = load_lanes(src, length);
  const vfloat e = exp(x - max(inside ? x : splat(-kInfinity)));
  store_lanes(dst, e * (1.0f / sum(inside ? e : splat(0.0f))), length);
}

// dsrc = dst * (ddst - sum(ddst * dst))
inline void softmax_row_backward(const float* ddst, const float* dst, float* dsrc, int64_t length) {
  vfloat total = {};
  for_vectors(length, [&](int64_t i, int64_t n) {
    total += load_lanes(ddst + i, n) * load_lanes(dst + i, n);
  });
  const float mean = sum(total);
  for_vectors(length, [&](int64_t i, int64_t n) {
    const vfloat dx = load_lanes(dst + i, n) * (load_lanes(ddst + i, n) - mean);
    store_lanes(dsrc + i, dx, n);
  });
}

// Calls f(first element) for each row of the last axis.
template <class F>
inline void for_rows(const Tensor& tensor, int64_t length, const F& f) {
  const int64_t count = elements(tensor);
  if (count == 0) return;
  const int64_t block = ceil_div(kMapBlock, length);
  parallel_blocks(count / length, block, length * kWork, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) f(row * length);
  });
}

inline int64_t row_length(const Tensor& tensor) {
  return tensor.rank == 0 ? 1 : tensor.dims[tensor.rank - 1];
}

void run_softmax(const KernelCall& call) {
  const float* src = input<float>(call, 0);
  float* dst = output<float>(call, 0);
  const int64_t length = row_length(call.outputs[0]);
  for_rows(call.outputs[0], length, [=](int64_t at) {
    if (length <= kLanes)
      softmax_short_row(src + at, dst + at, length);
    else
      softmax_row(src + at, dst + at, length);
  });
}

void run_softmax_backward(const KernelCall& call) {
  const float* ddst = input<float>(call, 0);
  const float* dst = input<float>(call, 1);
  float* dsrc = output<float>(call, 0);
  const int64_t length = row_length(call.outputs[0]);
  for_rows(call.outputs[0], length,
           [=](int64_t at) { softmax_row_backward(ddst + at, dst + at, dsrc + at, length); });
}

constexpr Kernel kActivation[] = {{"vector", needs_float, nullptr, run_activation}};
constexpr Kernel kActivationBackward[] = {
    {"vector", needs_float, nullptr, run_activation_backward}};
constexpr Kernel kSoftmax[] = {{"rows", needs_float32, nullptr, run_softmax}};
constexpr Kernel kSoftmaxBackward[] = {{"rows", needs_float32, nullptr, run_softmax_backward}};

}  // namespace

KernelList activation_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::activation: return list(kActivation);
    case OpKind::activation_backward: return list(kActivationBackward);
    case OpKind::softmax: return list(kSoftmax);
    case OpKind::softmax_backward: return list(kSoftmaxBackward);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
