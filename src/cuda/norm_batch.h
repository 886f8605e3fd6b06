// What the directions of batch normalisation share: src [M, C], gamma, beta, mean, rstd [C]. The
// parameters of a thread's channels are in registers while it goes down their rows.
#pragma once
#include "activation.h"
#include "columns.h"

namespace fastconv::cuda {

struct Matrix {
  int64_t rows, channels;
};
static inline Matrix matrix_of(const Tensor& src) {
  const int64_t channels = src.dims[src.rank - 1];
  return {channels > 0 ? elements(src) / channels : 0, channels};
}

// (x - mean) gamma rstd + beta. Subtracting first keeps the digits of a channel whose mean is
// large, and gives beta where x is the mean. Both directions compute it here, so that they agree to
// the bit.
__device__ __forceinline__ float affine(float x, float mean, float scale, float beta) {
  return __fadd_rn(__fmul_rn(x - mean, scale), beta);
}

// Whether all that a thread reads and writes is aligned.
static inline bool in_packs(const KernelCall& call, int64_t channels) {
  bool aligned = channels % kColumnsEach == 0 && is_aligned(call.workspace);
  for (int i = 0; i < call.n_inputs; ++i) aligned = aligned && is_aligned(call.inputs[i].data);
  for (int i = 0; i < call.n_outputs; ++i) aligned = aligned && is_aligned(call.outputs[i].data);
  return aligned;
}

// Calls f with the element type, the channels of a thread, and whether any activation may come:
// those of more than a few instructions stand in kernels of one channel a thread alone.
template <class F>
static inline void with_shape(const KernelCall& call, const F& f) {
  const Activation activation = attrs<BatchNormAttrs>(call).epilogue.activation;
  with_float(call, [&](auto tag) {
    if (in_packs(call, matrix_of(call.inputs[0]).channels) && is_comparison(activation))
      f(tag, Constant<kColumnsEach>{}, Constant<false>{});
    else
      f(tag, Constant<1>{}, Constant<true>{});
  });
}

}  // namespace fastconv::cuda
