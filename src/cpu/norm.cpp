// Batch normalisation over the last axis (Ioffe and Szegedy 2015), and the list of normalisations.
// src [M, C]; gamma, beta, mean, rstd, variance [C].
#include "norm.h"

#include "activation.h"
#include "columns.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int kUnroll = 4;

Columns columns_of(const Tensor& src) {
  const int64_t channels = src.dims[src.rank - 1];
  return columns(channels > 0 ? elements(src) / channels : 0, channels);
}

// Two sums a column: of x - pivot, and of (x - mean of the tile)^2, in two passes over the tile.
template <int count, bool full>
static inline void tile_moments(const float* x, const float* pivots, int64_t rows, int64_t width,
                                int64_t lanes, float* sum, float* square) {
  vfloat total[count] = {}, squares[count] = {}, pivot[count];
  for (int v = 0; v < count; ++v)
    pivot[v] = full ? load(pivots + v * kLanes) : load_part(pivots, lanes);
  for (int64_t i = 0; i < rows; ++i)
    for (int v = 0; v < count; ++v) {
      const float* p = x + i * width + v * kLanes;
      total[v] += (full ? load(p) : load_part(p, lanes)) - pivot[v];
    }
  vfloat mean[count];
  for (int v = 0; v < count; ++v) mean[v] = total[v] / splat((float)rows);
  for (int64_t i = 0; i < rows; ++i)
    for (int v = 0; v < count; ++v) {
      const float* p = x + i * width + v * kLanes;
      const vfloat apart = (full ? load(p) : load_part(p, lanes)) - pivot[v] - mean[v];
      squares[v] += apart * apart;
    }
  for (int v = 0; v < count; ++v) {
    store_lanes(sum + v * kLanes, total[v], lanes);
    store_lanes(square + v * kLanes, squares[v], lanes);
  }
}

// Two sums a column: of dy, and of dy (x - mean).
template <int count, bool full>
static inline void tile_products(const float* dy, const float* x, const float* mean, int64_t rows,
                                 int64_t width, int64_t lanes, float* sum, float* product) {
  vfloat total[count] = {}, products[count] = {}, center[count];
  for (int v = 0; v < count; ++v)
    center[v] = full ? load(mean + v * kLanes) : load_part(mean, lanes);
  for (int64_t i = 0; i < rows; ++i)
    for (int v = 0; v < count; ++v) {
      const int64_t at = i * width + v * kLanes;
      const vfloat d = full ? load(dy + at) : load_part(dy + at, lanes);
      total[v] += d;
      products[v] += d * ((full ? load(x + at) : load_part(x + at, lanes)) - center[v]);
    }
  for (int v = 0; v < count; ++v) {
    store_lanes(sum + v * kLanes, total[v], lanes);
    store_lanes(product + v * kLanes, products[v], lanes);
  }
}

// Workspace: two partial sums a tile and column, and six rows of parameters, each `width` wide.
struct Scratch {
  float *first, *second;  // [blocks, width]
  float* wide[6];         // [width]
};

int64_t scratch_floats(const Columns& c, bool partials) {
  return c.width * (6 + (partials ? 2 * c.blocks : 0));
}

Scratch scratch(const KernelCall& call, const Columns& c, bool partials) {
  Scratch s;
  float* at = static_cast<float*>(call.workspace);
  for (float*& wide : s.wide) {
    wide = at;
    at += c.width;
  }
  s.first = partials ? at : nullptr;
  s.second = partials ? at + c.blocks * c.width : nullptr;
  return s;
}

template <bool partials>
int64_t workspace(const KernelCall& call) {
  const Columns c = columns_of(call.inputs[0]);
  return 4 * scratch_floats(c, partials);
}

