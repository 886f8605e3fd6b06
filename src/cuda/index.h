// Positions of elements in arrays: division by sizes that are fixed for a launch, and strides.
#pragma once
#include "device.h"
#include "fastconv/types.h"

namespace fastconv::cuda {

// Divides non-negative numbers by one size > 0, with multiplications (Granlund and Montgomery 1994,
// "Division by invariant integers using multiplication"): a division of 64 bits is a call of a
// function. Most numbers fit 31 bits, for which one multiplication is enough.
class Divisor {
 public:
  Divisor() = default;
  __host__ explicit Divisor(int64_t size) : size_(size) {
    if (size < 1) return;  // of an empty array, which nobody divides by
    while ((uint64_t{1} << shift_) < (uint64_t)size) ++shift_;
    const uint64_t over = (uint64_t{1} << shift_) - (uint64_t)size;
    wide_ = (uint64_t)(((unsigned __int128)over << 64) / (uint64_t)size) + 1;
    narrow_ = (uint32_t)((((unsigned __int128)over << 32) / (uint64_t)size) + 1);
  }
  __host__ __device__ int64_t size() const { return size_; }
  __device__ __forceinline__ int64_t operator()(int64_t n) const {
    if (n <= INT32_MAX && size_ <= INT32_MAX)
      return (int64_t)((((uint64_t)narrow_ * (uint64_t)n >> 32) + (uint64_t)n) >> shift_);
    return (int64_t)((__umul64hi(wide_, (uint64_t)n) + (uint64_t)n) >> shift_);
  }
  // The same where both fit 31 bits.
  __device__ __forceinline__ int32_t narrow(int32_t n) const {
    const uint32_t product = (uint32_t)((uint64_t)narrow_ * (uint32_t)n >> 32);
    return (int32_t)((product + (uint32_t)n) >> shift_);
  }

 private:
  int64_t size_ = 1;
  uint64_t wide_ = 1;
  uint32_t narrow_ = 1, shift_ = 0;
};

// Axes of an array from the outside in, and the strides of N operands along them, in elements;
// neighbouring axes are merged where all strides allow it.
template <int N>
struct Axes {
  int rank = 0;
  Divisor sizes[kMaxRank];
  int64_t strides[N][kMaxRank] = {};

  struct Offsets {
    int64_t at[N];
  };

  __host__ void append(int64_t size, const int64_t (&steps)[N]) {
    if (size == 1) return;
    bool merges = rank > 0;
    for (int k = 0; k < N; ++k) merges = merges && strides[k][rank - 1] == steps[k] * size;
    const int axis = merges ? rank - 1 : rank++;
    sizes[axis] = Divisor(merges ? sizes[axis].size() * size : size);
    for (int k = 0; k < N; ++k) strides[k][axis] = steps[k];
  }

  __host__ int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= sizes[i].size();
    return n;
  }

  // Whether operand k is read in order, one element after the other.
  __host__ bool dense(int k) const { return rank == 0 || (rank == 1 && strides[k][0] == 1); }

  // Of element `index` in each operand.
  __device__ __forceinline__ Offsets offsets(int64_t index) const {
    Offsets result = {};
    for (int i = rank - 1; i >= 0; --i) {
      const int64_t rest = i > 0 ? sizes[i](index) : 0;
      const int64_t position = index - rest * sizes[i].size();
      for (int k = 0; k < N; ++k) result.at[k] += position * strides[k][i];
      index = rest;
    }
    return result;
  }
};

static inline void dense_strides(const Tensor& tensor, int64_t* strides) {
  int64_t step = 1;
  for (int i = tensor.rank - 1; i >= 0; --i) {
    strides[i] = step;
    step *= tensor.dims[i];
  }
}

// Strides of `tensor` aligned with the last axes of a result of `rank`; 0 where it repeats.
static inline void broadcast_strides(const Tensor& tensor, int rank, int64_t* strides) {
  int64_t step = 1;
  for (int i = rank - 1; i >= 0; --i) {
    const int axis = i - (rank - tensor.rank);
    const int64_t size = axis < 0 ? 1 : tensor.dims[axis];
    strides[i] = size == 1 ? 0 : step;
    step *= size;
  }
}

}  // namespace fastconv::cuda
