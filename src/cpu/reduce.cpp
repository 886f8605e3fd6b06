// Sum, mean, maximum and minimum over any axes.
//
// Merged axes turn every reduction into one form: for each of `outer` positions, rows of `width`
// contiguous elements are added up (width 1 where the last axis is reduced). The rows are cut into
// chunks by the problem's size alone; a chunk adds up in float32, with few terms for each
// accumulator, and the chunks are added in float64 in their order, so that long sums stay exact to
// a few units and the bytes do not depend on the number of threads.
#include "kernels.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kChunk = 16384;  // elements
constexpr int64_t kStrip = 4096;   // columns of one task
constexpr int kTile = 8;           // vectors of accumulators

struct Sum {
  static constexpr float identity = 0.0f;
  static vfloat of(vfloat a, vfloat b) { return a + b; }
  template <class T>
  static T of(T a, T b) {
    return a + b;
  }
};
// Of a running value and the next; either NaN wins.
struct Max {
  static constexpr float identity = -kInfinity;
  template <class T>
  static T of(T a, T b) {
    return ((b > a) | (b != b)) ? b : a;
  }
};
struct Min {
  static constexpr float identity = kInfinity;
  template <class T>
  static T of(T a, T b) {
    return ((b < a) | (b != b)) ? b : a;
  }
};

// Axes of one kind, from the outside in.
struct Axes {
  int rank = 0;
  int64_t dims[kMaxRank], strides[kMaxRank];

  int64_t offset(int64_t index) const {
    int64_t at = 0;
    for (int i = rank - 1; i >= 0; --i) {
      at += index % dims[i] * strides[i];
      index /= dims[i];
    }
    return at;
  }
  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  void append(int64_t size, int64_t stride) {
    if (rank > 0 && strides[rank - 1] == stride * size) {
      dims[rank - 1] *= size;
      strides[rank - 1] = stride;
      return;
    }
    dims[rank] = size;
    strides[rank++] = stride;
  }
};

struct ReducePlan {
  Axes kept;             // without the last axis, if that is kept
  Axes repeats;          // reduced, without the innermost
  int64_t rows, stride;  // innermost reduced axis
  int64_t width;
  int64_t outer, chunk_rows, pieces, chunks;  // `chunks` an outer position, `pieces` a run of rows
  int64_t strips;                             // a row
  int64_t total;                              // elements that make one result
};

inline int64_t clamp(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : (x > high ? high : x);
}

ReducePlan plan_reduce(const Tensor& src, int32_t axes) {
  ReducePlan plan = {};
  int64_t stride = elements(src);
  for (int i = 0; i < src.rank; ++i) {
    const int64_t size = src.dims[i];
    if (size == 1) continue;
    if (size > 0) stride /= size;
    (axes >> i & 1 ? plan.repeats : plan.kept).append(size, stride);
  }
  plan.total = plan.repeats.count();
  plan.rows = plan.width = plan.stride = 1;
  Axes &kept = plan.kept, &repeats = plan.repeats;
  if (kept.rank > 0 && kept.strides[kept.rank - 1] == 1) plan.width = kept.dims[--kept.rank];
  if (repeats.rank > 0) {
    plan.rows = repeats.dims[--repeats.rank];
    plan.stride = repeats.strides[repeats.rank];
  }
  plan.outer = kept.count();
  const int64_t columns = plan.width < kStrip ? plan.width : kStrip;
  const int64_t fit = columns > 0 ? kChunk / columns : 1;
  plan.strips = ceil_div(plan.width, kStrip);
  plan.chunk_rows = plan.width < kLanes ? fit : clamp(fit, 64, 256);
  plan.pieces = ceil_div(plan.rows, plan.chunk_rows);
  if (plan.pieces < 1) plan.pieces = 1;
  plan.chunks = plan.pieces * repeats.count();
  return plan;
}