// sums[c] = sum over rows, from the tiles' sums and the tail term(at, c), in order.
template <class Partial, class Term>
static inline void finish_sums(const Columns& c, float* wide, float* sums, const Partial& partial,
                               const Term& term) {
  for_vectors(0, c.width, [&](int64_t v, int64_t lanes) {
    vfloat total = {};
    for (int64_t b = 0; b < c.blocks; ++b) total += partial(b, b * c.width + v, lanes);
    store_lanes(wide + v, total, lanes);
  });
  for (int64_t v = 0; v < c.tail; ++v) wide[v] += term(c.tall * c.width + v, v);
  fold_columns(c, wide, sums);
}

// Leaves the mean in wide[0] and the variance in wide[1], spread. Sums are taken about the first
// value of each channel, so that a large mean costs no digits.
static void moments(const Columns& c, const float* src, const Scratch& s, float* narrow) {
  for (int64_t i = 0; i < c.channels; ++i) narrow[i] = c.rows > 0 ? src[i] : 0.0f;
  spread_columns(c, narrow, s.wide[5]);
  const float* pivot = s.wide[5];
  for_tiles(c, 2, [&](const Tile& t) {
    const float* x = src + t.row_begin * c.width;
    const int64_t rows = t.row_end - t.row_begin, at = t.index * c.width;
    int64_t v = t.begin;
    for (; v + kUnroll * kLanes <= t.end; v += kUnroll * kLanes)
      tile_moments<kUnroll, true>(x + v, pivot + v, rows, c.width, kLanes, s.first + at + v,
                                  s.second + at + v);
    for_vectors(v, t.end, [&](int64_t u, int64_t lanes) {
      tile_moments<1, false>(x + u, pivot + u, rows, c.width, lanes, s.first + at + u,
                             s.second + at + u);
    });
  });
  const float count = c.rows > 0 ? (float)c.rows : 1.0f;
  finish_sums(
      c, s.wide[0], narrow,
      [&](int64_t, int64_t at, int64_t lanes) { return load_lanes(s.first + at, lanes); },
      [&](int64_t at, int64_t v) { return src[at] - pivot[v]; });
  for (int64_t i = 0; i < c.channels; ++i) narrow[i] /= count;
  spread_columns(c, narrow, s.wide[0]);
  const float* mean = s.wide[0];  // about the pivot, until the squares are summed
  const auto square = [&](int64_t b, int64_t at, int64_t lanes) {
    const int64_t begin = b * c.block, end = begin + c.block < c.tall ? begin + c.block : c.tall;
    const vfloat rows = splat((float)(end - begin));
    const vfloat apart =
        load_lanes(s.first + at, lanes) / rows - load_lanes(mean + at - b * c.width, lanes);
    return load_lanes(s.second + at, lanes) + rows * apart * apart;
  };
  finish_sums(c, s.wide[1], narrow, square, [&](int64_t at, int64_t v) {
    const float apart = src[at] - pivot[v] - mean[v];
    return apart * apart;
  });
  for (int64_t i = 0; i < c.channels; ++i) narrow[i] /= count;
  spread_columns(c, narrow, s.wide[1]);
  for (int64_t i = 0; i < c.width; ++i) s.wide[0][i] += pivot[i];
}

// dst = activation((src - mean) scale + beta), with parameters spread to the width. Subtracting
// first keeps the digits of a channel whose mean is large, and gives beta where src is the mean.
struct Affine {
  const float *mean, *scale, *beta;
};

template <Activation activation>
static void apply(const Columns& c, const Affine& f, float alpha, const float* src, float* dst) {
  const auto row = [&](int64_t at, int64_t begin, int64_t end) {
    for_vectors(begin, end, [&](int64_t v, int64_t lanes) {
      const vfloat x = load_lanes(src + at + v, lanes) - load_lanes(f.mean + v, lanes);
      const vfloat y = x * load_lanes(f.scale + v, lanes) + load_lanes(f.beta + v, lanes);
      store_lanes(dst + at + v, activate<activation>(alpha, y), lanes);
    });
  };
  for_tiles(c, 2, [&](const Tile& t) {
    for (int64_t i = t.row_begin; i < t.row_end; ++i) row(i * c.width, t.begin, t.end);
  });
  row(c.tall * c.width, 0, c.tail);
}

