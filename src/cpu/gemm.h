// The matrix product, for gemm and for the convolutions that are one.
#pragma once
#include "finish.h"

namespace fastconv::cpu::FASTCONV_ISA {

// Sums grow by blocks of their depth, and rounding follows from these, wherever they are used: of a
// panel that stays in L2; and of a block of B that a task packs for itself, if A is stored [k,m]:
// blocks of A, whose rows may all fall into few sets of the cache, stay in L2.
constexpr int64_t kPackedDepth = 1024;
constexpr int64_t kColumnDepth = 128;

struct GemmCall {
  GemmAttrs attrs;
  const float *a, *b;
  Finish finish;
  float *c, *workspace;
  float* prepared = nullptr;  // B as gemm_prepare() packed it
};

void gemm(const GemmCall& call);
int64_t gemm_workspace(const GemmAttrs& attrs, bool prepared = false);  // bytes

// For a B that never changes: bytes of what is worth keeping of it, and what writes that.
int64_t gemm_prepared(const GemmAttrs& attrs);
void gemm_prepare(const GemmCall& call);

// gemm_thin.cpp: a B of few columns or rows, for which gemm() calls it.
bool gemm_is_thin(const GemmAttrs& attrs);
int64_t gemm_thin_workspace(const GemmAttrs& attrs);  // bytes
void gemm_thin(const GemmCall& call);

// gemm_bfloat16.cpp
const char* gemm_bfloat16_declines(const KernelCall& call);
void gemm_bfloat16(const KernelCall& call);
int64_t gemm_bfloat16_prepared(const KernelCall& call);
void gemm_bfloat16_prepare(const KernelCall& call);
int64_t gemm_bfloat16_workspace(const KernelCall& call);

}  // namespace fastconv::cpu::FASTCONV_ISA
