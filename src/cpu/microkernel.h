// Register tiles of a matrix product: the inner loops of convolution and of gemm.
//
// A tile has up to tile_rows(vectors) rows and vectors * kLanes columns; its sums stay in
// registers over the whole depth. B is read in rows of columns ("panels"), A where it lies, through
// pointers: one a row and window position (row tile), or one a step of the depth (column tile).
#pragma once
#include "finish.h"

namespace fastconv::cpu::FASTCONV_ISA {

// AVX-512 has 32 vector registers, the others 16.
constexpr int kMaxVectors = kLanes == 16 ? 4 : 2;
constexpr int kPanel = kMaxVectors * kLanes;

// Whether products of bfloat16 and of bytes are made on tiles (amx.h).
#if defined(__AMX_TILE__) || defined(FASTCONV_EMULATED)
constexpr bool kAmx = true;
#else
constexpr bool kAmx = false;
#endif
constexpr int kTileRows = 16;

template <class T = float>
static constexpr int tile_rows(int vectors) {
  if (kAmx && kInWord<T> > 1) return kTileRows;
  if (kLanes == 16) return vectors <= 2 ? 14 : vectors == 3 ? 8 : 6;
  return vectors == 1 ? 12 : 6;
}

// Rows that share one pass over a panel of B: whole tiles, few enough for A to stay in L2.
constexpr int kMostBlockRows = kAmx ? 64 : 56;
template <class T = float>
static constexpr int block_rows(int vectors) {
  return kMostBlockRows / tile_rows<T>(vectors) * tile_rows<T>(vectors);
}

// (optional) What is read after a tile: a line of the cache is asked for at each step of the depth,
// so that it comes meanwhile.
template <class T>
struct AheadOf {
  const T* at = nullptr;
  int64_t step = 0;
};
using Ahead = AheadOf<float>;

// Lines of the cache side by side, in rows that are `step` floats apart. A tile takes one of them,
// in as many rows as it is deep.
constexpr int64_t kLine = 64 / sizeof(float);
struct Lines {
  const float* at = nullptr;
  int64_t step = 0, count = 0;

  Ahead take() {
    if (count == 0) return {};
    return {at + --count * kLine, step};
  }
};

// C[row][column] (+)= sum over runs r and i < depth of rows[r][row][i] * b[b_at[r]][i][column]. If
// T, the type of A and C, is BFloat16, then every word of A and B is a pair of the depth.
template <class T>
struct RowTileOf {
  const T* const* rows;  // [runs][row_step], the tile's rows first
  int64_t row_step;
  const int64_t* b_at;  // [runs], in words
  int64_t runs, depth;
  const float* b;
  int64_t b_step;   // words from one row of b to the next
  T* const* dst;    // [rows of the tile]
  int64_t column;   // the tile's first column within dst
  int64_t columns;  // valid ones
  bool accumulate;  // add what dst holds
  FinishOf<T> finish;
  AheadOf<T> ahead = {};
};
using RowTile = RowTileOf<float>;

// C[row][column] (+)= sum over i < depth of rows[i][row] * b[i][column].
struct ColumnTile {
  const float* const* rows;  // [depth]
  int64_t row;               // the tile's first row within each of `rows`
  int64_t depth;
  const float* b;
  int64_t b_step;
  float* dst;  // the tile's first element
  int64_t dst_step;
  int64_t columns;
  bool accumulate;
  Finish finish;
  Ahead ahead = {};
};

// `rows` is 1 .. tile_rows<T>(vectors). B must be readable for all vectors of the tile.
void run_row_tile(int rows, int vectors, const RowTile& tile);
void run_row_tile(int rows, int vectors, const RowTileOf<BFloat16>& tile);
void run_column_tile(int rows, int vectors, const ColumnTile& tile);
// Every word of A and B is a pair of bfloat16.
void run_pair_column_tile(int rows, int vectors, const ColumnTile& tile);

static inline int vectors_for(int64_t columns) {
  return columns >= kPanel ? kMaxVectors : static_cast<int>((columns + kLanes - 1) / kLanes);
}

static inline int64_t padded(int64_t columns) { return (columns + kLanes - 1) / kLanes * kLanes; }

// How many equal items one task takes so that there are about `tasks` of them.
static inline int64_t items_per_task(int64_t items, int64_t tasks) {
  return items > tasks ? items / tasks : 1;
}

// Calls body(first, rows) for tiles of nearly equal height that cover [0, count).
template <class Body>
static inline void for_tiles(int64_t count, int64_t most, const Body& body) {
  for (int64_t first = 0, left = (count + most - 1) / most; left > 0; --left) {
    const int64_t rows = (count - first + left - 1) / left;
    body(first, static_cast<int>(rows));
    first += rows;
  }
}

// dst[i][j] = src[j][i] for i < rows, j < columns.
static inline void transpose_copy(const float* src, int64_t src_step, float* dst, int64_t dst_step,
                                  int64_t rows, int64_t columns) {
  for_vectors(0, rows, [&](int64_t i, int64_t height) {
    for_vectors(0, columns, [&](int64_t j, int64_t width) {
      vfloat block[kLanes];
      for (int64_t l = 0; l < kLanes; ++l)
        block[l] = l < width ? load_lanes(src + (j + l) * src_step + i, height) : vfloat{};
      transpose(block);
      for (int64_t l = 0; l < height; ++l)
        store_lanes(dst + (i + l) * dst_step + j, block[l], width);
    });
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
