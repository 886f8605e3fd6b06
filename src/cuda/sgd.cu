// Stochastic gradient descent over whole parameter blocks, with momentum (Polyak 1964) or
// Nesterov's (Sutskever, Martens, Dahl and Hinton 2013, section 2).
#include "update.h"

namespace fastconv::cuda {
namespace {

// rate, momentum
void sgd(const KernelCall& call) {
  const bool nesterov = attrs<SgdAttrs>(call).nesterov;
  if (call.n_inputs > 3)
    update<1>(call, [=] __device__(float& w, float g, float* s, const float* hyper) {
      const float step = g * hyper[0];
      s[0] = s[0] * hyper[1] - step;
      w = w + (nesterov ? s[0] * hyper[1] - step : s[0]);
    });
  else
    update<0>(call, [=] __device__(float& w, float g, float*, const float* hyper) {
      w = w - g * hyper[0];
    });
}

const char* declines(const KernelCall& call) {
  return call.n_inputs == 5 ? "a product" : needs_float32(call);
}

constexpr Kernel kSgd[] = {{"sgd", declines, nullptr, sgd}};

}  // namespace

KernelList sgd_kernels(OpKind kind) {
  return kind == OpKind::sgd ? list(kSgd) : KernelList{nullptr, 0};
}

}  // namespace fastconv::cuda
