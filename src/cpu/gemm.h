// The matrix product, for gemm and for the convolutions that are one.
#pragma once
#include "kernels.h"

namespace fastconv::cpu::FASTCONV_ISA {

// The operands of GemmAttrs; `bias` may be null.
struct GemmCall {
  GemmAttrs attrs;
  const float *a, *b, *bias;
  float *c, *workspace;
};

void gemm(const GemmCall& call);
int64_t gemm_workspace(const GemmAttrs& attrs);  // bytes

}  // namespace fastconv::cpu::FASTCONV_ISA
