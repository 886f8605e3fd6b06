// The weight gradient of depthwise and grouped convolution: sums over positions, on the walk of
// conv_lines.h.
#pragma once
#include "conv_lines.h"

namespace fastconv::cpu::FASTCONV_ISA {

// How the weight gradient is cut: `count` chunks of items, each with sums of its own.
struct Chunks {
  Items items;
  int64_t count, items_in_chunk;
};

static inline Chunks chunks_of(const WindowGeometry& g, int64_t sums_floats) {
  constexpr int64_t kMost = 32, kMostPartial = 1 << 20, kLeastPositions = 256;
  Chunks c = {items_of({&g, false}), kMost, 0};
  const int64_t positions = g.batch * g.output[0] * g.output[1] * g.output[2];
  const auto at_most = [&](int64_t limit) { c.count = limit < c.count ? limit : c.count; };
  at_most(kMostPartial / sums_floats);
  at_most(positions / kLeastPositions);
  at_most(c.items.count);
  if (c.count < 1) c.count = 1;
  c.items_in_chunk = ceil_div(c.items.count, c.count);
  return c;
}

// Neighbouring positions of a line, for the weight gradient.
template <class T>
struct Part {
  const Line<T>* line;
  const PixelTable<T>* table;
  const T* ddst;  // of the first position
  int64_t ddst_step, count;
};

// Calls sums.part<Shape>(part) for the positions [begin, end) of a line.
template <class T, class Sums>
static inline void cut_line(const Line<T>& line, const T* ddst, int64_t K, int64_t begin,
                            int64_t end, const T* zeros, PixelTable<T>& table, const Sums& sums) {
  constexpr int64_t kPart = 4 * kBlock;
  const int64_t taps = line.rows * line.across.taps;
  if (taps == 0) return;
  int64_t length = kPart;
  const auto at_most = [&](int64_t limit) { length = limit < length ? limit : length; };
  at_most(kMostTaps * kBlock / taps);
  at_most(kMostWidth * kBlock / line.across.taps);
  if (length < 1) length = 1;
  lay_out(line.across, length, table);
  for (int64_t at = begin; at < end; at += length) {
    for (int64_t r = 0; r < line.rows; ++r)
      fill_pixels(line, r, at, zeros, table, table.pixel + r * table.row_step);
    const Part<T> part = {&line, &table, ddst + (line.index * line.across.out_size + at) * K, K,
                          end - at < length ? end - at : length};
    with_row_shape(line.across, [&](auto shape) { sums.template part<decltype(shape)>(part); });
  }
}

// Calls it for all positions of a chunk.
template <class T, class Sums>
static void run_chunk(const WindowGeometry& g, const Chunks& chunks, int64_t chunk, const T* src,
                      const T* ddst, const T* zeros, const Sums& sums) {
  const int64_t K = g.out_channels, begin = chunk * chunks.items_in_chunk;
  const int64_t end = begin + chunks.items_in_chunk;
  const bool large = outgrows_core({&g, false});
  PixelTable<T> table;
  for_items({&g, false}, src, chunks.items, begin,
            end < chunks.items.count ? end : chunks.items.count,
            [&](Line<T>& line, int64_t first, int64_t last) {
              if (large) touch_rows(line);
              if (large) touch(ddst + (line.index * g.output[2] + first) * K, (last - first) * K);
              cut_line(line, ddst, K, first, last, zeros, table, sums);
            });
}

// Keeps a value that several products use in a register: the compiler would rather read it from
// memory for each, and loads are what such loops run short of.
static inline vfloat in_register(vfloat v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#elif defined(__x86_64__)
  __asm__("" : "+x"(v));
#endif
  return v;
}

// Adds the products of kOutputs positions: those of all taps of a row to its sums, or those of one
// tap to as many sums as there are positions.
template <int kOutputs, class Shape, class Read, class Ddst, int kSums>
[[gnu::always_inline]] static inline void add_products(const Read& read, const Ddst& ddst,
                                                       int64_t out_step, vfloat (&sums)[kSums]) {
  vfloat y[kOutputs];
#pragma GCC unroll 8
  for (int m = 0; m < kOutputs; ++m) y[m] = in_register(ddst(m));
  if constexpr (Shape::taps > 0) {
    for_products<kOutputs, Shape::taps, Shape::step>(
        read, [&](int m, int t, vfloat x) { sums[t] += x * y[m]; });
  } else {
#pragma GCC unroll 8
    for (int m = 0; m < kOutputs; ++m) sums[m] += read(m * out_step) * y[m];
  }
}

// The sums over a part of the taps of a row, or of one tap. `read(i)` is a vector of pixel i of
// the row or tap, `ddst(m)` one of position m.
template <class Shape>
struct TapSums {
  static constexpr int taps = Shape::taps > 0 ? Shape::taps : 1;
  static constexpr int sums = Shape::taps > 0 ? Shape::taps : kBlock;
  vfloat total[sums] = {};

  template <class T, class Read, class Ddst>
  [[gnu::always_inline]] inline TapSums(const Part<T>& s, const Read& read, const Ddst& ddst) {
    const int64_t step = s.table->out_step;
    vfloat other[sums] = {};  // a product waits for the one before
    int64_t first = 0;
    const auto pixel = [&](int64_t i) { return read(first * step + i); };
    const auto position = [&](int64_t m) { return ddst(first + m); };
    for (; first + 2 * kBlock <= s.count; first += kBlock) {
      add_products<kBlock, Shape>(pixel, position, step, total);
      first += kBlock;
      add_products<kBlock, Shape>(pixel, position, step, other);
    }
    if (first + kBlock <= s.count) {
      add_products<kBlock, Shape>(pixel, position, step, total);
      first += kBlock;
    }
    for (; first < s.count; ++first) add_products<1, Shape>(pixel, position, step, total);
#pragma GCC unroll 8
    for (int t = 0; t < sums; ++t) total[t] += other[t];
#pragma GCC unroll 8
    for (int t = taps; t < sums; ++t) total[0] += total[t];
  }
};

}  // namespace fastconv::cpu::FASTCONV_ISA
