// Batch normalisation, backward: two passes, one for the sums and one for dsrc. The derivative of
// the activation that followed is applied on the way.
#include "norm.h"
#include "norm_batch.h"

namespace fastconv::cuda {
namespace {

// The gradient d before the activation. The activation's argument is computed again from beta, or
// its result is at hand; then d is kept, for it is also the gradient of what was added.
struct Gradient {
  const float *ddst, *src, *gamma, *mean, *rstd;
  const float *beta, *dst;  // null: not at hand
  float* dadd;
  bool saves_output;
  Epilogue epilogue;

  __device__ __forceinline__ float kept(int64_t i) const {
    return dadd[i] = activate_gradient(epilogue.activation, epilogue.alpha, ddst[i], dst[i]);
  }
  // Of ddst and src in channel c.
  __device__ __forceinline__ float of(float dy, float x, int64_t c) const {
    if (!beta) return dy;
    const float z = affine(x, mean[c], gamma[c] * rstd[c], beta[c]);
    const float saved = saves_output ? activate(epilogue.activation, epilogue.alpha, z) : z;
    return activate_gradient(epilogue.activation, epilogue.alpha, dy, saved);
  }
};

Gradient gradient_of(const KernelCall& call) {
  const Epilogue& e = attrs<BatchNormAttrs>(call).epilogue;
  const bool active = e.activation != Activation::identity;
  return {input<float>(call, 0),
          input<float>(call, 1),
          input<float>(call, 2),
          input<float>(call, 3),
          input<float>(call, 4),
          active && !e.add ? input<float>(call, 5) : nullptr,
          active && e.add ? input<float>(call, 5) : nullptr,
          active && e.add ? output<float>(call, 3) : nullptr,
          activation_saves_output(e.activation),
          e};
}

}  // namespace

int64_t batch_norm_backward_workspace(const KernelCall& call) {
  const Matrix m = matrix_of(call.inputs[0]);
  return columns_workspace(m.rows, m.channels, 2) + 8 * m.channels;
}

// With x^ = (src - mean) rstd and means over the M rows:
// dsrc = gamma rstd (d - mean(d) - x^ mean(d x^)), dgamma = sum(d x^), dbeta = sum(d).
void batch_norm_backward(const KernelCall& call) {
  const Matrix m = matrix_of(call.inputs[0]);
  const Gradient d = gradient_of(call);
  float *shift = workspace<float>(call), *slope = shift + m.channels;
  float *dsrc = output<float>(call, 0), *dgamma = output<float>(call, 1);
  float* dbeta = output<float>(call, 2);
  const double share = m.rows > 0 ? 1.0 / (double)m.rows : 0.0;
  join_columns<2, Add>(
      call, m.rows, m.channels, 0,
      [=] __device__(int64_t row, int64_t c, float* values) {
        const int64_t i = row * m.channels + c;
        const float x = d.src[i], gradient = d.dadd ? d.kept(i) : d.of(d.ddst[i], x, c);
        values[0] += gradient;
        values[1] += gradient * (x - d.mean[c]);
      },
      [=] __device__(int64_t c, const double* totals) {
        const double product = totals[1] * d.rstd[c];
        shift[c] = (float)(totals[0] * share);
        slope[c] = (float)(product * d.rstd[c] * share);
        if (dgamma) dgamma[c] = (float)product;
        if (dbeta) dbeta[c] = (float)totals[0];
      },
      slope + m.channels);
  if (!dsrc) return;
  map_at(
      call, dsrc, m.rows * m.channels,
      [=] __device__(int64_t i, float dy, float x) {
        const int64_t c = m.channel(i);
        const float rest = d.of(dy, x, c) - shift[c] - (x - d.mean[c]) * slope[c];
        return rest * (d.gamma[c] * d.rstd[c]);
      },
      d.dadd ? d.dadd : d.ddst, d.src);
}

}  // namespace fastconv::cuda