static void normalise(const KernelCall& call, const Columns& c, const Affine& f) {
  const BatchNormAttrs& a = attrs<BatchNormAttrs>(call);
  with_activation(a.activation, [&](auto tag) {
    apply<tag.value>(c, f, a.alpha, input<float>(call, 0), output<float>(call, 0));
  });
}

static inline float reciprocal_root(float variance, float epsilon) {
  return 1.0f / __builtin_sqrtf(variance + epsilon);
}

static inline void copy_if_wanted(const KernelCall& call, int i, const float* values, int64_t n) {
  if (i >= call.n_outputs || !call.outputs[i].data) return;
  __builtin_memcpy(call.outputs[i].data, values, static_cast<size_t>(4 * n));
}

void batch_norm(const KernelCall& call) {
  const Columns c = columns_of(call.inputs[0]);
  const Scratch s = scratch(call, c, true);
  const float *gamma = input<float>(call, 1), *beta = input<float>(call, 2);
  moments(c, input<float>(call, 0), s, s.wide[2]);
  copy_if_wanted(call, 1, s.wide[0], c.channels);
  copy_if_wanted(call, 3, s.wide[1], c.channels);
  float *rstd = s.wide[2], *scale = s.wide[3];
  for (int64_t i = 0; i < c.channels; ++i) {
    rstd[i] = reciprocal_root(s.wide[1][i], attrs<BatchNormAttrs>(call).epsilon);
    scale[i] = gamma[i] * rstd[i];
  }
  copy_if_wanted(call, 2, rstd, c.channels);
  spread_columns(c, scale, s.wide[4]);
  spread_columns(c, beta, s.wide[5]);
  if (output<float>(call, 0)) normalise(call, c, {s.wide[0], s.wide[4], s.wide[5]});
}

void batch_norm_inference(const KernelCall& call) {
  const Columns c = columns_of(call.inputs[0]);
  const Scratch s = scratch(call, c, false);
  const float *gamma = input<float>(call, 1), *variance = input<float>(call, 4);
  for (int64_t i = 0; i < c.channels; ++i)
    s.wide[0][i] = gamma[i] * reciprocal_root(variance[i], attrs<BatchNormAttrs>(call).epsilon);
  spread_columns(c, input<float>(call, 3), s.wide[1]);
  spread_columns(c, s.wide[0], s.wide[2]);
  spread_columns(c, input<float>(call, 2), s.wide[3]);
  normalise(call, c, {s.wide[1], s.wide[2], s.wide[3]});
}

// Leaves the sums over rows of ddst in `total` and of ddst (src - mean) in `product`, [C].
static void products(const Columns& c, const float* ddst, const float* src, const Scratch& s,
                     float* total, float* product) {
  const float* mean = s.wide[0];
  for_tiles(c, 4, [&](const Tile& t) {
    const int64_t row = t.row_begin * c.width, rows = t.row_end - t.row_begin;
    float *first = s.first + t.index * c.width, *second = s.second + t.index * c.width;
    int64_t v = t.begin;
    for (; v + kUnroll * kLanes <= t.end; v += kUnroll * kLanes)
      tile_products<kUnroll, true>(ddst + row + v, src + row + v, mean + v, rows, c.width, kLanes,
                                   first + v, second + v);
    for_vectors(v, t.end, [&](int64_t u, int64_t lanes) {
      tile_products<1, false>(ddst + row + u, src + row + u, mean + u, rows, c.width, lanes,
                              first + u, second + u);
    });
  });
  finish_sums(
      c, s.wide[5], total,
      [&](int64_t, int64_t at, int64_t lanes) { return load_lanes(s.first + at, lanes); },
      [&](int64_t at, int64_t) { return ddst[at]; });
  finish_sums(
      c, s.wide[5], product,
      [&](int64_t, int64_t at, int64_t lanes) { return load_lanes(s.second + at, lanes); },
      [&](int64_t at, int64_t v) { return ddst[at] * (src[at] - mean[v]); });
}

// dsrc = scale (ddst - shift - (src - mean) slope).
struct Slope {
  const float *mean, *scale, *shift, *slope;
};

