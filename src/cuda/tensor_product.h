// The product C[m, n] = sum over k of A(m, k) B(k, n) on tensor cores, of bfloat16, of
// float16, or of float32 that is rounded to TF32, with float32 sums. Its operands are those of
// tensor_operands.h; a slice is one of several products side by side: a group, or a phase of one.
//
// A block of four warps makes a tile of C. Copies of the next steps along k are on their way while
// one is multiplied, in a ring of stages.
#pragma once
#include "finish.h"
#include "tensor_operands.h"
#include "tile_moments.h"

namespace fastconv::cuda {

struct TileSize {
  int m, n;
};
constexpr TileSize kTileSizes[] = {{128, 128}, {128, 64}, {64, 64}, {128, 32}};

struct TensorSize {
  int64_t m, n, k, slices;  // k: of the deepest slice
};

// How a product is cut: by its size alone, so that results do not depend on the device.
struct TensorCut {
  int tile;               // of kTileSizes
  int64_t splits, depth;  // of k
};

constexpr int64_t kMostTensorSplits = 64;

// The depth of each of so many splits, in whole steps.
static inline int64_t split_depth(const TensorSize& p, int64_t splits, int64_t element) {
  const int64_t step = kStepChunks * kPackBytes / element;
  return splits > 1 ? ceil_div(ceil_div(p.k, splits), step) * step : p.k;
}
// Whether there may be as many.
static inline bool may_split(const TensorSize& p, int64_t splits, int64_t element) {
  constexpr int64_t kLeastBytes = 512, kMostPartial = int64_t{1} << 24;
  return splits == 1 || (splits <= kMostTensorSplits && splits <= p.k * element / kLeastBytes &&
                         splits * p.slices * p.m * p.n <= kMostPartial);
}

// The tile and the number of splits that promise the least time on 132 multiprocessors, in terms of
// products of bfloat16 that one of them makes: a value of k in TF32 takes the time of two. Elements
// of an operand have that many bytes. A call with a tiling has chosen already.
static inline TensorCut cut_tensor_product(const KernelCall& call, const TensorSize& p,
                                           int64_t element) {
  if (const Tiling& t = tiling_of(call); t.tile > 0)
    return {t.tile - 1, t.splits, split_depth(p, t.splits, element)};
  constexpr int64_t kProcessors = 132;
  // Measured on an H200: a large tile loads less for each product, and a multiprocessor with few
  // tiles is as slow as with kLeast. Making and writing a tile costs as much as a depth of
  // kTileCost; sums of splits, which another kernel adds up, what moving them costs.
  constexpr double kRates[] = {1.0, 0.8, 0.6, 0.48}, kLeast[] = {1.5, 1.8, 2.2, 2.2};
  constexpr double kTileCost = 200, kPartialCost = 8, kJoinCost = 8e6;
  const int64_t width = element / 2;
  TensorCut best = {0, 1, p.k};
  double least = 0;
  const int64_t results = p.slices * p.m * p.n;
  for (int tile = 0; tile < 4; ++tile) {
    const auto [m, n] = kTileSizes[tile];
    const int64_t tiles = p.slices * ceil_div(p.m, m) * ceil_div(p.n, n);
    for (int64_t splits = 1; may_split(p, splits, element); ++splits) {
      const int64_t depth = split_depth(p, splits, element);
      const double share = (double)ceil_div(tiles * splits, kProcessors);
      double cost = (share > kLeast[tile] ? share : kLeast[tile]) * m * n *
                    ((double)(depth * width) / kRates[tile] + kTileCost);
      if (splits > 1) cost += kJoinCost + kPartialCost * (double)(splits * results);
      if (least > 0 && cost >= least) continue;
      least = cost;
      best = {tile, ceil_div(p.k, depth > 0 ? depth : 1), depth};
      if (best.splits < 2) best.splits = 1, best.depth = p.k;
    }
  }
  return best;
}

// Whether it can be cut as the call says: into a tile of kTileSizes, with as many splits.
static inline bool tensor_tiles(const KernelCall& call, const TensorSize& p, int64_t element) {
  constexpr int32_t kCount = sizeof kTileSizes / sizeof *kTileSizes;
  const auto [tile, splits] = tiling_of(call);
  return tile >= 1 && tile <= kCount && splits >= 1 && may_split(p, splits, element) &&
         (splits == 1 || ceil_div(p.k, split_depth(p, splits, element)) == splits);
}

// Rows of a part of its moments, or 0: the product is split.
static inline int64_t tensor_part(const KernelCall& call, const TensorSize& p, int64_t element) {
  const TensorCut cut = cut_tensor_product(call, p, element);
  return cut.splits > 1 ? 0 : kTileSizes[cut.tile].m;
}

static inline int64_t tensor_workspace(const KernelCall& call, const TensorSize& p,
                                       int64_t element) {
  const int64_t splits = cut_tensor_product(call, p, element).splits;
  return splits > 1 ? 4 * splits * p.slices * p.m * p.n : 0;
}

template <class A, class B, class Result, class T, int M, int N, bool Moments>
struct TensorProduct {
  using Element = typename A::Element;
  static constexpr int kThreads = kTileThreads;
  static constexpr int kStages = M * N >= 128 * 128 ? 3 : 4;  // two blocks in less than 99 KiB
  using TileA = typename A::template Loader<M>::Tile;
  using TileB = typename B::template Loader<N>::Tile;
  // Rows of floats along the outer index are four chunks a thread, whose places take registers.
  static constexpr bool kWide = M == 128 && sizeof(Element) == sizeof(float) && !TileA::kAlongDepth;
  static constexpr int kBlocks = M * N >= 128 * 128 ? 2 : (M * N >= 128 * 64 ? 3 : 4) - kWide;
  // Of a warp: two by two make the tile. Its rows are handed over in strips of 16, whose pitch
  // keeps neighbouring rows in different banks.
  static constexpr int kM = M / 2, kN = N / 2, kRows = kM / 16, kColumns = kN / 8, kPitch = kN + 8;
  struct Stage {
    Chunk a[M * kStepChunks], b[N * kStepChunks];
  };
  struct Results {
    alignas(16) float strips[kThreads / kWarp][16][kPitch];
    Moment moments[2][N];  // of the halves of the rows
  };
  union Shared {
    Stage ring[kStages];
    Results results;
  };
  struct alignas(8) Pair {
    float first, second;
  };

