// Layer normalisation (Ba, Kiros and Hinton 2016): src [M, L] with L the last axes together;
// gamma and beta [L]; mean and rstd [M].
#include "columns.h"
#include "norm.h"
#include "rows.h"

namespace fastconv::cuda {
namespace {

struct Rows {
  int64_t count, length;
};

Rows rows_of(const KernelCall& call, const Tensor& src) {
  Rows rows{1, 1};
  const int32_t split = src.rank - attrs<LayerNormAttrs>(call).axes;
  for (int32_t i = 0; i < src.rank; ++i) (i < split ? rows.count : rows.length) *= src.dims[i];
  return rows;
}

struct Normalise {
  const float *src, *gamma, *beta;
  float *dst, *mean, *rstd;  // null: nobody wants it
  int64_t length;
  float epsilon;

  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const float* x = src + row * length;
    const float centre = sum_row(team, length, [&](int64_t i) { return x[i]; }) / (float)length;
    const float squares =
        sum_row(team, length, [&](int64_t i) { return (x[i] - centre) * (x[i] - centre); });
    const float scale = 1.0f / sqrtf(squares / (float)length + epsilon);
    if (team.rank() == 0 && mean) mean[row] = centre;
    if (team.rank() == 0 && rstd) rstd[row] = scale;
    if (!dst) return;
    for (int64_t i = team.rank(); i < length; i += Team::size)
      dst[row * length + i] = (x[i] - centre) * scale * gamma[i] + beta[i];
  }
};

// With x^ = (src - mean) rstd, g = ddst gamma and means over the row:
// dsrc = rstd (g - mean(g) - x^ mean(g x^)).
struct NormaliseBackward {
  const float *ddst, *src, *gamma, *mean, *rstd;
  float* dsrc;
  int64_t length;

  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const float *d = ddst + row * length, *x = src + row * length;
    const float centre = mean[row], scale = rstd[row], share = 1.0f / (float)length;
    const float shift = share * sum_row(team, length, [&](int64_t i) { return d[i] * gamma[i]; });
    const float slope = share * sum_row(team, length, [&](int64_t i) {
                          return d[i] * gamma[i] * ((x[i] - centre) * scale);
                        });
    for (int64_t i = team.rank(); i < length; i += Team::size) {
      const float normal = (x[i] - centre) * scale;
      dsrc[row * length + i] = (d[i] * gamma[i] - shift - normal * slope) * scale;
    }
  }
};

}  // namespace

void layer_norm(const KernelCall& call) {
  const Rows rows = rows_of(call, call.inputs[0]);
  for_rows(call, rows.count, rows.length,
           Normalise{input<float>(call, 0), input<float>(call, 1), input<float>(call, 2),
                     output<float>(call, 0), output<float>(call, 1), output<float>(call, 2),
                     rows.length, attrs<LayerNormAttrs>(call).epsilon});
}

int64_t layer_norm_backward_workspace(const KernelCall& call) {
  const Rows rows = rows_of(call, call.inputs[0]);
  return columns_workspace(rows.count, rows.length, 2);
}

void layer_norm_backward(const KernelCall& call) {
  const Rows rows = rows_of(call, call.inputs[0]);
  const float *ddst = input<float>(call, 0), *src = input<float>(call, 1);
  const float *mean = input<float>(call, 3), *rstd = input<float>(call, 4);
  float *dsrc = output<float>(call, 0), *dgamma = output<float>(call, 1);
  float* dbeta = output<float>(call, 2);
  join_columns<2, Add>(
      call, rows.count, rows.length, 0,
      [=] __device__(int64_t row, int64_t c, float* values) {
        const float d = ddst[row * rows.length + c];
        values[0] += d * ((src[row * rows.length + c] - mean[row]) * rstd[row]);
        values[1] += d;
      },
      [=] __device__(int64_t c, const double* totals) {
        if (dgamma) dgamma[c] = (float)totals[0];
        if (dbeta) dbeta[c] = (float)totals[1];
      },
      workspace<float>(call));
  if (dsrc)
    for_rows(call, rows.count, rows.length,
             NormaliseBackward{ddst, src, input<float>(call, 2), mean, rstd, dsrc, rows.length});
}

}  // namespace fastconv::cuda
