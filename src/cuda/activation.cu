// Activations and softmax, forward and backward. Output and input may be the same memory.
#include "activation.h"
#include "map.h"
#include "rows.h"

namespace fastconv::cuda {
namespace {

template <class T>
void activation(const KernelCall& call) {
  const ActivationAttrs a = attrs<ActivationAttrs>(call);
  const T* src = input<T>(call, 0);
  T* dst = output<T>(call, 0);
  const int64_t count = elements(call.outputs[0]);
  if (is_comparison(a.activation))
    map_light(
        call, dst, count,
        [=] __device__(float x) { return activate_as<false>(a.activation, a.alpha, x); }, src);
  else
    map(
        call, dst, count, [=] __device__(float x) { return activate(a.activation, a.alpha, x); },
        src);
}

template <class T>
void activation_backward(const KernelCall& call) {
  const ActivationAttrs a = attrs<ActivationAttrs>(call);
  const T *ddst = input<T>(call, 0), *saved = input<T>(call, 1);
  T* dsrc = output<T>(call, 0);
  const int64_t count = elements(call.outputs[0]);
  if (is_comparison(a.activation))
    map_light(
        call, dsrc, count,
        [=] __device__(float dy, float y) {
          return gradient_as<false>(a.activation, a.alpha, dy, y);
        },
        ddst, saved);
  else
    map(
        call, dsrc, count,
        [=] __device__(float dy, float y) {
          return activate_gradient(a.activation, a.alpha, dy, y);
        },
        ddst, saved);
}

void run_activation(const KernelCall& call) {
  with_float(call, [&](auto tag) { activation<typename decltype(tag)::type>(call); });
}
void run_activation_backward(const KernelCall& call) {
  with_float(call, [&](auto tag) { activation_backward<typename decltype(tag)::type>(call); });
}

// The largest is subtracted, so that exp cannot overflow.
struct Softmax {
  const float* src;
  float* dst;
  int64_t length;
  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const float* x = src + row * length;
    float* y = dst + row * length;
    const float top = max_row(team, length, [&](int64_t i) { return x[i]; });
    const float total = sum_row(team, length, [&](int64_t i) { return expf(x[i] - top); });
    for (int64_t i = team.rank(); i < length; i += Team::size) y[i] = expf(x[i] - top) / total;
  }
};

// dsrc = dst * (ddst - sum(ddst * dst))
struct SoftmaxBackward {
  const float *ddst, *dst;
  float* dsrc;
  int64_t length;
  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const int64_t at = row * length;
    const float mean = sum_row(team, length, [&](int64_t i) { return ddst[at + i] * dst[at + i]; });
    for (int64_t i = team.rank(); i < length; i += Team::size)
      dsrc[at + i] = dst[at + i] * (ddst[at + i] - mean);
  }
};

void run_softmax(const KernelCall& call) {
  const Tensor& dst = call.outputs[0];
  const int64_t length = last_size(dst);
  for_rows(call, rows_of(dst), length,
           Softmax{input<float>(call, 0), output<float>(call, 0), length});
}

void run_softmax_backward(const KernelCall& call) {
  const Tensor& dst = call.outputs[0];
  const int64_t length = last_size(dst);
  for_rows(call, rows_of(dst), length,
           SoftmaxBackward{input<float>(call, 0), input<float>(call, 1), output<float>(call, 0),
                           length});
}

constexpr Kernel kActivation[] = {{"map", needs_float, nullptr, run_activation}};
constexpr Kernel kActivationBackward[] = {{"map", needs_float, nullptr, run_activation_backward}};
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

}  // namespace fastconv::cuda
