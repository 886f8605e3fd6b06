// Pooling, backward: every input position gathers from the windows that cover it, in row-major
// order, so that overlapping windows need no atomics and dsrc is written once.
#include "pool_window.h"

namespace fastconv::cuda {
namespace {

// dsrc of each element: the sum over the windows that cover it of term(element of ddst, element of
// src, its position in the channel's map, o, p, q).
template <class Term>
void gather(const KernelCall& call, const Term& term) {
  const WindowGeometry g = attrs<PoolAttrs>(call).geometry;
  const MapIndex inputs(g.input, g.in_channels);
  float* dsrc = output<float>(call, 0);
  for_each(call, elements(call.outputs[0]), [=] __device__(int64_t i) {
    const Place here = inputs.place(i);
    const int64_t O = g.output[0], P = g.output[1], Q = g.output[2];
    const int64_t position = (here.at[0] * g.input[1] + here.at[1]) * g.input[2] + here.at[2];
    const Cover od = cover(g, 0, here.at[0]), oh = cover(g, 1, here.at[1]);
    const Cover ow = cover(g, 2, here.at[2]);
    float sum = 0;
    for (int32_t o = od.begin; o < od.end; ++o) {
      if (!hits(g, 0, here.at[0], o)) continue;
      for (int32_t p = oh.begin; p < oh.end; ++p) {
        if (!hits(g, 1, here.at[1], p)) continue;
        for (int32_t q = ow.begin; q < ow.end; ++q) {
          if (!hits(g, 2, here.at[2], q)) continue;
          const int64_t out = (((here.sample * O + o) * P + p) * Q + q) * g.in_channels;
          sum += term(out + here.channel, i, position, o, p, q);
        }
      }
    }
    dsrc[i] = sum;
  });
}

}  // namespace

void max_pool_backward(const KernelCall& call) {
  const float* ddst = input<float>(call, 0);
  const int32_t* indices = input<int32_t>(call, 1);
  gather(call, [=] __device__(int64_t out, int64_t, int64_t position, int64_t, int64_t, int64_t) {
    return indices[out] == position ? ddst[out] : 0.0f;
  });
}

void average_pool_backward(const KernelCall& call) {
  const PoolAttrs a = attrs<PoolAttrs>(call);
  const float* ddst = input<float>(call, 0);
  const int64_t whole = a.geometry.kernel[0] * a.geometry.kernel[1] * a.geometry.kernel[2];
  gather(call, [=] __device__(int64_t out, int64_t, int64_t, int64_t o, int64_t p, int64_t q) {
    const WindowGeometry& g = a.geometry;
    const int64_t taps = a.count_include_pad
                             ? whole
                             : span(g, 0, o).count * span(g, 1, p).count * span(g, 2, q).count;
    return ddst[out] / (float)taps;
  });
}

// dsrc = sum of ddst (|x| / dst)^(p-1), with the sign of x; 0 where x or dst is 0.
void lp_pool_backward(const KernelCall& call) {
  const float p = attrs<PoolAttrs>(call).p;
  const float *ddst = input<float>(call, 0), *src = input<float>(call, 1);
  const float* dst = input<float>(call, 2);
  gather(call, [=] __device__(int64_t out, int64_t i, int64_t, int64_t, int64_t, int64_t) {
    const float x = src[i], y = dst[out], ratio = fabsf(x) / y;
    if (x == 0 || y == 0) return 0.0f;
    const float slope = p == 1 ? 1.0f : p == 2 ? ratio : powf(ratio, p - 1);
    return x != x ? x : copysignf(1.0f, x) * ddst[out] * slope;
  });
}

}  // namespace fastconv::cuda
