// What the directions of batch normalisation share: src [M, C], gamma, beta, mean, rstd [C].
#pragma once
#include "activation.h"
#include "columns.h"
#include "map.h"

namespace fastconv::cuda {

struct Matrix {
  int64_t rows, channels;
  Divisor columns;
  __device__ __forceinline__ int64_t channel(int64_t i) const { return i - columns(i) * channels; }
};
static inline Matrix matrix_of(const Tensor& src) {
  const int64_t channels = src.dims[src.rank - 1];
  return {channels > 0 ? elements(src) / channels : 0, channels, Divisor(channels)};
}

// (x - mean) gamma rstd + beta. Subtracting first keeps the digits of a channel whose mean is
// large, and gives beta where x is the mean. Both directions compute it here, so that they agree to
// the bit.
__device__ __forceinline__ float affine(float x, float mean, float scale, float beta) {
  return __fadd_rn(__fmul_rn(x - mean, scale), beta);
}

}  // namespace fastconv::cuda