static void apply_backward(const Columns& c, const Slope& f, const float* ddst, const float* src,
                           float* dsrc) {
  const auto row = [&](int64_t at, int64_t begin, int64_t end) {
    for_vectors(begin, end, [&](int64_t v, int64_t lanes) {
      const vfloat x = load_lanes(src + at + v, lanes) - load_lanes(f.mean + v, lanes);
      const vfloat d = load_lanes(ddst + at + v, lanes) - load_lanes(f.shift + v, lanes);
      const vfloat dx = d - x * load_lanes(f.slope + v, lanes);
      store_lanes(dsrc + at + v, dx * load_lanes(f.scale + v, lanes), lanes);
    });
  };
  for_tiles(c, 3, [&](const Tile& t) {
    for (int64_t i = t.row_begin; i < t.row_end; ++i) row(i * c.width, t.begin, t.end);
  });
  row(c.tall * c.width, 0, c.tail);
}

// With x^ = (src - mean) rstd and means over the M rows:
// dsrc = gamma rstd (ddst - mean(ddst) - x^ mean(ddst x^)).
void batch_norm_backward(const KernelCall& call) {
  const Columns c = columns_of(call.inputs[0]);
  const Scratch s = scratch(call, c, true);
  const float *ddst = input<float>(call, 0), *src = input<float>(call, 1);
  const float *gamma = input<float>(call, 2), *rstd = input<float>(call, 4);
  spread_columns(c, input<float>(call, 3), s.wide[0]);
  float *total = s.wide[1], *product = s.wide[2], *narrow = s.wide[5];
  products(c, ddst, src, s, total, product);
  for (int64_t i = 0; i < c.channels; ++i) product[i] *= rstd[i];
  copy_if_wanted(call, 1, product, c.channels);
  copy_if_wanted(call, 2, total, c.channels);
  if (!output<float>(call, 0) || c.rows == 0) return;
  for (int64_t i = 0; i < c.channels; ++i) narrow[i] = total[i] / (float)c.rows;
  spread_columns(c, narrow, s.wide[3]);
  for (int64_t i = 0; i < c.channels; ++i) narrow[i] = product[i] * rstd[i] / (float)c.rows;
  spread_columns(c, narrow, s.wide[4]);
  for (int64_t i = 0; i < c.channels; ++i) narrow[i] = gamma[i] * rstd[i];
  spread_columns(c, narrow, s.wide[1]);
  apply_backward(c, {s.wide[0], s.wide[1], s.wide[3], s.wide[4]}, ddst, src,
                 output<float>(call, 0));
}

constexpr Kernel kBatch[] = {{"batch_norm", needs_float32, workspace<true>, batch_norm}};
constexpr Kernel kBatchBackward[] = {
    {"batch_norm_backward", needs_float32, workspace<true>, batch_norm_backward}};
constexpr Kernel kBatchInference[] = {
    {"batch_norm_inference", needs_float32, workspace<false>, batch_norm_inference}};
constexpr Kernel kLayer[] = {{"layer_norm", needs_float32, nullptr, layer_norm}};
constexpr Kernel kLayerBackward[] = {
    {"layer_norm_backward", needs_float32, layer_norm_backward_workspace, layer_norm_backward}};
constexpr Kernel kLocal[] = {
    {"local_response_norm", needs_float32, local_response_norm_workspace, local_response_norm}};
constexpr Kernel kLocalBackward[] = {{"local_response_norm_backward", needs_float32,
                                      local_response_norm_workspace, local_response_norm_backward}};

}  // namespace

KernelList norm_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::batch_norm: return list(kBatch);
    case OpKind::batch_norm_backward: return list(kBatchBackward);
    case OpKind::batch_norm_inference: return list(kBatchInference);
    case OpKind::layer_norm: return list(kLayer);
    case OpKind::layer_norm_backward: return list(kLayerBackward);
    case OpKind::local_response_norm: return list(kLocal);
    case OpKind::local_response_norm_backward: return list(kLocalBackward);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
