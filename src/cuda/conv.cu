// Which kernel computes a convolution.
#include "conv.h"
#include "conv_tensor.h"
#include "product.h"

namespace fastconv::cuda {
namespace {

// A convolution is a matrix product where every output reads pixels of its own: windows of one
// pixel that step by one, or a single window that covers the whole input.
bool pointwise(const WindowGeometry& g) {
  for (int a = 0; a < 3; ++a)
    if (g.kernel[a] != 1 || g.stride[a] != 1 || g.pad_before[a] != 0 || g.input[a] != g.output[a])
      return false;
  return true;
}

bool covers_input(const WindowGeometry& g) {
  for (int a = 0; a < 3; ++a)
    if (g.output[a] != 1 || g.pad_before[a] != 0 || g.kernel[a] != g.input[a] ||
        (g.dilation[a] != 1 && g.kernel[a] != 1))
      return false;
  return true;
}

const char* product_declines(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  if (const char* reason = needs_float32(call)) return reason;
  if (g.groups != 1) return "groups > 1";
  if (!pointwise(g) && !covers_input(g)) return "windows overlap, leave gaps or reach padding";
  return nullptr;
}

// The sizes of each direction, with src as [rows, depth] and weights as [depth, K].
ProductSize forward_size(const WindowGeometry& g) {
  return {output_pixels(g), g.out_channels, g.in_channels * window_taps(g), 1};
}
ProductSize data_size(const WindowGeometry& g) {
  const ProductSize f = forward_size(g);
  return {f.m, f.k, f.n, 1};
}
ProductSize weights_size(const WindowGeometry& g) {
  const ProductSize f = forward_size(g);
  return {f.k, f.n, f.m, 1};
}

void forward_product(const KernelCall& call) {
  const ProductSize p = forward_size(geometry(call));
  run_product(call, MatrixOperand<true>{input<float>(call, 0), p.k, 1, 0},
              MatrixOperand<false>{input<float>(call, 1), 1, p.n, 0}, p, {0, p.n, 0},
              attrs<ConvAttrs>(call).epilogue);
}
void backward_data_product(const KernelCall& call) {
  const ProductSize p = data_size(geometry(call));
  run_product(call, MatrixOperand<true>{input<float>(call, 0), p.k, 1, 0},
              MatrixOperand<true>{input<float>(call, 1), p.k, 1, 0}, p, {0, p.n, 0},
              attrs<ConvAttrs>(call).epilogue);
}
void backward_weights_product(const KernelCall& call) {
  const ProductSize p = weights_size(geometry(call));
  run_product(call, MatrixOperand<false>{input<float>(call, 0), 1, p.m, 0},
              MatrixOperand<false>{input<float>(call, 1), 1, p.n, 0}, p, {0, p.n, 0}, Epilogue{});
}

template <ProductSize (*size)(const WindowGeometry&)>
int64_t workspace_of(const KernelCall& call) {
  return product_workspace(call, size(geometry(call)));
}
void forward_tensor(const KernelCall& call) {
  tensor_forward(call, geometry(call), attrs<ConvAttrs>(call).epilogue);
}
void backward_data_tensor(const KernelCall& call) {
  tensor_backward_data(call, geometry(call), attrs<ConvAttrs>(call).epilogue);
}
void backward_weights_tensor(const KernelCall& call) {
  tensor_backward_weights(call, geometry(call));
}
int64_t forward_tensor_workspace(const KernelCall& call) {
  return tensor_forward_workspace(call, geometry(call));
}
int64_t backward_data_tensor_workspace(const KernelCall& call) {
  return tensor_backward_data_workspace(call, geometry(call));
}
int64_t backward_weights_tensor_workspace(const KernelCall& call) {
  return tensor_backward_weights_workspace(call, geometry(call));
}

// What is like `forward_tensor`, with the statistics of dst.
int64_t tensor_statistics_workspace(const KernelCall& call) {
  return statistics_workspace(call, tensor_forward_part(call, geometry(call)),
                              forward_tensor_workspace(call));
}
void tensor_statistics(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const int64_t part = tensor_forward_part(call, g), bytes = forward_tensor_workspace(call);
  tensor_forward(call, g, attrs<ConvAttrs>(call).epilogue, moments_of_parts(call, part, bytes));
  join_statistics(call, part, bytes);
}

using Declines = const char* (*)(const KernelCall&);

// No kernel pools what it makes.
template <Declines declines>
const char* whole(const KernelCall& call) {
  if (attrs<ConvAttrs>(call).statistics) return "statistics";
  return attrs<ConvAttrs>(call).max_pool ? "pooling" : declines(call);
}
template <Declines declines>
const char* with_statistics(const KernelCall& call) {
  return attrs<ConvAttrs>(call).statistics ? declines(call) : "no statistics are wanted";
}

// The first of each list need the instructions of hopper.h.
constexpr int kForwardHopper = 2;
constexpr Kernel kForward[] = {
    {"statistics_hopper", with_statistics<conv_hopper_declines>, conv_hopper_statistics_workspace,
     conv_hopper_statistics},
    {"hopper", whole<conv_hopper_declines>, conv_hopper_workspace, conv_hopper},
    {"statistics_tensor_cores", with_statistics<conv_tensor_declines>, tensor_statistics_workspace,
     tensor_statistics},
    {"depthwise", whole<conv_depthwise_declines>, nullptr, conv_depthwise},
    {"direct", whole<conv_direct_declines>, nullptr, conv_direct},
    {"tensor_cores", whole<conv_tensor_declines>, forward_tensor_workspace, forward_tensor},
    {"gemm", whole<product_declines>, workspace_of<forward_size>, forward_product},
    {"implicit_gemm", whole<conv_implicit_declines>, conv_implicit_workspace, conv_implicit},
};
constexpr Kernel kBackwardData[] = {
    {"hopper", conv_backward_data_hopper_declines, conv_backward_data_hopper_workspace,
     conv_backward_data_hopper},
    {"depthwise", conv_depthwise_declines, nullptr, conv_backward_data_depthwise},
    {"direct", conv_direct_declines, nullptr, conv_backward_data_direct},
    {"tensor_cores", conv_backward_data_tensor_declines, backward_data_tensor_workspace,
     backward_data_tensor},
    {"gemm", product_declines, workspace_of<data_size>, backward_data_product},
    {"implicit_gemm", conv_implicit_declines, conv_backward_data_implicit_workspace,
     conv_backward_data_implicit},
};
constexpr Kernel kBackwardWeights[] = {
    {"hopper", conv_backward_weights_hopper_declines, conv_backward_weights_hopper_workspace,
     conv_backward_weights_hopper},
    {"depthwise", conv_depthwise_declines, conv_backward_weights_depthwise_workspace,
     conv_backward_weights_depthwise},
    {"direct", conv_direct_declines, conv_backward_weights_direct_workspace,
     conv_backward_weights_direct},
    {"tensor_cores", conv_tensor_declines, backward_weights_tensor_workspace,
     backward_weights_tensor},
    {"gemm", product_declines, workspace_of<weights_size>, backward_weights_product},
    {"implicit_gemm", conv_implicit_declines, conv_backward_weights_implicit_workspace,
     conv_backward_weights_implicit},
};

// Those with a choice of tiles.
struct Tiled {
  OpKind kind;
  const char* kernel;
  bool (*tiles)(const KernelCall&);
};
template <bool (*tiles)(const KernelCall&, const WindowGeometry&)>
bool tensor_tiles_of(const KernelCall& call) {
  return tiles(call, geometry(call));
}
template <ProductSize (*size)(const WindowGeometry&)>
bool product_tiles_of(const KernelCall& call) {
  return product_tiles(call, size(geometry(call)));
}
constexpr Tiled kTiled[] = {
    {OpKind::conv, "statistics_hopper", conv_hopper_tiles},
    {OpKind::conv, "hopper", conv_hopper_tiles},
    {OpKind::conv, "statistics_tensor_cores", tensor_tiles_of<tensor_forward_tiles>},
    {OpKind::conv, "tensor_cores", tensor_tiles_of<tensor_forward_tiles>},
    {OpKind::conv, "gemm", product_tiles_of<forward_size>},
    {OpKind::conv, "implicit_gemm", conv_implicit_tiles},
    {OpKind::conv_backward_data, "hopper", conv_backward_data_hopper_tiles},
    {OpKind::conv_backward_data, "tensor_cores", tensor_tiles_of<tensor_backward_data_tiles>},
    {OpKind::conv_backward_data, "gemm", product_tiles_of<data_size>},
    {OpKind::conv_backward_data, "implicit_gemm", conv_backward_data_implicit_tiles},
    {OpKind::conv_backward_weights, "hopper", conv_backward_weights_hopper_tiles},
    {OpKind::conv_backward_weights, "tensor_cores", tensor_tiles_of<tensor_backward_weights_tiles>},
    {OpKind::conv_backward_weights, "gemm", product_tiles_of<weights_size>},
    {OpKind::conv_backward_weights, "implicit_gemm", conv_backward_weights_implicit_tiles},
};

}  // namespace

bool conv_tiles(OpKind kind, const char* kernel, const KernelCall& call) {
  for (const Tiled& one : kTiled)
    if (one.kind == kind && __builtin_strcmp(one.kernel, kernel) == 0) return one.tiles(call);
  return false;
}

KernelList conv_kernels(OpKind kind, bool hopper) {
  const int first = hopper ? 0 : 1;
  switch (kind) {
    case OpKind::conv: return list(kForward, hopper ? 0 : kForwardHopper);
    case OpKind::conv_backward_data: return list(kBackwardData, first);
    case OpKind::conv_backward_weights: return list(kBackwardWeights, first);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cuda
