// Optimisers that adapt the rate of each weight, over whole parameter blocks: one pass that reads
// weights, gradients and slots and writes weights and slots. The formulas and the scalars in
// `hyper` are those of src/cpu/adaptive.cpp.
#include "update.h"

namespace fastconv::cuda {
namespace {

// rate, decay, rho, 1 - rho, epsilon, inertia
template <bool momentum, bool centered>
void rmsprop_as(const KernelCall& call) {
  update<1 + momentum + centered>(call,
                                  [=] __device__(float& w, float g, float* s, const float* hyper) {
                                    s[0] = s[0] * hyper[2] + g * g * hyper[3];
                                    float spread = s[0];
                                    if (centered) {
                                      float& average = s[momentum + centered];
                                      average = average * hyper[2] + g * hyper[3];
                                      const float rest = spread - average * average;
                                      spread = rest > 0 || rest != rest ? rest : 0.0f;
                                    }
                                    float step = g * hyper[0] / sqrtf(spread + hyper[4]);
                                    if (momentum)
                                      s[momentum] = step = s[momentum] * hyper[5] + step;
                                    w = w - (w * hyper[1] + step);
                                  });
}

void rmsprop(const KernelCall& call) {
  const bool centered = attrs<RmspropAttrs>(call).centered;
  const bool momentum = call.n_inputs > 4 + centered;
  if (momentum && centered)
    rmsprop_as<true, true>(call);
  else if (momentum)
    rmsprop_as<true, false>(call);
  else if (centered)
    rmsprop_as<false, true>(call);
  else
    rmsprop_as<false, false>(call);
}

// rate, decay, epsilon
void adagrad(const KernelCall& call) {
  update<1>(call, [=] __device__(float& w, float g, float* s, const float* hyper) {
    s[0] = s[0] + g * g;
    w = w - (w * hyper[1] + g * hyper[0] / sqrtf(s[0] + hyper[2]));
  });
}

// rate, decay, rho, 1 - rho, epsilon
void adadelta(const KernelCall& call) {
  update<2>(call, [=] __device__(float& w, float g, float* s, const float* hyper) {
    s[0] = s[0] * hyper[2] + g * g * hyper[3];
    const float step = g * sqrtf(s[1] + hyper[4]) / sqrtf(s[0] + hyper[4]);
    s[1] = s[1] * hyper[2] + step * step * hyper[3];
    w = w - (w * hyper[1] + step * hyper[0]);
  });
}

// rate, decay, rate_g, 1 - b1, 1 - b2, scale, epsilon; with `amsgrad` a third slot keeps the
// largest v, which divides.
template <bool amsgrad>
void adam_as(const KernelCall& call) {
  update<2 + amsgrad>(call, [=] __device__(float& w, float g, float* s, const float* hyper) {
    s[0] = s[0] + (g - s[0]) * hyper[3];
    s[1] = s[1] + (g * g - s[1]) * hyper[4];
    if (amsgrad) s[1 + amsgrad] = s[1 + amsgrad] > s[1] ? s[1 + amsgrad] : s[1];
    const float root = sqrtf(s[1 + amsgrad]) * hyper[5] + hyper[6];
    w = w - (w * hyper[1] + (s[0] * hyper[0] + g * hyper[2]) / root);
  });
}

void adam(const KernelCall& call) {
  if (call.n_inputs > 5)
    adam_as<true>(call);
  else
    adam_as<false>(call);
}

// rate, decay, 1 - b1, b2, epsilon
void adamax(const KernelCall& call) {
  update<2>(call, [=] __device__(float& w, float g, float* s, const float* hyper) {
    s[0] = s[0] + (g - s[0]) * hyper[2];
    const float faded = s[1] * hyper[3], size = fabsf(g);
    s[1] = faded > size ? faded : size;
    w = w - (w * hyper[1] + s[0] * hyper[0] / (s[1] + hyper[4]));
  });
}

// rate, decay, b1, 1 - b1, b2, 1 - b2
void lion(const KernelCall& call) {
  update<1>(call, [=] __device__(float& w, float g, float* s, const float* hyper) {
    const float way = s[0] * hyper[2] + g * hyper[3];
    const float step = way == 0 || way != way ? way : copysignf(hyper[0], way);
    w = w - (w * hyper[1] + step);
    s[0] = s[0] * hyper[4] + g * hyper[5];
  });
}

constexpr Kernel kRmsprop[] = {{"rmsprop", needs_float32, nullptr, rmsprop}};
constexpr Kernel kAdagrad[] = {{"adagrad", needs_float32, nullptr, adagrad}};
constexpr Kernel kAdadelta[] = {{"adadelta", needs_float32, nullptr, adadelta}};
constexpr Kernel kAdam[] = {{"adam", needs_float32, nullptr, adam}};
constexpr Kernel kAdamax[] = {{"adamax", needs_float32, nullptr, adamax}};
constexpr Kernel kLion[] = {{"lion", needs_float32, nullptr, lion}};

}  // namespace

KernelList adaptive_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::rmsprop: return list(kRmsprop);
    case OpKind::adagrad: return list(kAdagrad);
    case OpKind::adadelta: return list(kAdadelta);
    case OpKind::adam: return list(kAdam);
    case OpKind::adamax: return list(kAdamax);
    case OpKind::lion: return list(kLion);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cuda
