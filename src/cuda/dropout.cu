// Dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014). Which elements are
// kept is the same on every backend; src/cpu/dropout.cpp says how.
#include "philox.h"

namespace fastconv::cuda {
namespace {

float kept_scale(const KernelCall& call) { return 1.0f / (1.0f - attrs<DropoutAttrs>(call).rate); }

void dropout(const KernelCall& call) {
  const auto& a = attrs<DropoutAttrs>(call);
  const uint32_t threshold = bits_below(a.rate);
  const float scale = kept_scale(call), *src = input<float>(call, 0);
  float* dst = output<float>(call, 0);
  uint8_t* mask = output<uint8_t>(call, 1);
  for_words(call, {input<int64_t>(call, 1), a.stream}, elements(call.inputs[0]),
            [=] __device__(int64_t i, uint32_t word) {
              const bool keep = word >> 8 >= threshold;
              dst[i] = keep ? src[i] * scale : 0.0f;
              if (mask) mask[i] = keep;
            });
}

void dropout_backward(const KernelCall& call) {
  const float scale = kept_scale(call), *ddst = input<float>(call, 0);
  const uint8_t* mask = input<uint8_t>(call, 1);
  float* dsrc = output<float>(call, 0);
  for_each(call, elements(call.inputs[0]),
           [=] __device__(int64_t i) { dsrc[i] = mask[i] ? ddst[i] * scale : 0.0f; });
}

constexpr Kernel kDropout[] = {{"dropout", needs_float32, nullptr, dropout}};
constexpr Kernel kDropoutBackward[] = {
    {"dropout_backward", needs_float32, nullptr, dropout_backward}};

}  // namespace

KernelList dropout_kernels(OpKind kind) {
  if (kind == OpKind::dropout) return list(kDropout);
  if (kind == OpKind::dropout_backward) return list(kDropoutBackward);
  return {nullptr, 0};
}

}  // namespace fastconv::cuda
