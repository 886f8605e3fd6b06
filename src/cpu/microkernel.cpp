#include "microkernel.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

template <int MR, int NV>
using Sums = vfloat[MR][NV];

template <int NV>
inline void load_row(vfloat (&row)[NV], const float* src, int64_t columns) {
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const int64_t left = columns - v * kLanes;
    row[v] = left >= kLanes ? load(src + v * kLanes)
             : left > 0     ? load_part(src + v * kLanes, left)
                            : vfloat{};
  }
}

template <int NV>
inline void store_row(const vfloat (&row)[NV], float* dst, int64_t columns, bool streams) {
  if (streams && columns >= NV * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) stream(dst + v * kLanes, row[v]);
    return;
  }
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const int64_t left = columns - v * kLanes;
    if (left >= kLanes)
      store(dst + v * kLanes, row[v]);
    else if (left > 0)
      store_part(dst + v * kLanes, row[v], left);
  }
}

// Rows of which more becomes than fits in registers beside the sums.
template <int NV>
__attribute__((noinline)) void finish_rows(const Finish& finish, int rows, int64_t columns,
                                           vfloat (*sums)[NV], float* const* dst) {
  for (int m = 0; m < rows; ++m) {
    vfloat add[NV] = {};
    if (finish.add) load_row<NV>(add, finish.add + (dst[m] - finish.dst), columns);
    for (int v = 0; v < NV; ++v) {
      sums[m][v] += add[v];
      if (finish.clips()) sums[m][v] = clip(sums[m][v], 0, finish.top());
    }
    if (finish.calls()) activate_row<NV>(finish, dst[m], columns, sums[m]);
    store_row<NV>(sums[m], dst[m], columns, finish.stream);
  }
}

// Calls row(m) for the address of each row of the destination.
template <int MR, int NV, class Row>
inline void store_tile(Sums<MR, NV>& sums, const Finish& finish, int64_t columns, const Row& row) {
  vfloat scale[NV], bias[NV] = {};
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) scale[v] = splat(1.0f);
  if (finish.scale) load_row<NV>(scale, finish.scale, columns);
  if (finish.bias) load_row<NV>(bias, finish.bias, columns);
  if (finish.add || finish.calls()) {
    vfloat shifted[MR][NV];
    float* dst[MR];
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) {
      dst[m] = row(m);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) shifted[m][v] = sums[m][v] * scale[v] + bias[v];
    }
    return finish_rows<NV>(finish, MR, columns, shifted, dst);
  }
  const bool clips = finish.clips();
  const float top = finish.top();
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m) {
    vfloat out[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      out[v] = sums[m][v] * scale[v] + bias[v];
      if (clips) out[v] = clip(out[v], 0, top);
    }
    store_row<NV>(out, row(m), columns, finish.stream);
  }
}

template <int MR, int NV>
void row_tile(const RowTile& t) {
  Sums<MR, NV> sums;
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m) {
    if (t.accumulate) {
      load_row<NV>(sums[m], t.dst[m] + t.column, t.columns);
    } else {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[m][v] = vfloat{};
    }
  }
  for (int64_t r = 0; r < t.runs; ++r) {
    const float* const* rows = t.rows + r * t.row_step;
    const float* a[MR];
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) a[m] = rows[m];
    const float* b = t.b + t.b_at[r];
    for (int64_t i = 0; i < t.depth; ++i, b += t.b_step) {
      vfloat row[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) row[v] = load(b + v * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < MR; ++m) {
        const vfloat x = splat(a[m][i]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sums[m][v] += x * row[v];
      }
    }
  }
  store_tile<MR, NV>(sums, t.finish, t.columns, [&](int m) { return t.dst[m] + t.column; });
}

template <int MR, int NV>
void column_tile(const ColumnTile& t) {
  Sums<MR, NV> sums;
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m) {
    if (t.accumulate) {
      load_row<NV>(sums[m], t.dst + m * t.dst_step, t.columns);
    } else {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[m][v] = vfloat{};
    }
  }
  const float* b = t.b;
  for (int64_t i = 0; i < t.depth; ++i, b += t.b_step) {
    const float* a = t.rows[i] + t.row;
    vfloat row[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) row[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) {
      const vfloat x = splat(a[m]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[m][v] += x * row[v];
    }
  }
  store_tile<MR, NV>(sums, t.finish, t.columns, [&](int m) { return t.dst + m * t.dst_step; });
}

template <int NV, int MR>
void choose_rows(int rows, const RowTile& tile) {
  if constexpr (MR > 1)
    if (rows < MR) return choose_rows<NV, MR - 1>(rows, tile);
  row_tile<MR, NV>(tile);
}

template <int NV, int MR>
void choose_rows(int rows, const ColumnTile& tile) {
  if constexpr (MR > 1)
    if (rows < MR) return choose_rows<NV, MR - 1>(rows, tile);
  column_tile<MR, NV>(tile);
}

template <int NV, class Tile>
void choose_vectors(int rows, int vectors, const Tile& tile) {
  if constexpr (NV > 1)
    if (vectors < NV) return choose_vectors<NV - 1>(rows, vectors, tile);
  choose_rows<NV, tile_rows(NV)>(rows, tile);
}

}  // namespace

void run_row_tile(int rows, int vectors, const RowTile& tile) {
  choose_vectors<kMaxVectors>(rows, vectors, tile);
}

void run_column_tile(int rows, int vectors, const ColumnTile& tile) {
  choose_vectors<kMaxVectors>(rows, vectors, tile);
}

}  // namespace fastconv::cpu::FASTCONV_ISA
