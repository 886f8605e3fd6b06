// Local response normalisation across channels (Krizhevsky, Sutskever and Hinton 2012, section
// 3.3): dst = src / scale^beta, scale = bias + alpha * sum of src^2 over 2 r + 1 channels.
#include "norm.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// src [M, C]. Every task has a row of C floats between two halos of zeros, so that the windows at
// the edges need no care.
struct Layout {
  int64_t rows, channels, block, radius, stride;
};

Layout layout(const KernelCall& call) {
  const Tensor& src = call.inputs[0];
  const int64_t channels = src.dims[src.rank - 1];
  const int64_t rows = channels > 0 ? elements(src) / channels : 0;
  int64_t radius = attrs<LocalResponseNormAttrs>(call).depth_radius;
  if (radius > channels) radius = channels;
  const int64_t by_size = ceil_div(8192, channels), by_count = ceil_div(rows, 64);
  return {rows, channels, by_size > by_count ? by_size : by_count, radius,
          channels + 2 * radius + kLanes};
}

template <class Body>
void for_rows(const KernelCall& call, const Layout& l, const Body& body) {
  const int64_t work = l.channels * (2 * l.radius + 4);
  parallel_blocks(l.rows, l.block, work, [&](int64_t begin, int64_t end) {
    float* buffer = static_cast<float*>(call.workspace) + begin / l.block * l.stride;
    __builtin_memset(buffer, 0, static_cast<size_t>(4 * l.stride));
    for (int64_t row = begin; row < end; ++row) body(row * l.channels, buffer + l.radius);
  });
}

// Sum over the window around channel c of a row with halos.
static inline vfloat window_sum(const float* row, int64_t c, int64_t radius) {
  vfloat total = {};
  for (int64_t j = -radius; j <= radius; ++j) total += load(row + c + j);
  return total;
}

// scale^-beta
static inline vfloat damping(vfloat scale, float beta) {
  if (beta == 0.75f) {
    const vfloat root = sqrt(scale);
    return 1.0f / (root * sqrt(root));
  }
  return pow(scale, splat(-beta));
}

}  // namespace

int64_t local_response_norm_workspace(const KernelCall& call) {
  const Layout l = layout(call);
  return 4 * l.stride * ceil_div(l.rows, l.block);
}

void local_response_norm(const KernelCall& call) {
  const LocalResponseNormAttrs& a = attrs<LocalResponseNormAttrs>(call);
  const Layout l = layout(call);
  const float* src = input<float>(call, 0);
  float* dst = output<float>(call, 0);
  float* saved = call.n_outputs > 1 ? output<float>(call, 1) : nullptr;
  for_rows(call, l, [&](int64_t at, float* squares) {
    for_vectors(0, l.channels, [&](int64_t c, int64_t lanes) {
      const vfloat x = load_lanes(src + at + c, lanes);
      store_lanes(squares + c, x * x, lanes);
    });
    for_vectors(0, l.channels, [&](int64_t c, int64_t lanes) {
      const vfloat scale = window_sum(squares, c, l.radius) * a.alpha + a.bias;
      if (saved) store_lanes(saved + at + c, scale, lanes);
      store_lanes(dst + at + c, load_lanes(src + at + c, lanes) * damping(scale, a.beta), lanes);
    });
  });
}

// dsrc = ddst scale^-beta - 2 alpha beta src * window sum of (ddst src scale^(-beta-1)).
void local_response_norm_backward(const KernelCall& call) {
  const LocalResponseNormAttrs& a = attrs<LocalResponseNormAttrs>(call);
  const Layout l = layout(call);
  const float *ddst = input<float>(call, 0), *src = input<float>(call, 1);
  const float* scales = input<float>(call, 2);
  float* dsrc = output<float>(call, 0);
  for_rows(call, l, [&](int64_t at, float* ratios) {
    for_vectors(0, l.channels, [&](int64_t c, int64_t lanes) {
      const vfloat x = load_lanes(src + at + c, lanes), d = load_lanes(ddst + at + c, lanes);
      const vfloat scale = load_lanes(scales + at + c, lanes);
      const vfloat damped = d * damping(scale, a.beta);
      store_lanes(ratios + c, damped * x / scale, lanes);
      store_lanes(dsrc + at + c, damped, lanes);
    });
    for_vectors(0, l.channels, [&](int64_t c, int64_t lanes) {
      const vfloat x = load_lanes(src + at + c, lanes);
      const vfloat others = window_sum(ratios, c, l.radius) * (2 * a.alpha * a.beta);
      store_lanes(dsrc + at + c, load_lanes(dsrc + at + c, lanes) - x * others, lanes);
    });
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
