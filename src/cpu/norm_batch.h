// What the passes of batch normalisation share: src [M, C] as Columns, gamma, beta, mean, rstd [C].
#pragma once
#include "activation.h"
#include "columns.h"

namespace fastconv::cpu::FASTCONV_ISA {

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

// The columns of one register strip: sums over rows stay in registers.
constexpr int kStrip = 4 * kLanes;

// Reads a tile in the order of memory, a line of the cache each, so that the hardware fetches ahead
// where strips of it would jump from row to row. Only a large array is not in a cache already.
template <class T>
static inline void touch(const Columns& c, const Tile& t, const T* array) {
  constexpr int64_t kLine = 64 / sizeof(T), kLarge = 1 << 21;
  if (c.width <= kStrip || c.tall * c.width < kLarge) return;
  for (int64_t i = t.row_begin; i < t.row_end; ++i) {
    const volatile char* row = reinterpret_cast<const char*>(array + i * c.width);
    for (int64_t v = t.begin; v < t.end; v += kLine) static_cast<void>(row[v * sizeof(T)]);
  }
}

static inline Tile tail_of(const Columns& c) { return {c.blocks, c.tall, c.tall + 1, 0, c.tail}; }

// dst of every element: of(column, lanes) gives the function place -> vector for some columns.
template <class T, class Of>
static void map_columns(const Columns& c, int64_t work, T* dst, const Of& of) {
  const auto tile = [&](const Tile& t) {
    for (int64_t i = t.row_begin; i < t.row_end; ++i)
      for_vectors(t.begin, t.end, [&](int64_t v, int64_t lanes) {
        const int64_t at = i * c.width + v;
        store_lanes(dst + at, of(v, lanes)(at), lanes);
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

// Adds up `rows` rows from `place` on: `Count` vectors side by side, from column `v`.
template <int Count, class Of>
static inline void sum_strip(const Of& of, int64_t place, int64_t width, int64_t rows, int64_t v,
                             int64_t lanes, float* first, float* second) {
  using Add = decltype(of(v, lanes));
  vfloat a[Count] = {}, b[Count] = {};
  if constexpr (Count == 1) {
    const Add add = of(v, lanes);
    for (int64_t i = 0; i < rows; ++i, place += width) add(place, a[0], b[0]);
  } else {
    const Add add[] = {of(v, lanes), of(v + kLanes, lanes), of(v + 2 * kLanes, lanes),
                       of(v + 3 * kLanes, lanes)};
    for (int64_t i = 0; i < rows; ++i, place += width)
#pragma GCC unroll 4
      for (int u = 0; u < Count; ++u) add[u](place + u * kLanes, a[u], b[u]);
  }
  for (int u = 0; u < Count; ++u) {
    store_lanes(first + v + u * kLanes, a[u], lanes);
    store_lanes(second + v + u * kLanes, b[u], lanes);
  }
}

// Two sums a column of a tile: of(column, lanes) gives the function (place, first, second) that
// adds an element to both.
template <class Of>
static inline void sum_rows(const Columns& c, const Tile& t, float* first, float* second,
                            const Of& of) {
  const int64_t row = t.row_begin * c.width, rows = t.row_end - t.row_begin;
  int64_t v = t.begin;
  for (; v + kStrip <= t.end; v += kStrip)
    sum_strip<4>(of, row + v, c.width, rows, v, kLanes, first, second);
  for_vectors(v, t.end, [&](int64_t u, int64_t lanes) {
    sum_strip<1>(of, row + u, c.width, rows, u, lanes, first, second);
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
