// C[batch,m,n] = A[batch,m,k] B[batch,k,n].
#include "conv_tensor.h"
#include "product.h"
#include "product_hopper.h"

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
  return product_workspace(call, size_of(attrs<GemmAttrs>(call)));
}

// With the rows of A as pixels, A^T B is a gradient of weights.
HopperProduct hopper_product_of(const KernelCall& call) {
  const GemmAttrs& g = attrs<GemmAttrs>(call);
  HopperProduct p = {};
  p.kind = g.transpose_a   ? ProductKind::taps
           : g.transpose_b ? ProductKind::turned
                           : ProductKind::rows;
  p.dtype = call.inputs[0].dtype;
  p.tf32 = g.tf32 && !is_half(call);
  p.left = call.inputs[0].data;
  p.right = call.inputs[1].data;
  p.rows = g.transpose_a ? g.k : g.m;
  p.depth = g.transpose_a ? g.m : g.k;
  p.columns = g.n;
  p.taps[0] = p.taps[1] = p.matrices.count = 1;
  return p;
}

const char* gemm_hopper_declines(const KernelCall& call) {
  const GemmAttrs& g = attrs<GemmAttrs>(call);
  if (g.batch != 1) return "a batch";
  if (g.transpose_a && g.transpose_b) return "both operands transposed";
  return hopper_product_declines(call, hopper_product_of(call), g.epilogue);
}

int64_t gemm_hopper_workspace(const KernelCall& call) {
  return hopper_product_workspace(call, hopper_product_of(call));
}

void gemm_hopper(const KernelCall& call) {
  const Epilogue& epilogue = attrs<GemmAttrs>(call).epilogue;
  run_hopper_product(call, hopper_product_of(call), epilogue);
  if (!attrs<GemmAttrs>(call).transpose_a) finish_hopper_product(call, epilogue);
}

// On tensor cores a product is a convolution with windows of one pixel, or one of its gradients, of
// a line with a pixel for each row.
WindowGeometry line(int64_t pixels, int64_t C, int64_t K) {
  return {1,         C,         K,         1,        {1, 1, pixels}, {1, 1, 1}, {1, 1, pixels},
          {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}};
}
WindowGeometry line_of(const GemmAttrs& a) {
  if (a.transpose_a) return line(a.k, a.m, a.n);
  return a.transpose_b ? line(a.m, a.n, a.k) : line(a.m, a.k, a.n);
}

const char* tensor_declines(const KernelCall& call) {
  const GemmAttrs& a = attrs<GemmAttrs>(call);
  if (const char* reason = tensor_types_decline(call, a.tf32)) return reason;
  if (a.batch != 1) return "a batch";
  if (a.transpose_a && a.transpose_b) return "both operands are transposed";
  if (a.transpose_a && (call.n_inputs > 2 || a.epilogue.activation != Activation::identity))
    return "an epilogue of a gradient of weights";
  if (a.m == 0 || a.n == 0 || a.k == 0) return "nothing to multiply";
  return tensor_sizes_decline(line_of(a));
}

void gemm_tensor(const KernelCall& call) {
  const GemmAttrs& a = attrs<GemmAttrs>(call);
  const WindowGeometry g = line_of(a);
  if (a.transpose_a)
    tensor_backward_weights(call, g);
  else if (a.transpose_b)
    tensor_backward_data(call, g, a.epilogue);
  else
    tensor_forward(call, g, a.epilogue);
}

int64_t gemm_tensor_workspace(const KernelCall& call) {
  const GemmAttrs& a = attrs<GemmAttrs>(call);
  const WindowGeometry g = line_of(a);
  if (a.transpose_a) return tensor_backward_weights_workspace(call, g);
  return a.transpose_b ? tensor_backward_data_workspace(call, g)
                       : tensor_forward_workspace(call, g);
}

bool gemm_tensor_tiles(const KernelCall& call) {
  const GemmAttrs& a = attrs<GemmAttrs>(call);
  const WindowGeometry g = line_of(a);
  if (a.transpose_a) return tensor_backward_weights_tiles(call, g);
  return a.transpose_b ? tensor_backward_data_tiles(call, g) : tensor_forward_tiles(call, g);
}

// The first needs the instructions of hopper.h.
constexpr Kernel kGemm[] = {
    {"hopper", gemm_hopper_declines, gemm_hopper_workspace, gemm_hopper},
    {"tensor_cores", tensor_declines, gemm_tensor_workspace, gemm_tensor},
    {"tiles", needs_float32, gemm_workspace, gemm},
};

}  // namespace

bool gemm_tiles(const char* kernel, const KernelCall& call) {
  if (__builtin_strcmp(kernel, "hopper") == 0)
    return hopper_product_tiles(call, hopper_product_of(call));
  if (__builtin_strcmp(kernel, "tensor_cores") == 0) return gemm_tensor_tiles(call);
  if (__builtin_strcmp(kernel, "tiles") == 0)
    return product_tiles(call, size_of(attrs<GemmAttrs>(call)));
  return false;
}

KernelList gemm_kernels(OpKind kind, bool hopper) {
  if (kind == OpKind::gemm) return list(kGemm, hopper ? 0 : 1);
  return {nullptr, 0};
}

}  // namespace fastconv::cuda
