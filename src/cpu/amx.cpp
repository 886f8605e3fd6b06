// Tiles 0 .. 3 hold the sums of 16 rows and up to four vectors of columns, as int32 or float; tile
// 4 a step of A, of 16 words of the depth; tiles 5 and 6 the same of B.
//
// B is read where it lies. The rows of A are copied, for they need not be equally far apart, and
// may be fewer or end earlier than a tile; zeros stand for what is missing.
#include "amx.h"

#include "amx_tiles.h"
#include "conv.h"
#include "gemm.h"
#include "quantized.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

static_assert(kLanes == kTileWords && kTileRows == kTileWords);
constexpr int kA = 4, kB = 5;
constexpr int64_t kWordBytes = 4;

struct PairProduct {
  template <int C, int A, int B>
  static void add() {
    dot_pairs<C, A, B>();
  }
};
struct ByteProduct {
  template <int C, int A, int B>
  static void add() {
    dot_bytes<C, A, B>();
  }
};

template <int NV, int V = 0>
void clear_sums() {
  zero_tile<V>();
  if constexpr (V + 1 < NV) clear_sums<NV, V + 1>();
}

template <int NV, int V = 0>
void store_sums(int32_t* sums) {
  store_tile<V>(sums + V * kTileWords, NV * kTileWords * kWordBytes);
  if constexpr (V + 1 < NV) store_sums<NV, V + 1>(sums);
}

template <class Product, int NV, int V = 0>
void add_step(const int32_t* b, int64_t b_step) {
  constexpr int B = kB + V % 2;
  load_tile<B>(b + V * kTileWords, b_step * kWordBytes);
  Product::template add<V, kA, B>();
  if constexpr (V + 1 < NV) add_step<Product, NV, V + 1>(b, b_step);
}

// Adds A times `depth` rows of B. read_a(i, count, a) writes words [i, i + count) of the rows of A,
// and zeros behind them.
template <class Product, int NV, class ReadA>
void add_run(int64_t depth, const int32_t* b, int64_t b_step, const ReadA& read_a) {
  constexpr int64_t kWidth = NV * kTileWords;
  alignas(64) int32_t a[kTileWords * kTileWords];
  for (int64_t i = 0; i < depth; i += kTileWords, b += kTileWords * b_step) {
    const int64_t left = depth - i, count = left < kTileWords ? left : kTileWords;
    read_a(i, count, a);
    load_tile<kA>(a, kTileWords * kWordBytes);
    if (count == kTileWords) {
      add_step<Product, NV>(b, b_step);
      continue;
    }
    alignas(64) int32_t last[kTileWords * kWidth];  // behind B may be anything, or nothing
    for (int64_t row = 0; row < kTileWords; ++row)
      for (int64_t j = 0; j < kWidth; j += kLanes)
        store(last + row * kWidth + j, row < count ? load(b + row * b_step + j) : vint{});
    add_step<Product, NV>(last, kWidth);
  }
}

// Rows of A through pointers. b_at(run): in words.
template <class Product, int NV, class Tile, class Place>
void multiply_rows(int rows, const Tile& t, const int32_t* b, int64_t b_step, const Place& b_at,
                   int32_t* sums) {
  clear_sums<NV>();
  for (int64_t r = 0; r < t.runs; ++r) {
    const auto* from = t.rows + r * t.row_step;
    constexpr int64_t kInWord = kWordBytes / sizeof(**from);
    add_run<Product, NV>(t.depth, b + b_at(r), b_step, [&](int64_t i, int64_t count, int32_t* a) {
      for (int m = 0; m < kTileWords; ++m) {
        const auto words = [&] {
          return load_part(reinterpret_cast<const int32_t*>(from[m] + i * kInWord), count);
        };
        store(a + m * kTileWords, m < rows ? words() : vint{});
      }
    });
  }
  store_sums<NV>(sums);
}

struct PairRows {
  const RowTileOf<BFloat16>& t;

  template <int NV>
  void run(int rows) const {
    constexpr int64_t kWidth = NV * kLanes;
    alignas(64) int32_t sums[kTileRows * kWidth];
    multiply_rows<PairProduct, NV>(
        rows, t, reinterpret_cast<const int32_t*>(t.b), t.b_step,
        [&](int64_t r) { return t.b_at[r]; }, sums);
    const int64_t columns = t.columns < kWidth ? t.columns : kWidth;
    for_vectors(0, columns, [&](int64_t column, int64_t lanes) {
      const Shift shift(t.finish, column, lanes);
      for (int m = 0; m < rows; ++m) {
        BFloat16* dst = t.dst[m] + t.column + column;
        vfloat x = (vfloat)load(sums + m * kWidth + column);
        if (t.accumulate) x += load_lanes(dst, lanes);
        x = finished(t.finish, shift(x), dst, lanes);
        t.finish.stream&& lanes == kLanes ? stream(dst, x) : store_lanes(dst, x, lanes);
      }
    });
  }
};

