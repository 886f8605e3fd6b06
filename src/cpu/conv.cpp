// Which kernel computes a convolution.
#include "conv.h"

#include "gemm.h"

namespace fastconv::cpu::FASTCONV_ISA {
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

// `lanes_decline` is that of the kernel that has images side by side: faster in float32 than pairs
// of few channels.
template <const char* (*lanes_decline)(const KernelCall&)>
const char* implicit_declines(const KernelCall& call) {
  if (const char* reason = conv_needs_float(call)) return reason;
  if (window_taps(geometry(call)) > kMostRuns) return "too large a window";
  if (!is_bfloat16(call)) return nullptr;
  Tensor floats = call.inputs[0];
  floats.dtype = Dtype::float32;
  KernelCall wide = call;
  wide.inputs = &floats;
  return lanes_decline(wide) ? nullptr : "faster in float32";
}

// The sizes of the product of a direction, with src as [rows, depth] and weights as [depth, K].
GemmAttrs forward_attrs(const WindowGeometry& g, const Epilogue& epilogue) {
  const int64_t rows = g.batch * g.output[0] * g.output[1] * g.output[2];
  return {1, rows, g.out_channels, g.in_channels * window_taps(g), 0, 0, 0, 0, epilogue, 0};
}
GemmAttrs backward_data_attrs(const WindowGeometry& g, const Epilogue& epilogue) {
  const GemmAttrs f = forward_attrs(g, {});
  return {1, f.m, f.k, f.n, 0, 1, 0, 0, epilogue, 0};
}
GemmAttrs backward_weights_attrs(const WindowGeometry& g) {
  const GemmAttrs f = forward_attrs(g, {});
  return {1, f.k, f.n, f.m, 1, 0, 0, 0, {}, 0};
}

void run_product(const KernelCall& call, const GemmAttrs& a) {
  gemm({a, input<float>(call, 0), input<float>(call, 1), finish_of(call, a.epilogue),
        output<float>(call, 0), static_cast<float*>(call.workspace),
        static_cast<float*>(call.prepared)});
}

GemmAttrs forward_attrs(const KernelCall& call) {
  return forward_attrs(geometry(call), attrs<ConvAttrs>(call).epilogue);
}
GemmAttrs backward_data_attrs(const KernelCall& call) {
  return backward_data_attrs(geometry(call), attrs<ConvAttrs>(call).epilogue);
}

void forward_product(const KernelCall& call) { run_product(call, forward_attrs(call)); }
void backward_data_product(const KernelCall& call) { run_product(call, backward_data_attrs(call)); }
void backward_weights_product(const KernelCall& call) {
  run_product(call, backward_weights_attrs(geometry(call)));
}

int64_t forward_product_prepared(const KernelCall& call) {
  return is_constant(call, 1) ? gemm_prepared(forward_attrs(call)) : 0;
}
void forward_product_prepare(const KernelCall& call) {
  gemm_prepare({forward_attrs(call), nullptr, input<float>(call, 1), Finish{}, nullptr, nullptr,
                static_cast<float*>(call.prepared)});
}
int64_t forward_product_workspace(const KernelCall& call) {
  return gemm_workspace(forward_attrs(call), forward_product_prepared(call) > 0);
}
int64_t backward_data_product_workspace(const KernelCall& call) {
  return gemm_workspace(backward_data_attrs(call));
}
int64_t backward_weights_product_workspace(const KernelCall& call) {
  return gemm_workspace(backward_weights_attrs(geometry(call)));
}

using Declines = const char* (*)(const KernelCall&);

// Batch normalisation takes its statistics in a pass of its own, which costs less here.
template <Declines declines>
const char* alone(const KernelCall& call) {
  return attrs<ConvAttrs>(call).statistics ? "statistics" : declines(call);
}

// Of a kernel that cannot pool what it makes.
template <Declines declines>
const char* whole(const KernelCall& call) {
  return attrs<ConvAttrs>(call).max_pool ? "pooling" : alone<declines>(call);
}

// Of one that can: it does so where none of those before it would make the whole result.
template <Declines declines>
const char* pooled(const KernelCall& call) {
  constexpr Declines kBefore[] = {product_declines, conv_depthwise_declines, conv_grouped_declines,
                                  conv_winograd_declines};
  if (attrs<ConvAttrs>(call).max_pool)
    for (const Declines before : kBefore)
      if (!before(call)) return "faster with another kernel and pooling of its own";
  return alone<declines>(call);
}

constexpr Kernel kForward[] = {
    {"gemm", whole<product_declines>, forward_product_workspace, forward_product,
     forward_product_prepared, forward_product_prepare},
    {"depthwise", whole<conv_depthwise_declines>, conv_depthwise_workspace, conv_depthwise},
    {"grouped_lanes", whole<conv_grouped_declines>, conv_grouped_workspace, conv_grouped},
    {"winograd", whole<conv_winograd_declines>, conv_winograd_workspace, conv_winograd,
     conv_winograd_prepared, conv_winograd_prepare},
    {"winograd_lanes", pooled<conv_winograd_lanes_declines>, conv_winograd_lanes_workspace,
     conv_winograd_lanes},
    {"batch_lanes", pooled<conv_batch_lanes_declines>, nullptr, conv_batch_lanes},
    {"implicit_gemm", whole<implicit_declines<conv_batch_lanes_declines>>, conv_implicit_workspace,
     conv_implicit, conv_implicit_prepared, conv_implicit_prepare},
    {"direct_loop", whole<needs_float32>, nullptr, conv_direct},
};
constexpr Kernel kBackwardData[] = {
    {"gemm", product_declines, backward_data_product_workspace, backward_data_product},
    {"depthwise", conv_depthwise_declines, conv_backward_data_depthwise_workspace,
     conv_backward_data_depthwise},
    {"grouped_lanes", conv_grouped_declines, conv_backward_data_grouped_workspace,
     conv_backward_data_grouped},
    {"winograd", conv_backward_data_winograd_declines, conv_backward_data_winograd_workspace,
     conv_backward_data_winograd},
    {"winograd_lanes", conv_backward_data_winograd_lanes_declines,
     conv_backward_data_winograd_lanes_workspace, conv_backward_data_winograd_lanes},
    {"batch_lanes", conv_backward_data_batch_lanes_declines,
     conv_backward_data_batch_lanes_workspace, conv_backward_data_batch_lanes},
    {"scatter_windows", conv_scatter_declines, conv_scatter_workspace, conv_backward_data_scatter},
    {"implicit_gemm", implicit_declines<conv_backward_data_batch_lanes_declines>,
     conv_backward_data_implicit_workspace, conv_backward_data_implicit},
    {"direct_loop", needs_float32, nullptr, conv_backward_data_direct},
};
constexpr Kernel kBackwardWeights[] = {
    {"gemm", product_declines, backward_weights_product_workspace, backward_weights_product},
    {"depthwise", conv_depthwise_declines, conv_backward_weights_depthwise_workspace,
     conv_backward_weights_depthwise},
    {"grouped_lanes", conv_backward_weights_grouped_declines,
     conv_backward_weights_grouped_workspace, conv_backward_weights_grouped},
    {"winograd", conv_winograd_declines, conv_backward_weights_winograd_workspace,
     conv_backward_weights_winograd},
    {"batch_lanes", conv_backward_weights_batch_lanes_declines,
     conv_backward_weights_batch_lanes_workspace, conv_backward_weights_batch_lanes},
    {"implicit_gemm", implicit_declines<conv_backward_weights_batch_lanes_declines>,
     conv_backward_weights_implicit_workspace, conv_backward_weights_implicit},
    {"direct_loop", needs_float32, nullptr, conv_backward_weights_direct},
};

}  // namespace

KernelList conv_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::conv: return list(kForward);
    case OpKind::conv_backward_data: return list(kBackwardData);
    case OpKind::conv_backward_weights: return list(kBackwardWeights);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