  A a;
  B b;
  Result result;
  TensorSize size;
  int32_t depth;                 // of a split
  Divisor across, down, slices;  // tiles of a slice
  Finish<T> finish;
  bool whole;      // rows are multiples of eight columns, and so aligned, wherever they go
  float* partial;  // not null: sums of the splits, [splits, slices, m, n]
  // With Moments, [parts of M rows, 2, row], of statistics.h; a slice is some columns of each row.
  float* moments;
  int32_t row;

  __device__ void operator()(Shared& shared) const {
    int32_t block = (int32_t)blockIdx.x, rest = across.narrow(block);
    const int32_t n0 = (block - rest * (int32_t)across.size()) * N;
    block = rest, rest = down.narrow(block);
    const int32_t m0 = (block - rest * (int32_t)down.size()) * M;
    const int32_t split = slices.narrow(rest), slice = rest - split * (int32_t)slices.size();
    float sums[kRows][kColumns][4] = {};
    accumulate(shared.ring, m0, n0, slice, split * depth, sums);
    __syncthreads();
    if constexpr (Moments) keep(shared.results.moments, m0, n0, result.slice(slice).column, sums);
    write(shared.results.strips[threadIdx.x / kWarp], m0, n0, slice, split, sums);
  }

  __device__ __forceinline__ void accumulate(Stage (&ring)[kStages], int32_t m0, int32_t n0,
                                             int32_t index, int32_t begin,
                                             float (&sums)[kRows][kColumns][4]) const {
    const Correlation::Slice slice = a.c.slice(index);
    const int32_t length = a.length(slice), split = begin + depth;
    const int32_t stop = split < length ? split : length;
    typename A::template Loader<M> from_a(a, m0, (int32_t)size.m, begin, stop, slice);
    typename B::template Loader<N> from_b(b, n0, (int32_t)size.n, begin, stop, slice);
    const auto load = [&](Stage& stage) {  // zeros from `stop` on
      from_a.load(stage.a);
      from_b.load(stage.b);
      commit_copies();
    };
#pragma unroll 1
    for (int stage = 0; stage < kStages - 1; ++stage) load(ring[stage]);
    int filled = kStages - 1, read = 0;
#pragma unroll 1
    for (int32_t k = begin; k < stop; k += kStepDepth<Element>) {
      wait_copies<kStages - 2>();
      __syncthreads();
      multiply(ring[read], 0, sums);
      load(ring[filled]);
      multiply(ring[read], 1, sums);
      filled = read;
      read = read == kStages - 1 ? 0 : read + 1;
    }
    wait_copies<0>();
  }