// A row narrower than a vector: the contiguous rows are read as one long row, whose columns repeat
// with a period of `width` vectors.
template <class Op, class T>
inline void reduce_narrow(const T* src, int64_t rows, int64_t width, float* dst) {
  vfloat sums[kLanes + kTile];
  const int64_t period = width * ceil_div(kTile, width), count = rows * width;
  for (int64_t j = 0; j < period; ++j) sums[j] = splat(Op::identity);
  int64_t i = 0;
  for (; i + period * kLanes <= count; i += period * kLanes)
    for (int64_t j = 0; j < period; ++j) sums[j] = Op::of(sums[j], load(src + i + j * kLanes));
  for (int64_t j = 0; i < count; ++j, i += kLanes) {
    const int64_t n = count - i < kLanes ? count - i : kLanes;
    const vfloat x = load_part(src + i, n);
    sums[j] = Op::of(sums[j], first_lanes(n) ? x : splat(Op::identity));
  }
  for (int64_t j = width; j < period; j += width)
    for (int64_t c = 0; c < width; ++c) sums[c] = Op::of(sums[c], sums[j + c]);
  float flat[kLanes * kLanes];
  for (int64_t j = 0; j < width; ++j) store(flat + j * kLanes, sums[j]);
  for (int64_t c = 0; c < width; ++c) dst[c] = flat[c];
  for (int64_t k = width; k < width * kLanes; k += width)
    for (int64_t c = 0; c < width; ++c) dst[c] = Op::of(dst[c], flat[k + c]);
}

// Few contiguous elements that make one result.
template <class Op, class T>
inline float reduce_short(const T* src, int64_t count) {
  if (count <= kLanes / 2) {
    float total = Op::identity;
    for (int64_t i = 0; i < count; ++i) total = Op::of(total, to_float(src[i]));
    return total;
  }
  vfloat total = splat(Op::identity);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) total = Op::of(total, load(src + i));
  if (i < count) {
    const vfloat x = load_part(src + i, count - i);
    total = Op::of(total, first_lanes(count - i) ? x : splat(Op::identity));
  }
  return fold(total, [](vfloat a, vfloat b) { return Op::of(a, b); });
}

// A strip of columns, of V whole vectors, or of one vector that may be part. Several rows go into
// accumulators of their own, kTile in all, to hide the latency of an addition.
template <class Op, int V, class T>
inline void reduce_strip(const T* src, int64_t rows, int64_t stride, int64_t count, float* dst) {
  constexpr int depth = kTile / V;
  const auto at = [=](int64_t row, int j) {
    const T* p = src + row * stride + j * kLanes;
    return V > 1 || count == kLanes ? load(p) : load_part(p, count);
  };
  vfloat sums[depth][V];
  for (int d = 0; d < depth; ++d)
    for (int j = 0; j < V; ++j) sums[d][j] = splat(Op::identity);
  int64_t row = 0;
  for (; row + depth <= rows; row += depth)
    for (int d = 0; d < depth; ++d)
      for (int j = 0; j < V; ++j) sums[d][j] = Op::of(sums[d][j], at(row + d, j));
  for (; row < rows; ++row)
    for (int j = 0; j < V; ++j) sums[0][j] = Op::of(sums[0][j], at(row, j));
  for (int j = 0; j < V; ++j) {
    for (int d = 1; d < depth; ++d) sums[0][j] = Op::of(sums[0][j], sums[d][j]);
    if (V > 1 || count == kLanes)
      store(dst + j * kLanes, sums[0][j]);
    else
      store_part(dst, sums[0][j], count);
  }
}

template <class Op, class T>
inline void reduce_rows(const T* src, int64_t rows, int64_t stride, int64_t width, float* dst) {
  if (width < kLanes && stride == width) return reduce_narrow<Op>(src, rows, width, dst);
  int64_t c = 0;
  for (; c + 8 * kLanes <= width; c += 8 * kLanes)
    reduce_strip<Op, 8>(src + c, rows, stride, kLanes, dst + c);
  for (; c + 2 * kLanes <= width; c += 2 * kLanes)
    reduce_strip<Op, 2>(src + c, rows, stride, kLanes, dst + c);
  for (; c < width; c += kLanes)
    reduce_strip<Op, 1>(src + c, rows, stride, width - c < kLanes ? width - c : kLanes, dst + c);
}

// Many short results from contiguous memory.
template <class Op, class T>
inline void reduce_short_rows(const T* src, int64_t length, int64_t begin, int64_t end,
                              float divisor, float* dst) {
  for (int64_t i = begin; i < end; ++i)
    dst[i] = reduce_short<Op>(src + i * length, length) / divisor;
}

