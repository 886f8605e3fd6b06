// What the passes of batch normalisation share: src [M, C] as Columns, gamma, beta, mean, rstd [C].
// src may lie in parts, arrays [M, some of C] whose channels follow each other.
#pragma once
#include "activation.h"
#include "columns.h"

namespace fastconv::cpu::FASTCONV_ISA {

static inline int64_t channels_of(const Tensor& t) { return t.dims[t.rank - 1]; }

// Of an array as wide as src. Rows are folded where all arrays have rows of one length.
static inline Columns columns_of(const Tensor& whole, bool folds = true) {
  const int64_t channels = channels_of(whole);
  return columns(channels > 0 ? elements(whole) / channels : 0, channels, folds);
}

// Columns [begin, end) of an array: element (row, v) is at[row * step + v - begin].
template <class T>
struct Part {
  const T* at;
  int64_t step, begin, end;
};

// src is input `first`, and its parts behind that are inputs from `next` on.
template <class T>
struct Source {
  const KernelCall& call;
  int first, next;

  // The part that column `begin` lies in, from there to its end or to `end`.
  Part<T> part(const Columns& c, int64_t begin, int64_t end) const {
    int i = first;
    int64_t wide = channels_of(call.inputs[i]), at = 0;
    if (wide == c.channels) return {input<T>(call, i) + begin, c.width, begin, end};
    while (begin >= at + wide) {
      at += wide;
      i = i == first ? next : i + 1;
      wide = channels_of(call.inputs[i]);
    }
    return {input<T>(call, i) + begin - at, wide, begin, at + wide < end ? at + wide : end};
  }
};

// The input behind the parts of a src with so many channels.
static inline int behind_parts(const KernelCall& call, int first, int next, int64_t channels) {
  int64_t have = channels_of(call.inputs[first]);
  while (have < channels) have += channels_of(call.inputs[next++]);
  return next;
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
static inline void touch(const Columns& c, const Tile& t, const Part<T>& part) {
  constexpr int64_t kLine = 64 / sizeof(T), kLarge = 1 << 21;
  if (part.step <= kStrip || c.tall * part.step < kLarge) return;
  for (int64_t i = t.row_begin; i < t.row_end; ++i) {
    const volatile char* row = reinterpret_cast<const char*>(part.at + i * part.step);
    for (int64_t v = 0; v < part.end - part.begin; v += kLine)
      static_cast<void>(row[v * sizeof(T)]);
  }
}

template <class T>
static inline void touch(const Columns& c, const Tile& t, const Source<T>& src) {
  for (int64_t v = t.begin; v < t.end;) {
    const Part<T> part = src.part(c, v, t.end);
    touch(c, t, part);
    v = part.end;
  }
}

static inline Tile tail_of(const Columns& c) { return {c.blocks, c.tall, c.tall + 1, 0, c.tail}; }

// dst of every element: of(column, lanes) gives the function (row, src there) -> vector for some
// columns.
template <class T, class Of>
static void map_columns(const Columns& c, const Source<T>& src, int64_t work, T* dst,
                        const Of& of) {
  // Parts that are gone through together, row by row: too many for the hardware to fetch ahead.
  constexpr int kParts = 64, kAhead = 8;
  const auto tile = [&](const Tile& t) {
    Part<T> parts[kParts];
    for (int64_t begin = t.begin; begin < t.end;) {
      int count = 0;
      for (; begin < t.end && count < kParts; begin = parts[count++].end)
        parts[count] = src.part(c, begin, t.end);
      for (int64_t i = t.row_begin; i < t.row_end; ++i)
        for (const Part<T>* part = parts; part < parts + count; ++part)
          for_vectors(part->begin, part->end, [&](int64_t v, int64_t lanes) {
            const T* at = part->at + i * part->step + v - part->begin;
            if (count > 1) __builtin_prefetch(at + kAhead * part->step);
            const vfloat x = load_lanes(at, lanes);
            store_lanes(dst + i * c.width + v, of(v, lanes)(i, x), lanes);
          });
    }
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

// Adds up the rows of a tile: vectors side by side, from column `v` of a part.
template <int... U, class T, class Of>
[[gnu::always_inline]] static inline void sum_strip(const Of& of, const Part<T>& part,
                                                    const Tile& t, int64_t v, int64_t lanes,
                                                    float* first, float* second) {
  const decltype(of(v, lanes)) add[] = {of(v + U * kLanes, lanes)...};
  const T* at = part.at + t.row_begin * part.step + v - part.begin;
  vfloat a[sizeof...(U)] = {}, b[sizeof...(U)] = {};
  for (int64_t i = t.row_begin; i < t.row_end; ++i, at += part.step)
    (add[U](i, load_lanes(at + U * kLanes, lanes), a[U], b[U]), ...);
  (store_lanes(first + v + U * kLanes, a[U], lanes), ...);
  (store_lanes(second + v + U * kLanes, b[U], lanes), ...);
}

// Two sums a column of a tile: of(column, lanes) gives the function (row, src there, first, second)
// that adds an element to both.
template <class T, class Of>
static inline void sum_rows(const Columns& c, const Source<T>& src, const Tile& t, float* first,
                            float* second, const Of& of) {
  for (int64_t v = t.begin; v < t.end;) {
    const Part<T> part = src.part(c, v, t.end);
    for (; v + kStrip <= part.end; v += kStrip)
      sum_strip<0, 1, 2, 3>(of, part, t, v, kLanes, first, second);
    for (; v + kStrip / 2 <= part.end; v += kStrip / 2)
      sum_strip<0, 1>(of, part, t, v, kLanes, first, second);
    for_vectors(v, part.end, [&](int64_t u, int64_t lanes) {
      sum_strip<0>(of, part, t, u, lanes, first, second);
    });
    v = part.end;
  }
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