  // A half of a stage.
  __device__ __forceinline__ void multiply(const Stage& stage, int part,
                                           float (&sums)[kRows][kColumns][4]) const {
    const int warp = threadIdx.x / kWarp, m = warp / 2 * kM, n = warp % 2 * kN;
    uint32_t x[kRows][4], y[kColumns / 2][2][2];
#pragma unroll
    for (int i = 0; i < kRows; ++i) load_a<TileA>(x[i], stage.a, m + i * 16, part);
#pragma unroll
    for (int j = 0; j < kColumns / 2; ++j) load_b<TileB>(y[j], stage.b, n + j * 16, part);
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) multiply_add<Element>(sums[i][j], x[i], y[j / 2][j % 2]);
  }

  // A warp turns its sums into rows, through its strip.
  __device__ __forceinline__ void write(float (&strip)[16][kPitch], int32_t m0, int32_t n0,
                                        int32_t slice, int32_t split,
                                        const float (&sums)[kRows][kColumns][4]) const {
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    m0 += warp / 2 * kM, n0 += warp % 2 * kN;
    const typename Result::Slice rows = result.slice(slice);
    const int32_t column = n0 + lane % kAcross * 8;
    const bool inside = whole && column < size.n;
    typename Finish<T>::Columns columns = {};
    if (inside && !partial) columns = finish.columns(rows.column + column);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      __syncwarp();
#pragma unroll
      for (int j = 0; j < kColumns; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          *reinterpret_cast<Pair*>(&strip[lane / 4 + half * 8][j * 8 + lane % 4 * 2]) = {
              sums[i][j][half * 2], sums[i][j][half * 2 + 1]};
      __syncwarp();
      if (!whole)
        write_elements(strip, m0 + i * 16, n0, slice, split, rows);
      else if (inside)
        write_rows(strip, m0 + i * 16, column, slice, split, rows, columns);
    }
  }

  __device__ __forceinline__ void keep(Moment (&of)[2][N], int32_t m0, int32_t n0, int32_t first,
                                       const float (&sums)[kRows][kColumns][4]) const {
    constexpr int kBlocksEach = kColumns > 4 ? 4 : 2;  // of eight columns, at a time
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const int32_t left = (int32_t)size.m - m0;
    const LaneMoments<2 * kRows> mine(
        [&](int r) { return warp / 2 * kM + r / 2 * 16 + r % 2 * 8 + lane / 4 < left; });
#pragma unroll
    for (int at = 0; at < kColumns; at += kBlocksEach) {
      const int32_t begin = warp % 2 * kN + at * 8;
      float bias[2 * kBlocksEach] = {};
#pragma unroll
      for (int i = 0; finish.bias && i < 2 * kBlocksEach; ++i) {
        const int32_t c = n0 + begin + i / 2 * 8 + lane % 4 * 2 + i % 2;
        if (c < size.n) bias[i] = finish.bias[first + c];
      }
      mine.template keep<T>(&of[warp / 2][begin], bias, [&](int r, int i) {
        return sums[r / 2][at + i / 2][r % 2 * 2 + i % 2];
      });
    }
    __syncthreads();
    const int32_t column = (int32_t)threadIdx.x;
    if (column >= N || n0 + column >= size.n) return;
    const Moment halves[] = {of[0][column], of[1][column]};
    const int rows[] = {left < kM ? left : kM, left < kM ? 0 : left < M ? left - kM : kM};
    const Moment all = join_warps(halves, rows);
    float* to = moments + (int64_t)(m0 / M) * 2 * row + first + n0 + column;
    to[0] = all.mean, to[row] = all.squares;
  }

