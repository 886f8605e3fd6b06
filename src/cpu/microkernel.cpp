#include "microkernel.h"

#include "amx.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

template <int MR, int NV>
using Sums = vfloat[MR][NV];

// What becomes of a word of A and a word of B, in every lane.
struct Floats {
  static float word(const float* a) { return *a; }
  static vfloat add(vfloat sum, vfloat a, vfloat b) { return sum + a * b; }
};
struct Pairs {
  typedef float word_any __attribute__((aligned(2), may_alias));
  static float word(const float* a) { return *a; }
  static float word(const BFloat16* a) { return *reinterpret_cast<const word_any*>(a); }
  static vfloat add(vfloat sum, vfloat a, vfloat b) { return add_pairs(sum, a, b); }
};

template <class T>
struct ProductOf {
  using type = Floats;
};
template <>
struct ProductOf<BFloat16> {
  using type = Pairs;
};

template <int NV, class T>
inline void load_row(vfloat (&row)[NV], const T* src, int64_t columns) {
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const int64_t left = columns - v * kLanes;
    row[v] = left >= kLanes ? load(src + v * kLanes)
             : left > 0     ? load_part(src + v * kLanes, left)
                            : vfloat{};
  }
}

template <int NV, class T>
inline void store_row(const vfloat (&row)[NV], T* dst, int64_t columns, bool streams) {
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
template <int NV, class T>
__attribute__((noinline)) void finish_rows(const FinishOf<T>& finish, int rows, int64_t columns,
                                           vfloat (*sums)[NV], T* const* dst) {
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

// Asks for what a row's end will read, while its sums are made.
template <int NV, class T>
inline void fetch_operands(const FinishOf<T>& finish, const T* dst) {
  constexpr int kLine = 64 / sizeof(T);
  const T* const operands[] = {finish.add, finish.saved};
  for (const T* operand : operands)
    for (int i = 0; operand && i < NV * kLanes; i += kLine)
      __builtin_prefetch(operand + (dst - finish.dst) + i);
}

// Adds what is there to the sums: last, so that they grow from zero and round less.
template <int MR, int NV, class T, class Row>
inline void add_rows(Sums<MR, NV>& sums, int64_t columns, const Row& row) {
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m) {
    vfloat before[NV];
    load_row<NV, T>(before, row(m), columns);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sums[m][v] += before[v];
  }
}

// Calls row(m) for the address of each row of the destination.
template <int MR, int NV, class T, class Row>
inline void store_tile(Sums<MR, NV>& sums, const FinishOf<T>& finish, int64_t columns,
                       const Row& row) {
  vfloat scale[NV], bias[NV] = {};
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) scale[v] = splat(1.0f);
  if (finish.scale) load_row<NV>(scale, finish.scale, columns);
  if (finish.bias) load_row<NV>(bias, finish.bias, columns);
  if (finish.add || finish.calls()) {
    vfloat shifted[MR][NV];
    T* dst[MR];
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

template <int MR, int NV, class T>
void row_tile(const RowTileOf<T>& t) {
  using Product = typename ProductOf<T>::type;
  Sums<MR, NV> sums = {};
  if (t.finish.add || t.finish.saved)
    for (int m = 0; m < MR; ++m) fetch_operands<NV>(t.finish, t.dst[m] + t.column);
  const T* ahead = t.ahead.at ? t.ahead.at : reinterpret_cast<const T*>(t.b);
  for (int64_t r = 0; r < t.runs; ++r) {
    const T* const* rows = t.rows + r * t.row_step;
    const T* a[MR];
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) a[m] = rows[m];
    const float* b = t.b + t.b_at[r];
    for (int64_t i = 0; i < t.depth; ++i, b += t.b_step, ahead += t.ahead.step) {
      __builtin_prefetch(ahead);
      vfloat row[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) row[v] = load(b + v * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < MR; ++m) {
        const vfloat x = splat(Product::word(a[m] + i * kInWord<T>));
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sums[m][v] = Product::add(sums[m][v], x, row[v]);
      }
    }
  }
  const auto row = [&](int m) { return t.dst[m] + t.column; };
  if (t.accumulate) add_rows<MR, NV, T>(sums, t.columns, row);
  store_tile<MR, NV>(sums, t.finish, t.columns, row);
}

template <int MR, int NV, class Product>
void column_tile(const ColumnTile& t) {
  Sums<MR, NV> sums = {};
  const float *b = t.b, *ahead = t.ahead.at ? t.ahead.at : b;
  for (int64_t i = 0; i < t.depth; ++i, b += t.b_step, ahead += t.ahead.step) {
    __builtin_prefetch(ahead);
    const float* a = t.rows[i] + t.row;
    vfloat row[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) row[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) {
      const vfloat x = splat(Product::word(a + m));
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[m][v] = Product::add(sums[m][v], x, row[v]);
    }
  }
  const auto row = [&](int m) { return t.dst + m * t.dst_step; };
  if (t.accumulate) add_rows<MR, NV, float>(sums, t.columns, row);
  store_tile<MR, NV>(sums, t.finish, t.columns, row);
}

template <class T>
struct Rows {
  const RowTileOf<T>& tile;
  template <int MR, int NV>
  void run() const {
    row_tile<MR, NV>(tile);
  }
};

template <class Product>
struct Columns {
  const ColumnTile& tile;
  template <int MR, int NV>
  void run() const {
    column_tile<MR, NV, Product>(tile);
  }
};

template <int NV, int MR, class Tile>
void choose_rows(int rows, const Tile& tile) {
  if constexpr (MR > 1)
    if (rows < MR) return choose_rows<NV, MR - 1>(rows, tile);
  tile.template run<MR, NV>();
}

template <int NV, class Tile>
void choose_vectors(int rows, int vectors, const Tile& tile) {
  if constexpr (NV > 1)
    if (vectors < NV) return choose_vectors<NV - 1>(rows, vectors, tile);
  choose_rows<NV, tile_rows(NV)>(rows, tile);
}

}  // namespace

void run_row_tile(int rows, int vectors, const RowTile& tile) {
  choose_vectors<kMaxVectors>(rows, vectors, Rows<float>{tile});
}

void run_row_tile(int rows, int vectors, const RowTileOf<BFloat16>& tile) {
  if constexpr (kAmx) return run_row_tile_amx(rows, vectors, tile);
  choose_vectors<kMaxVectors>(rows, vectors, Rows<BFloat16>{tile});
}

void run_column_tile(int rows, int vectors, const ColumnTile& tile) {
  choose_vectors<kMaxVectors>(rows, vectors, Columns<Floats>{tile});
}

void run_pair_column_tile(int rows, int vectors, const ColumnTile& tile) {
  if constexpr (kAmx) return run_pair_column_tile_amx(rows, vectors, tile);
  choose_vectors<kMaxVectors>(rows, vectors, Columns<Pairs>{tile});
}

}  // namespace fastconv::cpu::FASTCONV_ISA
