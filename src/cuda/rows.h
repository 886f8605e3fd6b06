// Work on rows of the last axis, in which sums and maxima over a row appear: a short row is one
// thread's, a long one a block's.
#pragma once
#include "kernels.h"

namespace fastconv::cuda {

// The threads of a row. Those of Alone are one thread, so that joining is nothing.
struct Alone {
  static constexpr int size = 1;
  __device__ int rank() const { return 0; }
  template <class T, class Op>
  __device__ T join(T value, const Op&) const {
    return value;
  }
};

template <int Threads>
struct Together {
  static constexpr int size = Threads;
  double* partial;
  __device__ int rank() const { return (int)threadIdx.x; }
  template <class T, class Op>
  __device__ T join(T value, const Op& op) const {
    return join_block<Threads>(value, op, reinterpret_cast<T*>(partial));
  }
};

template <class Team, class T, class Op, class Term>
__device__ __forceinline__ T join_row(const Team& team, int64_t length, T start, const Op& op,
                                      const Term& term) {
  T value = start;
  for (int64_t i = team.rank(); i < length; i += Team::size) value = op(value, term(i));
  return team.join(value, op);
}
template <class Team, class Term>
__device__ __forceinline__ float sum_row(const Team& team, int64_t length, const Term& term) {
  return join_row(team, length, 0.0f, Add{}, term);
}
template <class Team, class Term>
__device__ __forceinline__ float max_row(const Team& team, int64_t length, const Term& term) {
  return join_row(team, length, -INFINITY, Larger{}, term);
}

// body(team, row)
template <class Body>
struct RowAThread {
  static constexpr int kThreads = 128;
  int64_t rows;
  Body body;
  __device__ void operator()() const {
    const int64_t row = thread_index();
    if (row < rows) body(Alone{}, row);
  }
};

template <class Body, int Threads>
struct RowABlock {
  static constexpr int kThreads = Threads;
  struct Shared {
    double partial[kWarp];
  };
  Body body;
  __device__ void operator()(Shared& shared) const {
    body(Together<Threads>{shared.partial}, (int64_t)blockIdx.x);
  }
};

template <class Body>
void for_rows(const KernelCall& call, int64_t rows, int64_t length, const Body& body) {
  if (length <= 32)
    launch(call, RowAThread<Body>{rows, body}, ceil_div(rows, RowAThread<Body>::kThreads));
  else if (length <= 1024)
    launch(call, RowABlock<Body, kWarp>{body}, rows);
  else
    launch(call, RowABlock<Body, 256>{body}, rows);
}

static inline int64_t last_size(const Tensor& tensor) {
  return tensor.rank == 0 ? 1 : tensor.dims[tensor.rank - 1];
}
static inline int64_t rows_of(const Tensor& tensor) {
  const int64_t length = last_size(tensor);
  return length > 0 ? elements(tensor) / length : 0;
}

}  // namespace fastconv::cuda
