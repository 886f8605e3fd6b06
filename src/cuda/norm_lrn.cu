// Local response normalisation across channels (Krizhevsky, Sutskever and Hinton 2012, section
// 3.3): dst = src / scale^beta, scale = bias + alpha * sum of src^2 over 2 r + 1 channels.
#include "norm.h"

namespace fastconv::cuda {
namespace {

// Calls f(element, first neighbour, end of the neighbours) for each element of src [M, C].
template <class F>
void for_windows(const KernelCall& call, const F& f) {
  const Tensor& src = call.inputs[0];
  const int64_t radius = attrs<LocalResponseNormAttrs>(call).depth_radius;
  const Divisor channels(src.dims[src.rank - 1]);
  for_each(call, elements(src), [=] __device__(int64_t i) {
    const int64_t C = channels.size(), row = channels(i) * C;
    const int64_t begin = i - radius, end = i + radius + 1;
    f(i, begin > row ? begin : row, end < row + C ? end : row + C);
  });
}

// scale^-beta
__device__ __forceinline__ float damping(float scale, float beta) {
  if (beta != 0.75f) return powf(scale, -beta);
  const float root = sqrtf(scale);
  return 1.0f / (root * sqrtf(root));
}

}  // namespace

void local_response_norm(const KernelCall& call) {
  const LocalResponseNormAttrs a = attrs<LocalResponseNormAttrs>(call);
  const float* src = input<float>(call, 0);
  float *dst = output<float>(call, 0), *saved = output<float>(call, 1);
  for_windows(call, [=] __device__(int64_t i, int64_t begin, int64_t end) {
    float squares = 0;
    for (int64_t j = begin; j < end; ++j) squares += src[j] * src[j];
    const float scale = squares * a.alpha + a.bias;
    if (saved) saved[i] = scale;
    dst[i] = src[i] * damping(scale, a.beta);
  });
}

// dsrc = ddst scale^-beta - 2 alpha beta src * window sum of (ddst src scale^(-beta-1)).
void local_response_norm_backward(const KernelCall& call) {
  const LocalResponseNormAttrs a = attrs<LocalResponseNormAttrs>(call);
  const float *ddst = input<float>(call, 0), *src = input<float>(call, 1);
  const float* scales = input<float>(call, 2);
  float* dsrc = output<float>(call, 0);
  for_windows(call, [=] __device__(int64_t i, int64_t begin, int64_t end) {
    float ratios = 0;
    for (int64_t j = begin; j < end; ++j)
      ratios += ddst[j] * damping(scales[j], a.beta) * src[j] / scales[j];
    dsrc[i] = ddst[i] * damping(scales[i], a.beta) - src[i] * ratios * (2 * a.alpha * a.beta);
  });
}

}  // namespace fastconv::cuda
