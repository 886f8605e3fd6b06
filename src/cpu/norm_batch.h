// What the passes of batch normalisation share: src [M, C] as Columns, gamma, beta, mean, rstd [C].
//
// Passes go through memory in its order, several rows at a time, so that the parameters of a column
// are loaded once for them.
#pragma once
#include "activation.h"
#include "columns.h"

namespace fastconv::cpu::FASTCONV_ISA {

constexpr int kRowsAtOnce = 8;

static inline Columns columns_of(const Tensor& src) {
  const int64_t channels = src.dims[src.rank - 1];
  return columns(channels > 0 ? elements(src) / channels : 0, channels);
}

// Workspace: two partial sums a tile and column, a row of them for the tail, and eight rows of
// parameters, each `width` wide.
struct Scratch {
  float *first, *second;  // [blocks + 1, width]
  float* wide[8];         // [width]
};

static inline int64_t scratch_floats(const Columns& c, bool partials) {
  return c.width * (8 + (partials ? 2 * (c.blocks + 1) : 0));
}

static inline Scratch scratch(const KernelCall& call, const Columns& c, bool partials) {
  Scratch s;
  float* at = static_cast<float*>(call.workspace);
  for (float*& wide : s.wide) {
    wide = at;
    at += c.width;
  }
  s.first = partials ? at : nullptr;
  s.second = partials ? at + (c.blocks + 1) * c.width : nullptr;
  return s;
}

// The rows of a tile, some at a time: calls body(place, rows, column, lanes), where `place` is that
// of the column in the first of these rows. The tail is a tile of one row.
template <class Body>
static inline void for_rows(const Columns& c, const Tile& t, const Body& body) {
  for (int64_t i = t.row_begin; i < t.row_end; i += kRowsAtOnce) {
    const int64_t left = t.row_end - i, rows = left < kRowsAtOnce ? left : kRowsAtOnce;
    for_vectors(t.begin, t.end, [&](int64_t v, int64_t lanes) {
      if (rows == kRowsAtOnce)
        body(i * c.width + v, int64_t{kRowsAtOnce}, v, lanes);
      else
        body(i * c.width + v, rows, v, lanes);
    });
  }
}

static inline Tile tail_of(const Columns& c) { return {c.blocks, c.tall, c.tall + 1, 0, c.tail}; }

// dst of every element: of(column, lanes) gives the function place -> vector for some columns.
template <class Of>
static void map_columns(const Columns& c, int64_t work, float* dst, const Of& of) {
  const auto tile = [&](const Tile& t) {
    for_rows(c, t, [&](int64_t at, int64_t rows, int64_t v, int64_t lanes) {
      const auto value = of(v, lanes);
#pragma GCC unroll 8
      for (int64_t r = 0; r < rows; ++r, at += c.width) store_lanes(dst + at, value(at), lanes);
    });
  };
  for_tiles(c, work, tile);
  tile(tail_of(c));
}

// Calls tile(t) for the tiles and the tail, after clearing what the tail leaves of its partial
// sums.
template <class Body>
static void sum_tiles(const Columns& c, int64_t work, const Scratch& s, const Body& tile) {
  for_tiles(c, work, tile);
  for (int64_t i = c.blocks * c.width + c.tail; i < (c.blocks + 1) * c.width; ++i)
    s.first[i] = s.second[i] = 0;
  tile(tail_of(c));
}

// Two sums a column of a tile: of(column, lanes) gives the function (place, first, second) that
// adds an element to both.
template <class Of>
static inline void sum_rows(const Columns& c, const Tile& t, float* first, float* second,
                            const Of& of) {
  for (int64_t v = t.begin; v < t.end; ++v) first[v] = second[v] = 0;
  for_rows(c, t, [&](int64_t at, int64_t rows, int64_t v, int64_t lanes) {
    const auto add = of(v, lanes);
    vfloat a = load_lanes(first + v, lanes), b = load_lanes(second + v, lanes);
#pragma GCC unroll 8
    for (int64_t r = 0; r < rows; ++r, at += c.width) add(at, a, b);
    store_lanes(first + v, a, lanes);
    store_lanes(second + v, b, lanes);
  });
}

// sums[c] = sum over the tiles and the tail, in order, of their partial sums.
static inline void finish_sums(const Columns& c, float* wide, float* sums, const float* partial) {
  for_vectors(0, c.width, [&](int64_t v, int64_t lanes) {
    vfloat total = {};
    for (int64_t b = 0; b <= c.blocks; ++b) total += load_lanes(partial + b * c.width + v, lanes);
    store_lanes(wide + v, total, lanes);
  });
  fold_columns(c, wide, sums);
}

static inline void copy_if_wanted(const KernelCall& call, int i, const float* values, int64_t n) {
  if (i >= call.n_outputs || !call.outputs[i].data) return;
  __builtin_memcpy(call.outputs[i].data, values, static_cast<size_t>(4 * n));
}

// (x - mean) scale + beta, with parameters spread to the width. Subtracting first keeps the digits
// of a channel whose mean is large, and gives beta where x is the mean. Both directions compute it
// here, so that they agree to the bit.
struct Affine {
  const float *mean, *scale, *beta;
};
struct AffineColumns {
  vfloat mean, scale, beta;
  AffineColumns(const Affine& f, int64_t v, int64_t lanes)
      : mean(load_lanes(f.mean + v, lanes)),
        scale(load_lanes(f.scale + v, lanes)),
        beta(load_lanes(f.beta + v, lanes)) {}
  vfloat operator()(vfloat x) const { return (x - mean) * scale + beta; }
};

}  // namespace fastconv::cpu::FASTCONV_ISA
