// The product C[m, n] = sum over k of A(m, k) B(k, n) of bfloat16 with float32 sums, on tensor
// cores. Its operands are those of tensor_operands.h; a slice is one of several products side by
// side: a group, or a phase of one.
//
// A block of four warps makes a tile of C. Copies of the next steps along k are on their way while
// one is multiplied, in a ring of stages.
#pragma once
#include "finish.h"
#include "tensor_operands.h"

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

// The tile and the number of splits that promise the least time on 132 multiprocessors, in terms of
// products that one of them makes.
static inline TensorCut cut_tensor_product(const TensorSize& p) {
  constexpr int64_t kProcessors = 132, kLeastDepth = 256, kMostSplits = 64;
  constexpr int64_t kMostPartial = int64_t{1} << 24;
  // A large tile loads less for each product. Filling the ring and writing a tile costs as much as
  // some steps; adding up partial sums, in a kernel of its own, what moving them costs.
  constexpr double kRates[] = {1.0, 0.85, 0.7, 0.55};
  constexpr double kTileCost = 128, kPartialCost = 4, kJoinCost = 4e6;
  TensorCut best = {0, 1, p.k};
  double least = 0;
  const int64_t results = p.slices * p.m * p.n;
  for (int tile = 0; tile < 4; ++tile) {
    const auto [m, n] = kTileSizes[tile];
    const int64_t tiles = p.slices * ceil_div(p.m, m) * ceil_div(p.n, n);
    for (int64_t splits = 1; splits <= kMostSplits; ++splits) {
      if (splits > 1 && (splits > p.k / kLeastDepth || splits * results > kMostPartial)) break;
      const int64_t depth = ceil_div(ceil_div(p.k, splits), kStepDepth) * kStepDepth;
      double cost = (double)ceil_div(tiles * splits, kProcessors) * m * n *
                    ((double)depth / kRates[tile] + kTileCost);
      if (splits > 1) cost += kJoinCost + kPartialCost * (double)(splits * results);
      if (least > 0 && cost >= least) continue;
      least = cost;
      best = {tile, ceil_div(p.k, depth > 0 ? depth : 1), depth};
      if (best.splits < 2) best.splits = 1, best.depth = p.k;
    }
  }
  return best;
}

static inline int64_t tensor_workspace(const TensorSize& p) {
  const int64_t splits = cut_tensor_product(p).splits;
  return splits > 1 ? 4 * splits * p.slices * p.m * p.n : 0;
}

template <class A, class B, class Result, class T, int M, int N>
struct TensorProduct {
  static constexpr int kThreads = kTileThreads, kStages = 4;
  static constexpr int kBlocks = M * N >= 128 * 128 ? 2 : M * N >= 128 * 64 ? 3 : 4;
  using TileA = typename A::template Loader<M>::Tile;
  using TileB = typename B::template Loader<N>::Tile;
  // Of a warp: two by two make the tile. Its rows are handed over in strips of 16, whose pitch
  // keeps neighbouring rows in different banks.
  static constexpr int kM = M / 2, kN = N / 2, kRows = kM / 16, kColumns = kN / 8, kPitch = kN + 8;
  struct Stage {
    Chunk a[M * kStepDepth / kChunk], b[N * kStepDepth / kChunk];
  };
  union Shared {
    Stage ring[kStages];
    alignas(16) float strips[kThreads / kWarp][16][kPitch];
  };
  struct alignas(8) Pair {
    float first, second;
  };

  A a;
  B b;
  Result result;
  TensorSize size;
  int64_t depth;                 // of a split
  Divisor across, down, slices;  // tiles of a slice
  Finish<T> finish;
  bool aligned;    // eight columns of a row of dst and of what `finish` reads
  float* partial;  // not null: sums of the splits, [splits, slices, m, n]

  __device__ void operator()(Shared& shared) const {
    int64_t block = blockIdx.x, rest = across(block);
    const int64_t n0 = (block - rest * across.size()) * N;
    block = rest, rest = down(block);
    const int64_t m0 = (block - rest * down.size()) * M;
    const int64_t split = slices(rest), slice = rest - split * slices.size();
    float sums[kRows][kColumns][4] = {};
    accumulate(shared.ring, m0, n0, slice, split * depth, sums);
    __syncthreads();
    write(shared.strips[threadIdx.x / kWarp], m0, n0, slice, split, sums);
  }

