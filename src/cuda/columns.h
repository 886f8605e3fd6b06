// Sums over the rows of a matrix [rows, columns], a result a column and quantity. The rows are cut
// into chunks by the problem's size alone; a chunk is added up in float32, by a block, and the
// chunks in float64 in their order.
#pragma once
#include "kernels.h"

namespace fastconv::cuda {

// Threads that share a column: when chunks are added up, and when their sums are, of which there
// may be a thousand in a few columns.
constexpr int kColumnLanes = 8, kJoinLanes = 32;
constexpr int kColumnThreads = kWarp * kColumnLanes, kJoinThreads = kWarp * kJoinLanes;

struct Chunks {
  int64_t count, rows;  // rows of one
  Divisor across;       // blocks side by side
};

static inline Chunks chunks_of(int64_t rows, int64_t columns) {
  const int64_t across = ceil_div(columns, kWarp);
  // Enough blocks to fill a GPU, and few terms for each accumulator.
  constexpr int64_t kLeast = 4 * kColumnLanes, kMost = 256 * kColumnLanes, kMostBlocks = 1024;
  int64_t size = ceil_div(rows, ceil_div(kMostBlocks, across > 0 ? across : 1));
  size = size < kLeast ? kLeast : size > kMost ? kMost : size;
  const int64_t count = ceil_div(rows, size);
  return {count > 0 ? count : 1, size, Divisor(across > 0 ? across : 1)};
}

// The sum of what the threads of a column have; those of the first warp get it.
template <class T, int Lanes>
struct ColumnShared {
  T lanes[Lanes][kWarp];
};
template <class T, int Lanes, class Op>
__device__ __forceinline__ T join_column(T value, const Op& op, ColumnShared<T, Lanes>& shared) {
  const int column = threadIdx.x % kWarp, lane = threadIdx.x / kWarp;
  __syncthreads();
  shared.lanes[lane][column] = value;
  __syncthreads();
  value = shared.lanes[0][column];
#pragma unroll
  for (int i = 1; i < Lanes; ++i) value = op(value, shared.lanes[i][column]);
  return value;
}

// partial[chunk, q, column] from term(row, column, values), which adds to Q values.
template <int Q, class Op, class Term>
struct JoinChunks {
  static constexpr int kThreads = kColumnThreads;
  using Shared = ColumnShared<float, kColumnLanes>;
  int64_t rows, columns;
  Chunks chunks;
  float start;
  Term term;
  float* partial;

  __device__ void operator()(Shared& shared) const {
    const int64_t chunk = chunks.across((int64_t)blockIdx.x);
    const int64_t left = (blockIdx.x - chunk * chunks.across.size()) * kWarp;
    const int64_t column = left + threadIdx.x % kWarp;
    const int64_t begin = chunk * chunks.rows;
    const int64_t end = begin + chunks.rows < rows ? begin + chunks.rows : rows;
    float values[Q];
#pragma unroll
    for (int q = 0; q < Q; ++q) values[q] = start;
    if (column < columns)
#pragma unroll 4
      for (int64_t row = begin + threadIdx.x / kWarp; row < end; row += kColumnLanes)
        term(row, column, values);
#pragma unroll
    for (int q = 0; q < Q; ++q) {
      const float value = join_column(values[q], Op{}, shared);
      if (threadIdx.x < kWarp && column < columns)
        partial[(chunk * Q + q) * columns + column] = value;
    }
  }
};

// finish(column, totals) gets the Q totals of each column.
template <int Q, class Op, class Finish>
struct JoinPartials {
  static constexpr int kThreads = kJoinThreads;
  using Shared = ColumnShared<double, kJoinLanes>;
  int64_t chunks, columns;
  double start;
  const float* partial;
  Finish finish;

  __device__ void operator()(Shared& shared) const {
    const int64_t column = (int64_t)blockIdx.x * kWarp + threadIdx.x % kWarp;
    double totals[Q];
#pragma unroll
    for (int q = 0; q < Q; ++q) {
      double total = start;
      if (column < columns)
#pragma unroll 4
        for (int64_t i = threadIdx.x / kWarp; i < chunks; i += kJoinLanes)
          total = Op{}(total, (double)partial[(i * Q + q) * columns + column]);
      totals[q] = join_column(total, Op{}, shared);
    }
    if (threadIdx.x < kWarp && column < columns) finish(column, totals);
  }
};

static inline int64_t columns_workspace(int64_t rows, int64_t columns, int quantities) {
  return 4 * chunks_of(rows, columns).count * quantities * columns;
}

template <int Q, class Op, class Term, class Finish>
void join_columns(const KernelCall& call, int64_t rows, int64_t columns, float start,
                  const Term& term, const Finish& finish, float* partial) {
  if (columns == 0) return;
  const Chunks chunks = chunks_of(rows, columns);
  launch(call, JoinChunks<Q, Op, Term>{rows, columns, chunks, start, term, partial},
         chunks.count * chunks.across.size());
  launch(call, JoinPartials<Q, Op, Finish>{chunks.count, columns, start, partial, finish},
         chunks.across.size());
}

}  // namespace fastconv::cuda
