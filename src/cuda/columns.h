// Work on a matrix [rows, columns]: a thread has a few neighbouring columns and goes down the rows
// of a chunk. Chunks are cut by the problem's size alone. Sums over the rows are made in float32
// within a chunk, by a block; the chunks are added in float64, in their order.
#pragma once
#include "kernels.h"
#include "pack.h"

namespace fastconv::cuda {

// Threads that share a column when the sums of the chunks are added, of which there may be a
// thousand in a few columns.
constexpr int kColumnThreads = 256, kJoinLanes = 16;
constexpr int kJoinThreads = kWarp * kJoinLanes;
constexpr int64_t kColumnBlocks = 1024;  // enough to fill a GPU

// Neighbouring columns of a thread where all is aligned: few enough that their parameters and
// several rows fit in its registers.
constexpr int kColumnsEach = 4;
// Rows of `arrays` arrays of T that a thread reads before it uses the first: 64 bytes on their way
// in each of 1024 threads hide the latency of memory.
template <class T, int W>
constexpr int rows_ahead(int arrays) {
  const int rows = 64 / (arrays * (W > 1 ? W * (int)sizeof(T) : 16));
  return rows > 1 ? rows : 2;
}

struct Columns {
  int64_t rows, columns, chunk, chunks;  // rows of a chunk; how many
  Divisor across;                        // blocks side by side
  int lanes;                             // threads side by side: a power of two, up to a warp

