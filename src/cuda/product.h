// The product C[m, n] = sum over k of A(m, k) B(k, n) in float32, by tiles, for matrices and for
// the three directions of a convolution, which differ in where the elements of A and B come from.
//
// An operand is seen from its outer index (m of A, n of B) and its inner one, k:
//   outer(i, slice), inner(k)   what both mean, worked out once for many elements
//   value(outer, inner)         the element
//   kAlongInner                 whether neighbours along k are neighbours in memory; if not,
//   advance(inner, step)        moves on from k to k + step
// A slice is one of several products side by side: a matrix of a batch, or a group.
#pragma once
#include "finish.h"

namespace fastconv::cuda {

struct ProductSize {
  int64_t m, n, k, slices;
};

// How a product is cut: by its size alone, so that results do not depend on the device.
struct Cut {
  bool large;             // tiles of 128 x 128, else of 64 x 64
  int64_t splits, depth;  // of k
};

// Where an element of a slice of C is in dst, and its column for scale and bias.
struct Layout {
  int64_t slice_step, row_step, column_step;
};

constexpr int64_t kMostPartial = int64_t{1} << 24;  // sums of splits

// With `splits` of k at most: as many as there are, when each has whole steps.
static inline Cut cut_as(const ProductSize& p, bool large, int64_t splits) {
  if (splits < 2) return {large, 1, p.k};
  const int64_t depth = ceil_div(ceil_div(p.k, splits), 16) * 16;
  return {large, ceil_div(p.k, depth), depth};
}

static inline Cut cut_product(const ProductSize& p, const Tiling& tiling) {
  constexpr int64_t kBlocks = 264, kLeastDepth = 256;
  if (tiling.tile > 0) return cut_as(p, tiling.tile == 1, tiling.splits);
  const bool large = p.m >= 128 && p.n >= 96 && p.m * p.n * p.slices >= 128 * 128 * 66;
  const int64_t tile = large ? 128 : 64;
  const int64_t tiles = p.slices * ceil_div(p.m, tile) * ceil_div(p.n, tile);
  int64_t splits = tiles > 0 ? ceil_div(kBlocks, tiles) : 1;
  if (splits > p.k / kLeastDepth) splits = p.k / kLeastDepth;
  const int64_t results = p.slices * p.m * p.n;
  if (splits * results > kMostPartial) splits = kMostPartial / results;
  return cut_as(p, large, splits);
}

static inline int64_t product_workspace(const KernelCall& call, const ProductSize& p) {
  const int64_t splits = cut_product(p, tiling_of(call)).splits;
  return splits > 1 ? 4 * splits * p.slices * p.m * p.n : 0;
}

// Whether it can be cut as the call says: into tiles of 128 x 128 (1) or of 64 x 64 (2).
static inline bool product_tiles(const KernelCall& call, const ProductSize& p) {
  const auto [tile, splits] = tiling_of(call);
  if (tile < 1 || tile > 2 || splits < 1) return false;
  return splits == 1 || (p.slices * p.m * p.n <= kMostPartial / splits &&
                         cut_as(p, tile == 1, splits).splits == splits);
}

// A dense matrix.
template <bool AlongInner>
struct MatrixOperand {
  static constexpr bool kAlongInner = AlongInner;
  using Outer = int64_t;
  using Inner = int64_t;
  const float* data;
  int64_t outer_step, inner_step, slice_step;
  __device__ __forceinline__ Outer outer(int64_t i, int64_t slice) const {
    return i * outer_step + slice * slice_step;
  }
  __device__ __forceinline__ Inner inner(int64_t k) const { return k * inner_step; }
  __device__ __forceinline__ void advance(Inner& inner, int step) const {
    inner += step * inner_step;
  }
  __device__ __forceinline__ float value(Outer outer, Inner inner) const {
    return data[outer + inner];
  }
};

// The part of a tile of one operand that a thread brings to shared memory: four elements.
template <class Operand, int Tile, int Depth>
class TileLoader {
  static constexpr bool kAlong = Operand::kAlongInner;
  static constexpr int kEach = Tile * Depth / 256;
  // Neighbouring threads read along k, or along the outer index.
  static constexpr int kWidth = kAlong ? Depth : Tile, kStep = 256 / kWidth;

