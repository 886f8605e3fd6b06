// The matrix product, for gemm and for the convolutions that are one.
#pragma once
#include "finish.h"

namespace fastconv::cpu::FASTCONV_ISA {

struct GemmCall {
  GemmAttrs attrs;
  const float *a, *b;
  Finish finish;
  float *c, *workspace;
};

void gemm(const GemmCall& call);
int64_t gemm_workspace(const GemmAttrs& attrs);  // bytes

// gemm_bfloat16.cpp
const char* gemm_bfloat16_declines(const KernelCall& call);
void gemm_bfloat16(const KernelCall& call);
int64_t gemm_bfloat16_workspace(const KernelCall& call);

}  // namespace fastconv::cpu::FASTCONV_ISA
