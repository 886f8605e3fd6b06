// Convolution of bfloat16 by the matrix instructions of sm_90a, in all directions: the product of
// product_hopper.cu over the pixels that windows read.
//
// forward:  pixels of src, one a window, times weights[tap, channel, filter]
// data:     pixels of ddst, one an input pixel: a window that steps by one covers it from the other
//           side, so that the taps count backwards, times weights[tap, channel, filter] turned
// weights:  pixels of src, one a window, turned, times ddst
#include "conv.h"
#include "product_hopper.h"

namespace fastconv::cuda {
namespace {

// Depth may not be windowed, for TMA counts rows of one image.
bool flat(const WindowGeometry& g) {
  return g.input[0] == 1 && g.kernel[0] == 1 && g.output[0] == 1 && g.pad_before[0] == 0;
}

bool pointwise(const WindowGeometry& g) {
  for (int i = 0; i < 3; ++i)
    if (g.kernel[i] != 1 || g.stride[i] != 1 || g.pad_before[i] != 0 || g.input[i] != g.output[i])
      return false;
  return true;
}

// The windows over src, or, `backwards`, over ddst.
HopperProduct product_of(const WindowGeometry& g, ProductKind kind) {
  const bool backwards = kind == ProductKind::turned;
  HopperProduct p = {};
  p.kind = kind;
  p.rows = backwards ? input_pixels(g) : output_pixels(g);
  p.depth = backwards ? g.out_channels : g.in_channels;
  p.columns = backwards ? g.in_channels : g.out_channels;
  p.slides = !pointwise(g);
  p.windows.batch = g.batch;
  p.windows.channels = p.depth;
  for (int i = 0; i < 2; ++i) {
    const int axis = 2 - i;
    const int64_t reach = (g.kernel[axis] - 1) * g.dilation[axis];
    p.taps[i] = g.kernel[axis];
    p.dilation[i] = g.dilation[axis];
    p.windows.stride[i] = g.stride[axis];
    p.windows.size[i] = backwards ? g.output[axis] : g.input[axis];
    p.windows.count[i] = backwards ? g.input[axis] : g.output[axis];
    p.windows.low[i] = backwards ? g.pad_before[axis] - reach : -g.pad_before[axis];
  }
  return p;
}

HopperProduct product_of(const KernelCall& call, ProductKind kind) {
  HopperProduct p = product_of(geometry(call), kind);
  p.left = call.inputs[0].data;
  p.right = call.inputs[1].data;
  return p;
}

const char* declines(const KernelCall& call, ProductKind kind) {
  const WindowGeometry& g = geometry(call);
  if (g.groups != 1) return "groups > 1";
  if (!flat(g) && !pointwise(g)) return "windows over depth";
  if (kind == ProductKind::turned && (g.stride[1] != 1 || g.stride[2] != 1)) return "strides > 1";
  return hopper_product_declines(call, product_of(g, kind), attrs<ConvAttrs>(call).epilogue);
}

template <ProductKind Kind>
int64_t workspace_of(const KernelCall& call) {
  return hopper_product_workspace(product_of(geometry(call), Kind));
}

}  // namespace

const char* conv_hopper_declines(const KernelCall& call) {
  return declines(call, ProductKind::rows);
}
const char* conv_backward_data_hopper_declines(const KernelCall& call) {
  return declines(call, ProductKind::turned);
}
const char* conv_backward_weights_hopper_declines(const KernelCall& call) {
  return declines(call, ProductKind::taps);
}

int64_t conv_hopper_workspace(const KernelCall& call) {
  return workspace_of<ProductKind::rows>(call);
}
int64_t conv_backward_data_hopper_workspace(const KernelCall& call) {
  return workspace_of<ProductKind::turned>(call);
}
int64_t conv_backward_weights_hopper_workspace(const KernelCall& call) {
  return workspace_of<ProductKind::taps>(call);
}

void conv_hopper(const KernelCall& call) {
  run_hopper_product(call, product_of(call, ProductKind::rows), attrs<ConvAttrs>(call).epilogue);
}
void conv_backward_data_hopper(const KernelCall& call) {
  run_hopper_product(call, product_of(call, ProductKind::turned), attrs<ConvAttrs>(call).epilogue);
}
void conv_backward_weights_hopper(const KernelCall& call) {
  run_hopper_product(call, product_of(call, ProductKind::taps), Epilogue{});
}

}  // namespace fastconv::cuda