 public:
  // Outer indices from `first` to `end`, k from `begin` on.
  __device__ TileLoader(const Operand& operand, int64_t first, int64_t end, int64_t begin,
                        int64_t slice)
      : operand_(operand), fixed_(threadIdx.x % kWidth), moving_(threadIdx.x / kWidth) {
#pragma unroll
    for (int i = 0; i < kOuters; ++i) {
      const int64_t index = first + (kAlong ? moving_ + i * kStep : fixed_);
      inside_[i] = index < end;
      outer_[i] = operand.outer(inside_[i] ? index : first, slice);
    }
    if constexpr (!kAlong)
#pragma unroll
      for (int i = 0; i < kEach; ++i) inner_[i] = operand.inner(begin + moving_ + i * kStep);
  }

  // The tile at k; tiles are loaded one after the other.
  __device__ __forceinline__ void load(int64_t k, int64_t end) {
    if constexpr (kAlong) {
      const bool deep = k + fixed_ < end;
      const auto inner = operand_.inner(deep ? k + fixed_ : k);
#pragma unroll
      for (int i = 0; i < kEach; ++i)
        values_[i] = deep && inside_[i] ? operand_.value(outer_[i], inner) : 0.0f;
    } else {
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const bool deep = k + moving_ + i * kStep < end;
        values_[i] = deep && inside_[0] ? operand_.value(outer_[0], inner_[i]) : 0.0f;
        operand_.advance(inner_[i], Depth);
      }
    }
  }

  template <int Pitch>
  __device__ __forceinline__ void store(float (&tile)[Depth][Pitch]) const {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int other = moving_ + i * kStep;
      tile[kAlong ? fixed_ : other][kAlong ? other : fixed_] = values_[i];
    }
  }

 private:
  static constexpr int kOuters = kAlong ? kEach : 1;
  const Operand& operand_;
  int fixed_, moving_;
  typename Operand::Outer outer_[kOuters];
  typename Operand::Inner inner_[kAlong ? 1 : kEach];
  bool inside_[kOuters];
  float values_[kEach];
};

// 256 threads; each has Side x Side results, in squares of 4 x 4.
template <class A, class B, int Side>
struct Product {
  static constexpr int kThreads = 256, kTile = 16 * Side, kDepth = 64 / Side, kSquares = Side / 4;
  struct Shared {
    alignas(16) float a[2][kDepth][kTile + 4], b[2][kDepth][kTile + 4];
  };
  A a;
  B b;
  ProductSize size;
  Cut cut;
  Divisor down, across, slices;  // tiles of a slice
  Layout layout;
  Finish<> finish;
  float* partial;  // not null: sums of the splits, [splits, slices, m, n]

  __device__ void operator()(Shared& shared) const {
    int64_t block = blockIdx.x, rest = across(block);
    const int64_t n0 = (block - rest * across.size()) * kTile;
    block = rest, rest = down(block);
    const int64_t m0 = (block - rest * down.size()) * kTile;
    const int64_t split = slices(rest), slice = rest - split * slices.size();
    float sums[Side][Side] = {};
    accumulate(shared, m0, n0, slice, split, sums);
    write(m0, n0, slice, split, sums);
  }

  __device__ __forceinline__ void accumulate(Shared& shared, int64_t m0, int64_t n0, int64_t slice,
                                             int64_t split, float (&sums)[Side][Side]) const {
    const int64_t begin = split * cut.depth;
    const int64_t end = begin + cut.depth < size.k ? begin + cut.depth : size.k;
    TileLoader<A, kTile, kDepth> from_a(a, m0, size.m, begin, slice);
    TileLoader<B, kTile, kDepth> from_b(b, n0, size.n, begin, slice);
    int stage = 0;
    from_a.load(begin, end);
    from_b.load(begin, end);
#pragma unroll 1
    for (int64_t k = begin; k < end; k += kDepth) {
      from_a.store(shared.a[stage]);
      from_b.store(shared.b[stage]);
      __syncthreads();
      if (k + kDepth < end) {
        from_a.load(k + kDepth, end);
        from_b.load(k + kDepth, end);
      }
      multiply(shared.a[stage], shared.b[stage], sums);
      stage ^= 1;
    }
  }