  __device__ __forceinline__ void accumulate(Stage (&ring)[kStages], int64_t m0, int64_t n0,
                                             int64_t index, int64_t begin,
                                             float (&sums)[kRows][kColumns][4]) const {
    const Correlation::Slice slice = a.c.slice(index);
    const int64_t length = a.length(slice);
    const int64_t end = begin + depth < length ? begin + depth : length;
    const int32_t steps = end > begin ? (int32_t)((end - begin + kStepDepth - 1) / kStepDepth) : 0;
    typename A::template Loader<M> from_a(a, m0, size.m, (uint32_t)begin, slice);
    typename B::template Loader<N> from_b(b, n0, size.n, (uint32_t)begin, slice);
    const auto load = [&](int32_t step) {
      if (step < steps) {
        from_a.load(ring[step % kStages].a);
        from_b.load(ring[step % kStages].b);
      }
      commit_copies();
    };
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) load(i);
#pragma unroll 1
    for (int32_t step = 0; step < steps; ++step) {
      wait_copies<kStages - 2>();
      __syncthreads();
      load(step + kStages - 1);
      multiply(ring[step % kStages], sums);
    }
    wait_copies<0>();
  }

  __device__ __forceinline__ void multiply(const Stage& stage,
                                           float (&sums)[kRows][kColumns][4]) const {
    const int warp = threadIdx.x / kWarp, m = warp / 2 * kM, n = warp % 2 * kN;
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      uint32_t x[kRows][4], y[kColumns / 2][2][2];
#pragma unroll
      for (int i = 0; i < kRows; ++i) load_a<TileA>(x[i], stage.a, m + i * 16, part);
#pragma unroll
      for (int j = 0; j < kColumns / 2; ++j) load_b<TileB>(y[j], stage.b, n + j * 16, part);
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kColumns; ++j) multiply_add(sums[i][j], x[i], y[j / 2][j % 2]);
    }
  }

  // A warp turns its sums into rows of eight, through its strip. Each lane has columns of its own.
  __device__ __forceinline__ void write(float (&strip)[16][kPitch], int64_t m0, int64_t n0,
                                        int64_t slice, int64_t split,
                                        const float (&sums)[kRows][kColumns][4]) const {
    constexpr int kAcross = kN / 8, kDown = kWarp / kAcross;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    m0 += warp / 2 * kM, n0 += warp % 2 * kN;
    const int64_t column = n0 + lane % kAcross * 8, left = size.n - column;
    const int count = left < 8 ? (int)left : 8;
    const int64_t first = result.column(slice) + column;
    const auto columns = finish.columns(first, partial ? 0 : count);
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
#pragma unroll 1
      for (int down = lane / kAcross; down < 16; down += kDown) {
        const int64_t row = m0 + i * 16 + down;
        if (row >= size.m || count <= 0) continue;
        float x[8];
        load_eight(&strip[down][lane % kAcross * 8], x);
        if (partial) {
          const int64_t line = (split * size.slices + slice) * size.m + row;
          store_some(partial + line * size.n + column, x, count, size.n % 4 == 0);
          continue;
        }
        const int64_t at = result.at(slice, row);
        if (at >= 0) finish.put_eight(at + column, columns, x, count, aligned);
      }
    }
  }
};

template <int Tile, class A, class B, class Result, class T>
void run_tensor_tiles(const KernelCall& call, const A& a, const B& b, const Result& result,
                      const TensorSize& size, const TensorCut& cut, const Finish<T>& finish,
                      bool aligned, float* partial) {
  using P = TensorProduct<A, B, Result, T, kTileSizes[Tile].m, kTileSizes[Tile].n>;
  const Divisor across(ceil_div(size.n, kTileSizes[Tile].n));
  const Divisor down(ceil_div(size.m, kTileSizes[Tile].m)), slices(size.slices);
  launch(call, P{a, b, result, size, cut.depth, across, down, slices, finish, aligned, partial},
         across.size() * down.size() * size.slices * cut.splits);
}

// Adds the sums of the splits in their order.
template <class Result, class T>
void join_splits(const KernelCall& call, const Result& result, const TensorSize& size,
                 int64_t splits, const Finish<T>& finish, const float* partial) {
  const Divisor rows(size.m), columns(size.n);
  const int64_t count = size.slices * size.m * size.n;
  for_each(call, count, [=] __device__(int64_t i) {
    const int64_t line = columns(i), slice = rows(line), column = i - line * columns.size();
    float sum = 0;
#pragma unroll 8
    for (int64_t s = 0; s < splits; ++s) sum += partial[s * count + i];
    const int64_t at = result.at(slice, line - slice * rows.size());
    if (at >= 0) finish.put(at + column, result.column(slice) + column, sum);
  });
}

// C with its epilogue, into dst of `finish`. `result` says where a row of C is; `work` has
// tensor_workspace(size) bytes.
template <class A, class B, class Result, class T>
void run_tensor_product(const KernelCall& call, const A& a, const B& b, const Result& result,
                        const TensorSize& size, const Finish<T>& finish, float* work) {
  if (size.m * size.n * size.slices == 0) return;
  const TensorCut cut = cut_tensor_product(size);
  const bool aligned = finish.aligned() && result.aligned();
  float* partial = cut.splits > 1 ? work : nullptr;
  switch (cut.tile) {
    case 0: run_tensor_tiles<0>(call, a, b, result, size, cut, finish, aligned, partial); break;
    case 1: run_tensor_tiles<1>(call, a, b, result, size, cut, finish, aligned, partial); break;
    case 2: run_tensor_tiles<2>(call, a, b, result, size, cut, finish, aligned, partial); break;
    default: run_tensor_tiles<3>(call, a, b, result, size, cut, finish, aligned, partial);
  }
  if (partial) join_splits(call, result, size, cut.splits, finish, partial);
}

}  // namespace fastconv::cuda
