// Products on the tiles of AMX, in the places of those of microkernel.h and of quantized_conv.cpp.
// Their operands lie as for vectors of 16 words, a pair of bfloat16 or four bytes each.
#pragma once
#include "microkernel.h"

namespace fastconv::cpu::FASTCONV_ISA {

void run_row_tile_amx(int rows, int vectors, const RowTileOf<BFloat16>& tile);
void run_pair_column_tile_amx(int rows, int vectors, const ColumnTile& tile);

// sums[row][column] = panel[0][column] + the sum over runs r and i < depth of
// rows[r][row][i] * panel[1 + run_at[r] / 4 + i][column].
struct ByteTile {
  const uint8_t* const* rows;  // [runs][row_step], the tile's rows first
  int64_t row_step;
  const int64_t* run_at;  // [runs], in bytes of the depth
  int64_t runs, depth;    // the depth in words
  const int32_t* panel;   // [1 + words of all runs][vectors * kLanes]
  int32_t* sums;          // [kTileRows][vectors * kLanes]
};
void run_byte_tile_amx(int rows, int vectors, const ByteTile& tile);

// While one lives, this thread may call the functions above.
void configure_tiles();
void release_tiles();
struct TileScope {
  TileScope() {
    if constexpr (kAmx) configure_tiles();
  }
  ~TileScope() {
    if constexpr (kAmx) release_tiles();
  }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

// What this set puts in the places of kernels of the same name of the set below.
KernelList amx_kernels(OpKind kind);

}  // namespace fastconv::cpu::FASTCONV_ISA
