// A matrix [rows, channels] cut for work on its columns: sums over rows, and one parameter a
// column. Few channels would leave lanes idle, so `fold` rows are then seen as one wide row of
// whole vectors; the rows left over are the tail.
#pragma once
#include "kernels.h"

namespace fastconv::cpu::FASTCONV_ISA {

struct Columns {
  int64_t rows, channels;
  int64_t fold;    // rows side by side in a wide row
  int64_t width;   // fold * channels
  int64_t tall;    // wide rows
  int64_t tail;    // floats after the last wide row
  int64_t chunk;   // columns of a tile
  int64_t block;   // wide rows of a tile
  int64_t blocks;  // tiles above each other
};

struct Tile {
  int64_t index;  // of the block
  int64_t row_begin, row_end, begin, end;
};

// A tile is about 128 KiB, so that it stays in a core's cache between passes.
static inline Columns columns(int64_t rows, int64_t channels, bool folds = true) {
  Columns c{rows, channels, 1, channels, rows, 0, 0, 0, 0};
  if (folds && channels <= 64) {
    int64_t common = kLanes;
    while (channels % common != 0) common /= 2;
    if (rows >= 8 * (kLanes / common)) c.fold = kLanes / common;
  }
  c.width = c.fold * channels;
  c.tall = rows / c.fold;
  c.tail = rows % c.fold * channels;
  c.chunk = c.width < 1024 ? c.width : 1024;
  c.block = c.chunk > 512 ? 64 : 32768 / c.chunk;
  c.blocks = ceil_div(c.tall, c.block);
  return c;
}

// Calls body(tile) for each tile; `work` is the cost of an element.
template <class Body>
static void for_tiles(const Columns& c, int64_t work, const Body& body) {
  const int64_t across = ceil_div(c.width, c.chunk);
  parallel_for(c.blocks * across, c.block * c.chunk * work, [&](int64_t i) {
    const int64_t row = i / across * c.block, column = i % across * c.chunk;
    body(Tile{i / across, row, row + c.block < c.tall ? row + c.block : c.tall, column,
              column + c.chunk < c.width ? column + c.chunk : c.width});
  });
}

// narrow[c] = sum over the fold of wide[c].
static inline void fold_columns(const Columns& columns, const float* wide, float* narrow) {
  for (int64_t c = 0; c < columns.channels; ++c) {
    float sum = 0;
    for (int64_t i = 0; i < columns.fold; ++i) sum += wide[i * columns.channels + c];
    narrow[c] = sum;
  }
}

// wide[c] = narrow[c] in every part of the fold.
static inline void spread_columns(const Columns& columns, const float* narrow, float* wide) {
  for (int64_t i = 0; i < columns.fold; ++i)
    for (int64_t c = 0; c < columns.channels; ++c) wide[i * columns.channels + c] = narrow[c];
}

}  // namespace fastconv::cpu::FASTCONV_ISA
