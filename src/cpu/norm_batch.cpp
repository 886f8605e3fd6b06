// Batch normalisation over the last axis (Ioffe and Szegedy 2015), forward and inference.
#include "norm_batch.h"

#include "norm.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// Two sums a column: of x - pivot, and of (x - mean of the tile)^2, in two passes over the tile.
template <class T>
void sum_moments(const Columns& c, const Source<T>& src, const float* pivots, const Scratch& s) {
  sum_tiles(c, 2, s, [&](const Tile& t) {
    float *first = s.first + t.index * c.width, *second = s.second + t.index * c.width;
    const float share = 1.0f / (float)(t.row_end - t.row_begin);
    touch(c, t, src);
    sum_rows(c, src, t, first, second, [&](int64_t v, int64_t lanes) {
      return [=, pivot = load_lanes(pivots + v, lanes)](int64_t, vfloat x, vfloat& a, vfloat&) {
        a += x - pivot;
      };
    });
    sum_rows(c, src, t, first, second, [&](int64_t v, int64_t lanes) {
      const vfloat sum = load_lanes(first + v, lanes), pivot = load_lanes(pivots + v, lanes);
      return [=, mean = sum * share](int64_t, vfloat x, vfloat& a, vfloat& b) {
        const vfloat apart = x - pivot - mean;
        a = sum;
        b += apart * apart;
      };
    });
  });
}

// Rows that a tile, or the tail, has in each of some columns.
vfloat rows_of(const Columns& c, int64_t block, int64_t v) {
  const int64_t left = c.tall - block * c.block;
  if (block < c.blocks) return splat((float)(left < c.block ? left : c.block));
  const int64_t tail = c.tail - v;
  return first_lanes(tail < 0 ? 0 : tail < kLanes ? tail : kLanes) ? splat(1.0f) : vfloat{};
}

void divide(float* values, int64_t n, float by) {
  for (int64_t i = 0; i < n; ++i) values[i] /= by;
}

// Leaves the mean in wide[0] and the variance in wide[1], spread. Sums are taken about the first
// value of each channel, so that a large mean costs no digits.
template <class T>
void moments(const Columns& c, const Source<T>& src, const Scratch& s, float* narrow) {
  const T* row = input<T>(src.call, src.first);
  for (int64_t i = 0; i < c.channels; ++i) narrow[i] = c.rows > 0 ? to_float(row[i]) : 0.0f;
  const float* pivot = s.wide[5];
  spread_columns(c, narrow, s.wide[5]);
  sum_moments(c, src, pivot, s);
  const float count = c.rows > 0 ? (float)c.rows : 1.0f;
  finish_sums(c, s.wide[0], narrow, s.first);
  divide(narrow, c.channels, count);
  spread_columns(c, narrow, s.wide[0]);  // about the pivot, until the squares are summed
  for (int64_t b = 0; b <= c.blocks; ++b)
    for_vectors(0, c.width, [&](int64_t v, int64_t lanes) {
      float* square = s.second + b * c.width + v;
      const vfloat rows = rows_of(c, b, v), some = max(rows, splat(1.0f));
      const vfloat mean = load_lanes(s.first + b * c.width + v, lanes) / some;
      const vfloat apart = mean - load_lanes(s.wide[0] + v, lanes);
      store_lanes(square, load_lanes(square, lanes) + rows * apart * apart, lanes);
    });
  finish_sums(c, s.wide[1], narrow, s.second);
  divide(narrow, c.channels, count);
  spread_columns(c, narrow, s.wide[1]);
  for (int64_t i = 0; i < c.width; ++i) s.wide[0][i] += pivot[i];
}

// dst = activation((src - mean) scale + beta + add). `operands`: the input behind those of all.
template <class T>
void normalise(const KernelCall& call, const Columns& c, const Affine& f, int operands) {
  const Epilogue& e = attrs<BatchNormAttrs>(call).epilogue;
  const T* add = e.add ? input<T>(call, operands) : nullptr;
  const Source<T> src = {call, 0, operands + (e.add != 0)};
  with_activation(e.activation, [&](auto tag) {
    map_columns(c, src, 2, output<T>(call, 0), [&](int64_t v, int64_t lanes) {
      return [=, affine = AffineColumns(f, v, lanes), alpha = e.alpha](int64_t row, vfloat x) {
        vfloat y = affine(x);
        if (add) y += load_lanes(add + row * c.width + v, lanes);
        return activate<tag.value>(alpha, y);
      };
    });
  });
}

float reciprocal_root(float variance, float epsilon) {
  return 1.0f / __builtin_sqrtf(variance + epsilon);
}

template <class T>
void normalise_batch(const KernelCall& call) {
  const Columns c = columns_of(call.inputs[0]);
  const Scratch s = scratch(call, c, true);
  const float *gamma = input<float>(call, 1), *beta = input<float>(call, 2);
  moments(c, Source<T>{call, 0, call.n_inputs}, s, s.wide[2]);
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
  if (output<float>(call, 0)) normalise<T>(call, c, {s.wide[0], s.wide[4], s.wide[5]}, 3);
}

// A dst that is wider than src is made of parts.
Columns fixed_columns(const KernelCall& call) {
  const Tensor& dst = call.outputs[0];
  return columns_of(dst, channels_of(call.inputs[0]) == channels_of(dst));
}

template <class T>
void normalise_fixed(const KernelCall& call) {
  const Columns c = fixed_columns(call);
  const Scratch s = scratch(call, c, false);
  const float *gamma = input<float>(call, 1), *variance = input<float>(call, 4);
  for (int64_t i = 0; i < c.channels; ++i)
    s.wide[0][i] = gamma[i] * reciprocal_root(variance[i], attrs<BatchNormAttrs>(call).epsilon);
  spread_columns(c, input<float>(call, 3), s.wide[1]);
  spread_columns(c, s.wide[0], s.wide[2]);
  spread_columns(c, input<float>(call, 2), s.wide[3]);
  normalise<T>(call, c, {s.wide[1], s.wide[2], s.wide[3]}, 5);
}

}  // namespace

int64_t batch_norm_workspace(const KernelCall& call) {
  return 4 * scratch_floats(columns_of(call.inputs[0]), true);
}

int64_t batch_norm_inference_workspace(const KernelCall& call) {
  return 4 * scratch_floats(fixed_columns(call), false);
}

void batch_norm(const KernelCall& call) {
  with_float(call, [&](auto tag) { normalise_batch<typename decltype(tag)::type>(call); });
}

void batch_norm_inference(const KernelCall& call) {
  with_float(call, [&](auto tag) { normalise_fixed<typename decltype(tag)::type>(call); });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
