// The matrix product of bfloat16: a convolution with windows of one pixel, or one of its gradients,
// of a line with a pixel for each row.
#include "conv.h"
#include "gemm.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// C[m,n] is A B, with src and weights; A B^T, with ddst and weights; A^T B, with src and ddst.
struct AsConv {
  ConvAttrs attrs;
  KernelCall call;
  void (*run)(const KernelCall&);
  int64_t (*workspace)(const KernelCall&);
};

WindowGeometry line(int64_t pixels, int64_t C, int64_t K) {
  return {1,         C,         K,         1,        {1, 1, pixels}, {1, 1, 1}, {1, 1, pixels},
          {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}};
}

template <class Use>
auto as_conv(const KernelCall& call, const Use& use) {
  const GemmAttrs& a = attrs<GemmAttrs>(call);
  AsConv c = {{}, call, conv_implicit, conv_implicit_workspace};
  c.attrs.geometry = line(a.m, a.k, a.n);
  if (a.transpose_a) {
    c.attrs.geometry = line(a.k, a.m, a.n);
    c.run = conv_backward_weights_implicit;
    c.workspace = conv_backward_weights_implicit_workspace;
  } else if (a.transpose_b) {
    c.attrs.geometry = line(a.m, a.n, a.k);
    c.run = conv_backward_data_implicit;
    c.workspace = conv_backward_data_implicit_workspace;
  }
  c.attrs.epilogue = a.epilogue;
  c.call.attrs = &c.attrs;
  return use(c);
}

}  // namespace

const char* gemm_bfloat16_declines(const KernelCall& call) {
  constexpr int64_t kLeastRows = 64;
  const GemmAttrs& a = attrs<GemmAttrs>(call);
  if (!is_bfloat16(call)) return "only bfloat16";
  if (a.batch != 1) return "a batch";
  if (a.m == 0 || a.n == 0 || a.k == 0) return "nothing to multiply";
  if (a.transpose_a && a.transpose_b) return "both operands are transposed";
  if (a.transpose_a != (call.inputs[1].dtype == Dtype::bfloat16))
    return "only products with weights, and their gradients";
  if (a.transpose_a && call.n_inputs > 2) return "an epilogue of a gradient of weights";
  // Reading weights, or writing their gradient, then takes longer than the products; but weights
  // that are kept in pairs are half as long.
  const bool few_rows = (a.transpose_a ? a.k : a.m) < kLeastRows;
  if (few_rows && gemm_bfloat16_prepared(call) == 0) return "few rows";
  return nullptr;
}

void gemm_bfloat16(const KernelCall& call) {
  as_conv(call, [](const AsConv& c) { c.run(c.call); });
}

int64_t gemm_bfloat16_prepared(const KernelCall& call) {
  const GemmAttrs& a = attrs<GemmAttrs>(call);
  if (a.transpose_a || a.transpose_b) return 0;
  return as_conv(call, [](const AsConv& c) { return conv_implicit_prepared(c.call); });
}

void gemm_bfloat16_prepare(const KernelCall& call) {
  as_conv(call, [](const AsConv& c) { conv_implicit_prepare(c.call); });
}

int64_t gemm_bfloat16_workspace(const KernelCall& call) {
  return as_conv(call, [](const AsConv& c) { return c.workspace(c.call); });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
