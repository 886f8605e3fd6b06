// Sum, mean, maximum and minimum over any axes. Where the last axis stays, results stand side by
// side (columns.h); where it goes, they are rows, long ones of which are cut into pieces. The
// pieces are cut by the problem's size alone and joined in float64, in their order.
#include "columns.h"
#include "rows.h"

namespace fastconv::cuda {
namespace {

// The larger or the smaller of two values; NaN wins.
struct Extreme {
  bool smaller;
  template <class T>
  __host__ __device__ T operator()(T a, T b) const {
    return (smaller ? b < a : b > a) || b != b ? b : a;
  }
};

constexpr int64_t kPiece = 16384;  // elements

struct Reduction {
  Axes<1> kept, reduced;
  int64_t results, total;  // total elements make one result
  bool columns;
};

Reduction plan_reduce(const Tensor& src, int32_t axes) {
  Reduction plan = {};
  int64_t strides[kMaxRank];
  dense_strides(src, strides);
  for (int i = 0; i < src.rank; ++i)
    (axes >> i & 1 ? plan.reduced : plan.kept).append(src.dims[i], {strides[i]});
  plan.results = plan.kept.count();
  plan.total = plan.reduced.count();
  const int last = plan.kept.rank - 1;
  plan.columns = last >= 0 && plan.kept.strides[0][last] == 1 && plan.reduced.rank > 0;
  return plan;
}

int64_t pieces_of(const Reduction& plan) {
  return plan.total > kPiece ? ceil_div(plan.total, kPiece) : 1;
}

template <class Op, class T>
struct Pieces {
  const T* src;
  float* dst;
  Reduction plan;
  Divisor pieces;
  float start, divisor;
  Op op;

  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const int64_t result = pieces(row), begin = (row - result * pieces.size()) * kPiece;
    const int64_t count =
        pieces.size() == 1 || begin + kPiece > plan.total ? plan.total - begin : kPiece;
    const T* from = src + plan.kept.offsets(result).at[0];
    const float value = join_row(team, count, start, op, [&](int64_t i) {
      return to_float(from[plan.reduced.offsets(begin + i).at[0]]);
    });
    if (team.rank() == 0) dst[row] = value / divisor;
  }
};

template <class Op>
struct Totals {
  const float* partial;
  float* dst;
  int64_t pieces;
  double start, divisor;
  Op op;

  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const double value = join_row(team, pieces, start, op,
                                  [&](int64_t i) { return (double)partial[row * pieces + i]; });
    if (team.rank() == 0) dst[row] = (float)(value / divisor);
  }
};

template <class Op, class T>
void reduce_rows(const KernelCall& call, const Reduction& plan, float start, double divisor,
                 const Op& op) {
  const int64_t pieces = pieces_of(plan);
  float* dst = output<float>(call, 0);
  float* partial = pieces > 1 ? workspace<float>(call) : dst;
  const float by = pieces > 1 ? 1.0f : (float)divisor;
  for_rows(call, plan.results * pieces, pieces > 1 ? kPiece : plan.total,
           Pieces<Op, T>{input<T>(call, 0), partial, plan, Divisor(pieces), start, by, op});
  if (pieces > 1)
    for_rows(call, plan.results, pieces, Totals<Op>{partial, dst, pieces, start, divisor, op});
}

template <class Op, class T, int W>
struct ColumnTerm {
  static constexpr int kWidth = W, kSums = 1;
  const T* src;
  Axes<1> kept, reduced;
  Op op;
  struct Own {
    struct Row {
      Pack<T, W> x;
    };
    static constexpr int kAhead = rows_ahead<T, W>(1);
    const T* src;
    const ColumnTerm& term;
    __device__ __forceinline__ Row read(int64_t row) const {
      Row r;
      load(src + term.reduced.offsets(row).at[0], r.x);
      return r;
    }
    __device__ __forceinline__ void add(int64_t, const Row& r, float (&sums)[1][W]) const {
#pragma unroll
      for (int w = 0; w < W; ++w) sums[0][w] = term.op(sums[0][w], r.x[w]);
    }
  };
  __device__ __forceinline__ Own own(int64_t column, int64_t) const {
    return {src + kept.offsets(column).at[0], *this};
  }
};

// Whether neighbouring results read packs of `width` elements that are aligned.
bool in_packs(const Reduction& plan, const void* src, int width) {
  const int last = plan.kept.rank - 1;
  bool result = is_aligned(src) && plan.kept.sizes[last].size() % width == 0;
  for (int i = 0; i < last; ++i) result = result && plan.kept.strides[0][i] % width == 0;
  for (int i = 0; i < plan.reduced.rank; ++i)
    result = result && plan.reduced.strides[0][i] % width == 0;
  return result;
}

template <class Op, class T>
void reduce_columns(const KernelCall& call, const Reduction& plan, float start, double divisor,
                    const Op& op) {
  const T* src = input<T>(call, 0);
  float* dst = output<float>(call, 0);
  const auto finish = [=] __device__(int64_t column, const double* totals) {
    dst[column] = (float)(totals[0] / divisor);
  };
  const auto sum = [&](const auto& term) {
    sum_columns(call, plan.total, plan.results, start, op, term, finish, workspace<float>(call));
  };
  if (in_packs(plan, src, kColumnsEach))
    sum(ColumnTerm<Op, T, kColumnsEach>{src, plan.kept, plan.reduced, op});
  else
    sum(ColumnTerm<Op, T, 1>{src, plan.kept, plan.reduced, op});
}

template <class T, class Op>
void reduce(const KernelCall& call, float start, bool mean, const Op& op) {
  const Reduction plan = plan_reduce(call.inputs[0], attrs<ReduceAttrs>(call).axes);
  const double divisor = mean ? (double)plan.total : 1.0;
  if (plan.results == 0) return;
  if (plan.columns)
    reduce_columns<Op, T>(call, plan, start, divisor, op);
  else
    reduce_rows<Op, T>(call, plan, start, divisor, op);
}

template <class T>
void reduce_as(const KernelCall& call) {
  switch (attrs<ReduceAttrs>(call).op) {
    case ReduceOp::sum: return reduce<T>(call, 0, false, Add{});
    case ReduceOp::mean: return reduce<T>(call, 0, true, Add{});
    case ReduceOp::max: return reduce<T>(call, -INFINITY, false, Extreme{false});
    case ReduceOp::min: return reduce<T>(call, INFINITY, false, Extreme{true});
  }
}

// The result is float32, also of bfloat16.
void run_reduce(const KernelCall& call) {
  with_float(call, [&](auto tag) { reduce_as<typename decltype(tag)::type>(call); });
}

int64_t reduce_workspace(const KernelCall& call) {
  const Reduction plan = plan_reduce(call.inputs[0], attrs<ReduceAttrs>(call).axes);
  if (plan.columns) return columns_workspace(plan.total, plan.results, 1);
  const int64_t pieces = pieces_of(plan);
  return pieces > 1 ? 4 * plan.results * pieces : 0;
}

constexpr Kernel kReduce[] = {{"pieces", needs_float, reduce_workspace, run_reduce}};

}  // namespace

KernelList reduce_kernels(OpKind kind) {
  if (kind == OpKind::reduce) return list(kReduce);
  return {nullptr, 0};
}

}  // namespace fastconv::cuda
