// NumPy's broadcasting of two operands, with axes merged as far as their strides allow.
#pragma once
#include "kernels.h"

namespace fastconv::cpu::FASTCONV_ISA {

// Position of an element of dst in both operands.
struct Offsets {
  int64_t a, b;
};

// Axes of dst from the outside in, at least one; strides count elements and are 0 where an operand
// repeats. The innermost strides are 0 or 1, for operands are dense.
struct BroadcastPlan {
  int rank;
  int64_t dims[kMaxRank], a[kMaxRank], b[kMaxRank];
  int64_t rows;  // all axes but the innermost

  int64_t inner() const { return dims[rank - 1]; }
  int64_t inner_a() const { return a[rank - 1]; }
  int64_t inner_b() const { return b[rank - 1]; }

  Offsets row_offsets(int64_t row) const {
    Offsets at = {0, 0};
    for (int i = rank - 2; i >= 0; --i) {
      const int64_t position = row % dims[i];
      row /= dims[i];
      at.a += position * a[i];
      at.b += position * b[i];
    }
    return at;
  }
};

// Strides of `tensor` aligned with the last axes of a result of `rank`.
static inline void broadcast_strides(const Tensor& tensor, int rank, int64_t* strides) {
  int64_t step = 1;
  for (int i = rank - 1; i >= 0; --i) {
    const int axis = i - (rank - tensor.rank);
    const int64_t size = axis < 0 ? 1 : tensor.dims[axis];
    strides[i] = size == 1 ? 0 : step;
    step *= size;
  }
}

static inline BroadcastPlan plan_broadcast(const Tensor& a, const Tensor& b, const Tensor& dst) {
  int64_t stride_a[kMaxRank], stride_b[kMaxRank];
  broadcast_strides(a, dst.rank, stride_a);
  broadcast_strides(b, dst.rank, stride_b);
  BroadcastPlan plan = {};
  for (int i = 0; i < dst.rank; ++i) {
    const int64_t size = dst.dims[i];
    if (size == 1) continue;
    const int last = plan.rank - 1;
    if (last >= 0 && plan.a[last] == stride_a[i] * size && plan.b[last] == stride_b[i] * size) {
      plan.dims[last] *= size;
    } else {
      plan.dims[++plan.rank - 1] = size;
    }
    plan.a[plan.rank - 1] = stride_a[i];
    plan.b[plan.rank - 1] = stride_b[i];
  }
  if (plan.rank == 0) {
    plan.rank = 1;
    plan.dims[0] = 1;
  }
  plan.rows = 1;
  for (int i = 0; i < plan.rank - 1; ++i) plan.rows *= plan.dims[i];
  return plan;
}

// Calls row(first element of dst, offsets of both operands, count) for the innermost axis of each
// row, on all threads; long rows are cut.
template <class F>
static inline void for_broadcast_rows(const BroadcastPlan& plan, int64_t work, const F& row) {
  constexpr int64_t block = 16384;
  const int64_t inner = plan.inner();
  if (inner == 0 || plan.rows == 0) return;
  const int64_t pieces = ceil_div(inner, block), size = inner < block ? inner : block;
  parallel_blocks(plan.rows * pieces, block / size, work * size, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t start = i % pieces * block;
      const int64_t count = inner - start < block ? inner - start : block;
      Offsets at = plan.row_offsets(i / pieces);
      at.a += start * plan.inner_a();
      at.b += start * plan.inner_b();
      row(i / pieces * inner + start, at, count);
    }
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