  // Eight columns a lane, of several rows.
  static constexpr int kAcross = kN / 8, kDown = kWarp / kAcross;
  __device__ __forceinline__ void write_rows(const float (&strip)[16][kPitch], int32_t m0,
                                             int32_t column, int32_t slice, int32_t split,
                                             const typename Result::Slice& rows,
                                             const typename Finish<T>::Columns& columns) const {
    constexpr int kEach = 16 / kDown;
    const int first = threadIdx.x % kWarp / kAcross;
    float x[kEach][8];
    int64_t at[kEach] = {};
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int32_t down = first + i * kDown, row = m0 + down;
      load(&strip[down][threadIdx.x % kAcross * 8], x[i]);
      at[i] = -1;
      if (row < size.m) at[i] = partial ? partial_row(slice, split, row) : result.at(rows, row);
      if (at[i] >= 0) at[i] += column;
    }
    if (!partial) return finish.put_rows(at, columns, x);
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      if (at[i] >= 0) store(partial + at[i], x[i]);
  }

  // Element by element.
  __device__ __forceinline__ void write_elements(const float (&strip)[16][kPitch], int32_t m0,
                                                 int32_t n0, int32_t slice, int32_t split,
                                                 const typename Result::Slice& rows) const {
#pragma unroll 1
    for (int i = threadIdx.x % kWarp; i < 16 * kN; i += kWarp) {
      const int32_t row = m0 + i / kN, column = n0 + i % kN;
      if (row >= size.m || column >= size.n) continue;
      const float x = strip[i / kN][i % kN];
      const int64_t at = partial ? partial_row(slice, split, row) : result.at(rows, row);
      if (partial)
        partial[at + column] = x;
      else if (at >= 0)
        finish.put(at + column, rows.column + column, x);
    }
  }

  __device__ __forceinline__ int64_t partial_row(int32_t slice, int32_t split, int32_t row) const {
    return ((int64_t)(split * (int32_t)size.slices + slice) * size.m + row) * size.n;
  }
};

template <int Tile, bool Moments, class A, class B, class Result, class T>
void run_tensor_tiles(const KernelCall& call, const A& a, const B& b, const Result& result,
                      const TensorSize& size, const TensorCut& cut, const Finish<T>& finish,
                      float* partial, float* moments) {
  using P = TensorProduct<A, B, Result, T, kTileSizes[Tile].m, kTileSizes[Tile].n, Moments>;
  const Divisor across(ceil_div(size.n, kTileSizes[Tile].n));
  const Divisor down(ceil_div(size.m, kTileSizes[Tile].m)), slices(size.slices);
  const bool whole = size.n % 8 == 0 && (partial || (finish.aligned() && result.aligned()));
  launch(call,
         P{a, b, result, size, (int32_t)cut.depth, across, down, slices, finish, whole, partial,
           moments, (int32_t)(size.n * size.slices)},
         across.size() * down.size() * size.slices * cut.splits);
}

// Adds the sums of the splits in their order.
template <class Result, class T>
void join_splits(const KernelCall& call, const Result& result, const TensorSize& size,
                 int64_t splits, const Finish<T>& finish, const float* partial) {
  const Divisor rows(size.m), columns(size.n);
  const int64_t count = size.slices * size.m * size.n;
  for_each(call, count, [=] __device__(int64_t i) {
    const int32_t line = columns.narrow((int32_t)i), slice = rows.narrow(line);
    const int32_t column = (int32_t)i - line * (int32_t)columns.size();
    float sum = 0;
#pragma unroll 8
    for (int64_t s = 0; s < splits; ++s) sum += partial[s * count + i];
    const typename Result::Slice to = result.slice(slice);
    const int64_t at = result.at(to, line - slice * (int32_t)rows.size());
    if (at >= 0) finish.put(at + column, to.column + column, sum);
  });
}

// C with its epilogue, into dst of `finish`. `result` says where a row of C is; `work` has
// tensor_workspace() bytes. With Moments the product is not split, and those of C are kept.
template <bool Moments = false, class A, class B, class Result, class T>
void run_tensor_product(const KernelCall& call, const A& a, const B& b, const Result& result,
                        const TensorSize& size, const Finish<T>& finish, float* work,
                        float* moments = nullptr) {
  if (size.m * size.n * size.slices == 0) return;
  const TensorCut cut = cut_tensor_product(call, size, sizeof(typename A::Element));
  float* partial = cut.splits > 1 ? work : nullptr;
  const auto run = [&](auto tile) {
    run_tensor_tiles<tile.value, Moments>(call, a, b, result, size, cut, finish, partial, moments);
  };
  switch (cut.tile) {
    case 0: run(Constant<0>{}); break;
    case 1: run(Constant<1>{}); break;
    case 2: run(Constant<2>{}); break;
    default: run(Constant<3>{});
  }
  if (partial) join_splits(call, result, size, cut.splits, finish, partial);
}

}  // namespace fastconv::cuda