// One strip of chunk k, counted over all outer positions, into row k of `dst`.
template <class Op, class T>
inline void reduce_chunk(const ReducePlan& plan, const T* src, int64_t k, int64_t strip,
                         float divisor, float* dst) {
  const int64_t piece = k % plan.pieces, repeat = k / plan.pieces % plan.repeats.count();
  const int64_t row = piece * plan.chunk_rows, rest = plan.rows - row;
  const int64_t column = strip * kStrip, right = plan.width - column;
  const int64_t columns = right < kStrip ? right : kStrip;
  src += plan.kept.offset(k / plan.chunks) + plan.repeats.offset(repeat);
  dst += k * plan.width + column;
  reduce_rows<Op>(src + row * plan.stride + column, rest < plan.chunk_rows ? rest : plan.chunk_rows,
                  plan.stride, columns, dst);
  if (divisor == 1.0f) return;
  for (int64_t i = 0; i < columns; ++i) dst[i] /= divisor;
}

// Adds the chunks of one outer position, for columns [begin, end).
template <class Op>
inline void combine_chunks(const ReducePlan& plan, const float* partial, int64_t begin, int64_t end,
                           double divisor, float* dst) {
  double sums[kLanes];
  const int64_t count = end - begin;
  for (int64_t j = 0; j < count; ++j) sums[j] = Op::identity;
  for (int64_t k = 0; k < plan.chunks; ++k)
    for (int64_t j = 0; j < count; ++j)
      sums[j] = Op::of(sums[j], (double)partial[k * plan.width + begin + j]);
  for (int64_t j = 0; j < count; ++j) dst[begin + j] = (float)(sums[j] / divisor);
}

template <class Op, class T>
void reduce(const KernelCall& call, bool mean) {
  const ReducePlan plan = plan_reduce(call.inputs[0], attrs<ReduceAttrs>(call).axes);
  const T* src = input<T>(call, 0);
  float* dst = output<float>(call, 0);
  if (plan.outer == 0 || plan.width == 0) return;
  const bool direct = plan.chunks == 1;
  float* partial = direct ? dst : static_cast<float*>(call.workspace);
  const double divisor = mean ? (double)plan.total : 1.0;

  const int64_t rows = plan.rows < plan.chunk_rows ? plan.rows : plan.chunk_rows;
  const int64_t work = rows * (plan.width < kStrip ? plan.width : kStrip) + 1;
  const float scale = direct ? (float)divisor : 1.0f;
  const bool short_rows = direct && plan.width == 1 && plan.stride == 1 && plan.kept.rank == 1 &&
                          plan.rows <= 8 * kLanes && plan.repeats.count() == 1;
  parallel_blocks(plan.outer * plan.chunks * plan.strips, ceil_div(kChunk, work), work,
                  [&](int64_t begin, int64_t end) {
                    if (short_rows)
                      return reduce_short_rows<Op>(src, plan.rows, begin, end, scale, dst);
                    for (int64_t i = begin; i < end; ++i)
                      reduce_chunk<Op>(plan, src, i / plan.strips, i % plan.strips, scale, partial);
                  });
  if (direct) return;
  const int64_t strips = ceil_div(plan.width, kLanes);
  parallel_for(plan.outer * strips, plan.chunks * kLanes, [&](int64_t i) {
    const int64_t at = i / strips, begin = i % strips * kLanes;
    const int64_t end = begin + kLanes < plan.width ? begin + kLanes : plan.width;
    combine_chunks<Op>(plan, partial + at * plan.chunks * plan.width, begin, end, divisor,
                       dst + at * plan.width);
  });
}

template <class T>
void run(const KernelCall& call) {
  switch (attrs<ReduceAttrs>(call).op) {
    case ReduceOp::sum: return reduce<Sum, T>(call, false);
    case ReduceOp::mean: return reduce<Sum, T>(call, true);
    case ReduceOp::max: return reduce<Max, T>(call, false);
    case ReduceOp::min: return reduce<Min, T>(call, false);
  }
}

// The result is float32, also of bfloat16.
void run_reduce(const KernelCall& call) {
  with_float(call, [&](auto tag) { run<typename decltype(tag)::type>(call); });
}

int64_t reduce_workspace(const KernelCall& call) {
  const ReducePlan plan = plan_reduce(call.inputs[0], attrs<ReduceAttrs>(call).axes);
  return plan.chunks == 1 ? 0 : plan.outer * plan.chunks * plan.width * (int64_t)sizeof(float);
}

constexpr Kernel kReduce[] = {{"chunks", needs_float, reduce_workspace, run_reduce}};

}  // namespace

KernelList reduce_kernels(OpKind kind) {
  if (kind == OpKind::reduce) return list(kReduce);
  return {nullptr, 0};
}

}  // namespace fastconv::cpu::FASTCONV_ISA
