// Sum, mean, maximum and minimum over any axes. Where the last axis stays, results stand side by
// side (columns.h); where it goes, they are rows, long ones of which are cut into pieces. The
// pieces are cut by the problem's size alone and joined in float64, in their order.
#include "columns.h"
#include "rows.h"

namespace fastconv::cuda {
namespace {

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

template <class Op>
struct Pieces {
  const float* src;
  float* dst;
  Reduction plan;
  Divisor pieces;
  float start, divisor;

  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const int64_t result = pieces(row), begin = (row - result * pieces.size()) * kPiece;
    const int64_t count =
        pieces.size() == 1 || begin + kPiece > plan.total ? plan.total - begin : kPiece;
    const float* from = src + plan.kept.offsets(result).at[0];
    const float value = join_row(team, count, start, Op{}, [&](int64_t i) {
      return from[plan.reduced.offsets(begin + i).at[0]];
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

  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const double value = join_row(team, pieces, start, Op{},
                                  [&](int64_t i) { return (double)partial[row * pieces + i]; });
    if (team.rank() == 0) dst[row] = (float)(value / divisor);
  }
};

template <class Op>
void reduce_rows(const KernelCall& call, const Reduction& plan, float start, double divisor) {
  const int64_t pieces = pieces_of(plan);
  float* dst = output<float>(call, 0);
  float* partial = pieces > 1 ? workspace<float>(call) : dst;
  const float by = pieces > 1 ? 1.0f : (float)divisor;
  for_rows(call, plan.results * pieces, pieces > 1 ? kPiece : plan.total,
           Pieces<Op>{input<float>(call, 0), partial, plan, Divisor(pieces), start, by});
  if (pieces > 1)
    for_rows(call, plan.results, pieces, Totals<Op>{partial, dst, pieces, start, divisor});
}

template <class Op>
void reduce_columns(const KernelCall& call, const Reduction& plan, float start, double divisor) {
  const float* src = input<float>(call, 0);
  float* dst = output<float>(call, 0);
  join_columns<1, Op>(
      call, plan.total, plan.results, start,
      [=] __device__(int64_t row, int64_t column, float* values) {
        const int64_t at = plan.kept.offsets(column).at[0] + plan.reduced.offsets(row).at[0];
        values[0] = Op{}(values[0], src[at]);
      },
      [=] __device__(int64_t column, const double* totals) {
        dst[column] = (float)(totals[0] / divisor);
      },
      workspace<float>(call));
}

template <class Op>
void reduce(const KernelCall& call, float start, bool mean) {
  const Reduction plan = plan_reduce(call.inputs[0], attrs<ReduceAttrs>(call).axes);
  const double divisor = mean ? (double)plan.total : 1.0;
  if (plan.results == 0) return;
  if (plan.columns)
    reduce_columns<Op>(call, plan, start, divisor);
  else
    reduce_rows<Op>(call, plan, start, divisor);
}

void run_reduce(const KernelCall& call) {
  switch (attrs<ReduceAttrs>(call).op) {
    case ReduceOp::sum: return reduce<Add>(call, 0, false);
    case ReduceOp::mean: return reduce<Add>(call, 0, true);
    case ReduceOp::max: return reduce<Larger>(call, -INFINITY, false);
    case ReduceOp::min: return reduce<Smaller>(call, INFINITY, false);
  }
}

int64_t reduce_workspace(const KernelCall& call) {
  const Reduction plan = plan_reduce(call.inputs[0], attrs<ReduceAttrs>(call).axes);
  if (plan.columns) return columns_workspace(plan.total, plan.results, 1);
  const int64_t pieces = pieces_of(plan);
  return pieces > 1 ? 4 * plan.results * pieces : 0;
}

constexpr Kernel kReduce[] = {{"pieces", needs_float32, reduce_workspace, run_reduce}};

}  // namespace

KernelList reduce_kernels(OpKind kind) {
  if (kind == OpKind::reduce) return list(kReduce);
  return {nullptr, 0};
}

}  // namespace fastconv::cuda
