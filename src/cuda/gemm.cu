// C[batch,m,n] = A[batch,m,k] B[batch,k,n].
#include "product.h"

namespace fastconv::cuda {
namespace {

ProductSize size_of(const GemmAttrs& a) { return {a.m, a.n, a.k, a.batch}; }

template <bool AlongA, bool AlongB>
void multiply(const KernelCall& call, const GemmAttrs& g) {
  const MatrixOperand<AlongA> a = {input<float>(call, 0), AlongA ? g.k : 1, AlongA ? 1 : g.m,
                                   g.broadcast_a ? 0 : g.m * g.k};
  const MatrixOperand<AlongB> b = {input<float>(call, 1), AlongB ? g.k : 1, AlongB ? 1 : g.n,
                                   g.broadcast_b ? 0 : g.k * g.n};
  run_product(call, a, b, size_of(g), {g.m * g.n, g.n, 0}, g.epilogue);
}

void gemm(const KernelCall& call) {
  const GemmAttrs& g = attrs<GemmAttrs>(call);
  if (g.transpose_a && g.transpose_b)
    multiply<false, true>(call, g);
  else if (g.transpose_a)
    multiply<false, false>(call, g);
  else if (g.transpose_b)
    multiply<true, true>(call, g);
  else
    multiply<true, false>(call, g);
}

int64_t gemm_workspace(const KernelCall& call) {
  return product_workspace(size_of(attrs<GemmAttrs>(call)));
}

constexpr Kernel kGemm[] = {{"tiles", needs_float32, gemm_workspace, gemm}};

}  // namespace

KernelList gemm_kernels(OpKind kind) {
  if (kind == OpKind::gemm) return list(kGemm);
  return {nullptr, 0};
}

}  // namespace fastconv::cuda