  __device__ __forceinline__ void multiply(const float (&a_tile)[kDepth][kTile + 4],
                                           const float (&b_tile)[kDepth][kTile + 4],
                                           float (&sums)[Side][Side]) const {
    const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float x[Side], y[Side];
#pragma unroll
      for (int s = 0; s < kSquares; ++s) {
        const float4 p = *reinterpret_cast<const float4*>(&a_tile[k][row + 64 * s]);
        const float4 q = *reinterpret_cast<const float4*>(&b_tile[k][column + 64 * s]);
        x[4 * s] = p.x, x[4 * s + 1] = p.y, x[4 * s + 2] = p.z, x[4 * s + 3] = p.w;
        y[4 * s] = q.x, y[4 * s + 1] = q.y, y[4 * s + 2] = q.z, y[4 * s + 3] = q.w;
      }
#pragma unroll
      for (int i = 0; i < Side; ++i)
#pragma unroll
        for (int j = 0; j < Side; ++j) sums[i][j] += x[i] * y[j];
    }
  }

  __device__ __forceinline__ void write(int64_t m0, int64_t n0, int64_t slice, int64_t split,
                                        const float (&sums)[Side][Side]) const {
    const int64_t first = (split * size.slices + slice) * size.m;
#pragma unroll
    for (int i = 0; i < Side; ++i) {
      const int64_t row = m0 + i / 4 * 64 + threadIdx.x / 16 * 4 + i % 4;
      if (row >= size.m) continue;
#pragma unroll
      for (int j = 0; j < Side; ++j) {
        const int64_t column = n0 + j / 4 * 64 + threadIdx.x % 16 * 4 + j % 4;
        if (column >= size.n) continue;
        if (partial)
          partial[(first + row) * size.n + column] = sums[i][j];
        else
          put(finish, layout, slice, row, column, sums[i][j]);
      }
    }
  }

  __device__ static __forceinline__ void put(const Finish<>& finish, const Layout& layout,
                                             int64_t slice, int64_t row, int64_t column, float x) {
    const int64_t at = slice * layout.slice_step + row * layout.row_step + column;
    finish.put(at, slice * layout.column_step + column, x);
  }
};

template <class A, class B, int Side>
void run_tiles(const KernelCall& call, const A& a, const B& b, const ProductSize& size,
               const Cut& cut, const Layout& layout, const Finish<>& finish) {
  using P = Product<A, B, Side>;
  const Divisor down(ceil_div(size.m, P::kTile)), across(ceil_div(size.n, P::kTile));
  const Divisor slices(size.slices), columns(size.n), rows(size.m);
  float* partial = cut.splits > 1 ? workspace<float>(call) : nullptr;
  launch(call, P{a, b, size, cut, down, across, slices, layout, finish, partial},
         down.size() * across.size() * size.slices * cut.splits);
  if (!partial) return;
  const int64_t count = size.slices * size.m * size.n, splits = cut.splits;
  for_each(call, count, [=] __device__(int64_t i) {
    const int64_t line = columns(i), slice = rows(line);
    float sum = 0;
#pragma unroll 8
    for (int64_t s = 0; s < splits; ++s) sum += partial[s * count + i];
    P::put(finish, layout, slice, line - slice * rows.size(), i - line * columns.size(), sum);
  });
}

// C with its epilogue; `call` has product_workspace(call, size) bytes.
template <class A, class B>
void run_product(const KernelCall& call, const A& a, const B& b, const ProductSize& size,
                 const Layout& layout, const Epilogue& epilogue) {
  if (size.m * size.n * size.slices == 0) return;
  const Cut cut = cut_product(size, tiling_of(call));
  const Finish<> finish = finish_of(call, epilogue);
  if (cut.large)
    run_tiles<A, B, 8>(call, a, b, size, cut, layout, finish);
  else
    run_tiles<A, B, 4>(call, a, b, size, cut, layout, finish);
  finish_activation(call, epilogue);
}

}  // namespace fastconv::cuda