// A is stored [depth][rows]: blocks of it are turned.
struct PairColumns {
  const ColumnTile& t;

  template <int NV>
  void run(int rows) const {
    constexpr int64_t kWidth = NV * kLanes;
    alignas(64) int32_t sums[kTileRows * kWidth];
    clear_sums<NV>();
    add_run<PairProduct, NV>(t.depth, reinterpret_cast<const int32_t*>(t.b), t.b_step,
                             [&](int64_t i, int64_t count, int32_t* a) {
                               vfloat block[kLanes];
                               for (int64_t l = 0; l < kLanes; ++l)
                                 block[l] =
                                     l < count ? load_part(t.rows[i + l] + t.row, rows) : vfloat{};
                               transpose(block);
                               for (int64_t m = 0; m < kLanes; ++m)
                                 store(a + m * kTileWords, (vint)block[m]);
                             });
    store_sums<NV>(sums);
    const int64_t columns = t.columns < kWidth ? t.columns : kWidth;
    for_vectors(0, columns, [&](int64_t column, int64_t lanes) {
      const Shift shift(t.finish, column, lanes);
      for (int m = 0; m < rows; ++m) {
        float* dst = t.dst + m * t.dst_step + column;
        vfloat x = (vfloat)load(sums + m * kWidth + column);
        if (t.accumulate) x += load_lanes(dst, lanes);
        store_lanes(dst, finished(t.finish, shift(x), dst, lanes), lanes);
      }
    });
  }
};

struct Bytes {
  const ByteTile& t;

  template <int NV>
  void run(int rows) const {
    constexpr int64_t kWidth = NV * kLanes;
    multiply_rows<ByteProduct, NV>(
        rows, t, t.panel + kWidth, kWidth,
        [&](int64_t r) { return t.run_at[r] / kWordBytes * kWidth; }, t.sums);
    for (int64_t j = 0; j < kWidth; j += kLanes) {
      const vint bias = load(t.panel + j);
      for (int m = 0; m < rows; ++m) {
        int32_t* sums = t.sums + m * kWidth + j;
        store(sums, load(sums) + bias);
      }
    }
  }
};

template <int NV = kMaxVectors, class Product>
void choose_vectors(int rows, int vectors, const Product& product) {
  if constexpr (NV > 1)
    if (vectors < NV) return choose_vectors<NV - 1>(rows, vectors, product);
  product.template run<NV>(rows);
}

constexpr TileConfig kConfig;

constexpr Kernel kConv[] = {{"implicit_gemm", nullptr, conv_implicit_workspace, conv_implicit,
                             conv_implicit_prepared, conv_implicit_prepare}};
constexpr Kernel kBackwardData[] = {
    {"implicit_gemm", nullptr, conv_backward_data_implicit_workspace, conv_backward_data_implicit}};
constexpr Kernel kBackwardWeights[] = {{"implicit_gemm", nullptr,
                                        conv_backward_weights_implicit_workspace,
                                        conv_backward_weights_implicit}};
constexpr Kernel kGemm[] = {{"bfloat16", nullptr, gemm_bfloat16_workspace, gemm_bfloat16,
                             gemm_bfloat16_prepared, gemm_bfloat16_prepare}};
constexpr Kernel kQuantized[] = {{"implicit_gemm", nullptr, quantized_conv_product_workspace,
                                  quantized_conv_product, quantized_conv_product_prepared,
                                  quantized_conv_product_prepare}};

}  // namespace

void configure_tiles() { load_config(kConfig); }
void release_tiles() { release_config(); }

void run_row_tile_amx(int rows, int vectors, const RowTileOf<BFloat16>& tile) {
  choose_vectors(rows, vectors, PairRows{tile});
}
void run_pair_column_tile_amx(int rows, int vectors, const ColumnTile& tile) {
  choose_vectors(rows, vectors, PairColumns{tile});
}
void run_byte_tile_amx(int rows, int vectors, const ByteTile& tile) {
  choose_vectors(rows, vectors, Bytes{tile});
}

KernelList amx_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::conv: return list(kConv);
    case OpKind::conv_backward_data: return list(kBackwardData);
    case OpKind::conv_backward_weights: return list(kBackwardWeights);
    case OpKind::gemm: return list(kGemm);
    case OpKind::quantized_conv: return list(kQuantized);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