  __host__ int64_t blocks() const { return chunks * across.size(); }
  __host__ __device__ int64_t rows_of(int64_t i) const {
    const int64_t left = rows - i * chunk;
    return left < chunk ? left : chunk;
  }
};

// Lines of the cache are read whole where there are so many columns; then few threads idle.
static inline int lanes_for(int64_t columns, int width) {
  const int64_t packs = ceil_div(columns, width);
  int best = 1, least = width > 1 ? 8 : kWarp;
  while (best < packs && best < least) best *= 2;
  for (int lanes = 2 * best; best >= least && lanes <= kWarp; lanes *= 2)
    if (ceil_div(packs, lanes) * lanes <= ceil_div(packs, best) * best) best = lanes;
  return best;
}

// For threads with `width` columns, and at least and at most so many rows.
static inline Columns columns_of(int64_t rows, int64_t columns, int width, int64_t least,
                                 int64_t most) {
  const int lanes = lanes_for(columns, width), side = kColumnThreads / lanes;
  const int64_t packs = ceil_div(columns, width), across = packs > 0 ? ceil_div(packs, lanes) : 1;
  int64_t chunk = ceil_div(rows, ceil_div(kColumnBlocks, across));
  chunk = ceil_div(chunk, side) * side;
  chunk = chunk < least * side ? least * side : chunk > most * side ? most * side : chunk;
  if (rows <= 2 * least * side) chunk = rows > 0 ? rows : 1;
  const int64_t chunks = ceil_div(rows, chunk);
  return {rows, columns, chunk, chunks > 0 ? chunks : 1, Divisor(across), lanes};
}
// For sums: accumulators get few terms each, and a small problem needs no second pass.
static inline Columns columns_to_join(int64_t rows, int64_t columns, int width) {
  return columns_of(rows, columns, width, 16, 256);
}

// What is a thread's: columns from `column` on, rows [begin, end) in steps.
struct Part {
  int64_t chunk, left, column, begin, end;
  int step;
};
template <int W>
__device__ __forceinline__ Part part_of(const Columns& m, int64_t block) {
  const int64_t chunk = m.across(block), first = chunk * m.chunk;
  const int64_t left = (block - chunk * m.across.size()) * m.lanes * W;
  const int lane = (int)threadIdx.x % m.lanes, down = (int)threadIdx.x / m.lanes;
  return {chunk,
          left,
          left + lane * W,
          first + down,
          first + m.rows_of(chunk),
          kColumnThreads / m.lanes};
}

// use(row, own.read(row)) for the rows of a thread: a few are read before the first is used.
template <class Own, class Use>
__device__ __forceinline__ void go_down(const Part& part, const Own& own, const Use& use) {
  constexpr int kAhead = Own::kAhead;
  for (int64_t row = part.begin; row < part.end; row += kAhead * part.step) {
    typename Own::Row read[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (row + i * part.step < part.end) read[i] = own.read(row + i * part.step);
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (row + i * part.step < part.end) use(row + i * part.step, read[i]);
  }
}

// own.write(row, own.read(row)) of every element, `own` being body.own(column). It begins with the
// last rows: the pass before, which summed them up, has left these in the cache.
template <class Body>
struct MapColumns {
  static constexpr int kThreads = kColumnThreads, kBlocks = 4;
  Columns m;
  Body body;
  __device__ void operator()() const {
    const Part part = part_of<Body::kWidth>(m, (int64_t)gridDim.x - 1 - blockIdx.x);
    if (part.column >= m.columns) return;
    const auto own = body.own(part.column);
    go_down(part, own, [&](int64_t row, const auto& read) { own.write(row, read); });
  }
};
template <class Body>
void map_columns(const KernelCall& call, int64_t rows, int64_t columns, const Body& body) {
  const Columns m = columns_of(rows, columns, Body::kWidth, 1, 16);
  if (rows > 0 && columns > 0) launch(call, MapColumns<Body>{m, body}, m.blocks());
}

// Sums of each column over a chunk: own.add(row, own.read(row), sums), `own` being
// term.own(column, first row); out(chunk, column, sums) gets them.
template <class Term, class Op, class Out>
struct JoinChunks {
  static constexpr int W = Term::kWidth, Q = Term::kSums;
  static constexpr int kThreads = kColumnThreads, kWarps = kThreads / kWarp;
  static constexpr int kBlocks = Q <= 4 ? 3 : resident_blocks<Term>();
  static constexpr int kTogether = Q < 9 ? Q : 9;  // sums that threads join at a time
  struct Shared {
    float sums[kTogether][kWarps][W * kWarp];
  };
  Columns m;
  float start;
  Op op;
  Term term;
  Out out;

  __device__ void operator()(Shared& shared) const {
    const Part part = part_of<W>(m, blockIdx.x);
    float sums[Q][W];
#pragma unroll
    for (int q = 0; q < Q; ++q)
#pragma unroll
      for (int w = 0; w < W; ++w) sums[q][w] = start;
    if (part.column < m.columns) {
      const auto own = term.own(part.column, part.chunk * m.chunk);
      go_down(part, own, [&](int64_t row, const auto& read) { own.add(row, read, sums); });
    }
    const int lane = (int)threadIdx.x % m.lanes, w = (int)threadIdx.x / m.lanes;
    const int64_t column = part.left + lane * W + w;
    const bool joins = w < W && column < m.columns;
    float totals[Q];
#pragma unroll
    for (int first = 0; first < Q; first += kTogether) {
      if (first > 0) __syncthreads();  // `shared` may still be read
      share(sums, first, shared);
      __syncthreads();
#pragma unroll
      for (int q = first; q < Q && q < first + kTogether; ++q)
        if (joins) totals[q] = joined(shared.sums[q - first]);
    }
    if (joins) out(part.chunk, column, totals);
  }

 private:
  // Joins the rows of a warp, and leaves them for the block.
  __device__ __forceinline__ void share(const float (&sums)[Q][W], int first,
                                        Shared& shared) const {
    const int lane = (int)threadIdx.x % kWarp, warp = (int)threadIdx.x / kWarp;
#pragma unroll
    for (int q = first; q < Q && q < first + kTogether; ++q)
#pragma unroll
      for (int w = 0; w < W; ++w) {
        float sum = sums[q][w];
        for (int step = kWarp / 2; step >= m.lanes; step /= 2)
          sum = op(sum, __shfl_xor_sync(kAllLanes, sum, step));
        if (lane < m.lanes) shared.sums[q - first][warp][w * m.lanes + lane] = sum;
      }
  }
  __device__ __forceinline__ float joined(const float (&sums)[kWarps][W * kWarp]) const {
    float total = sums[0][threadIdx.x];
#pragma unroll
    for (int i = 1; i < kWarps; ++i) total = op(total, sums[i][threadIdx.x]);
    return total;
  }
};

template <class T, int Lanes>
struct ColumnShared {
  T lanes[Lanes][kWarp];
};
// The sum of what the threads of a column have; those of the first warp get it.
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

// out.finish(column, totals) gets the totals of each column, to which out.add(chunk, column,
// totals) adds what was kept of a chunk.
template <int Q, class Op, class Out>
struct JoinPartials {
  static constexpr int kThreads = kJoinThreads;
  using Shared = ColumnShared<double, kJoinLanes>;
  int64_t chunks, columns;
  double start;
  Op op;
  Out out;

  __device__ void operator()(Shared& shared) const {
    const int64_t column = (int64_t)blockIdx.x * kWarp + threadIdx.x % kWarp;
    double totals[Q];
#pragma unroll
    for (int q = 0; q < Q; ++q) totals[q] = start;
    if (column < columns)
#pragma unroll 4
      for (int64_t i = threadIdx.x / kWarp; i < chunks; i += kJoinLanes) out.add(i, column, totals);
#pragma unroll
    for (int q = 0; q < Q; ++q) totals[q] = join_column(totals[q], op, shared);
    if (threadIdx.x < kWarp && column < columns) out.finish(column, totals);
  }
};

// As JoinChunks and JoinPartials have them.
template <class Term, class Op, class Out>
void join_chunks(const KernelCall& call, const Columns& m, float start, const Op& op,
                 const Term& term, const Out& out) {
  launch(call, JoinChunks<Term, Op, Out>{m, start, op, term, out}, m.blocks());
  if (m.chunks > 1)
    launch(call, JoinPartials<Term::kSums, Op, Out>{m.chunks, m.columns, start, op, out},
           ceil_div(m.columns, kWarp));
}

// Sums as they are: partial[chunk, q, column]. A single chunk is finished with at once.
template <int Q, class Op, class Finish>
struct KeepSums {
  int64_t chunks, columns;
  float* partial;
  Op op;
  Finish end;
  __device__ void operator()(int64_t chunk, int64_t column, const float (&sums)[Q]) const {
    double totals[Q];
#pragma unroll
    for (int q = 0; q < Q; ++q) {
      totals[q] = (double)sums[q];
      if (chunks > 1) partial[(chunk * Q + q) * columns + column] = sums[q];
    }
    if (chunks == 1) end(column, totals);
  }
  __device__ void add(int64_t chunk, int64_t column, double (&totals)[Q]) const {
#pragma unroll
    for (int q = 0; q < Q; ++q)
      totals[q] = op(totals[q], (double)partial[(chunk * Q + q) * columns + column]);
  }
  __device__ void finish(int64_t column, const double (&totals)[Q]) const { end(column, totals); }
};

// Enough for any width.
static inline int64_t columns_workspace(int64_t rows, int64_t columns, int quantities) {
  int64_t chunks = 1;
  for (int width = 1; width <= 8; width *= 2) {
    const int64_t count = columns_to_join(rows, columns, width).chunks;
    chunks = count > chunks ? count : chunks;
  }
  return chunks > 1 ? 4 * chunks * quantities * columns : 0;
}

// finish(column, totals) gets the sums of a term as JoinChunks has it.
template <class Op, class Term, class Finish>
void sum_columns(const KernelCall& call, int64_t rows, int64_t columns, float start, const Op& op,
                 const Term& term, const Finish& finish, float* partial) {
  if (columns == 0) return;
  const Columns m = columns_to_join(rows, columns, Term::kWidth);
  join_chunks(call, m, start, op, term,
              KeepSums<Term::kSums, Op, Finish>{m.chunks, columns, partial, op, finish});
}

// A function f(row, column, values) as a term: it adds to Q values of one column.
template <int Q, class F>
struct EachElement {
  static constexpr int kWidth = 1, kSums = Q;
  F f;
  struct Own {
    struct Row {};
    static constexpr int kAhead = 4;
    const F& f;
    int64_t column;
    __device__ Row read(int64_t) const { return {}; }
    __device__ void add(int64_t row, const Row&, float (&sums)[Q][1]) const {
      f(row, column, &sums[0][0]);
    }
  };
  __device__ Own own(int64_t column, int64_t) const { return {f, column}; }
};

template <int Q, class Op, class F, class Finish>
void join_columns(const KernelCall& call, int64_t rows, int64_t columns, float start, const F& f,
                  const Finish& finish, float* partial) {
  sum_columns(call, rows, columns, start, Op{}, EachElement<Q, F>{f}, finish, partial);
}

}  // namespace fastconv::cuda
