// Convolution by the matrix instructions of sm_90a, of halves in all directions, and of float32
// as TF32 but for the gradient of weights: the product of product_hopper.cu over the pixels that
// windows read.
//
// forward:  pixels of src, one a window, times weights[tap, channel, filter]
// data:     pixels of ddst, one an input pixel, times weights[tap, channel, filter] turned. Input
//           pixels that are a stride apart are a phase: windows cover them by the same taps, and
//           each phase is such a product, whose windows step by one and count taps backwards
// weights:  pixels of src, one a window, turned, times ddst
#include "conv.h"
#include "finish.h"
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

HopperProduct product_of(const KernelCall& call, ProductKind kind) {
  const WindowGeometry& g = geometry(call);
  HopperProduct p = {};
  p.kind = kind;
  p.dtype = call.inputs[0].dtype;
  p.tf32 = attrs<ConvAttrs>(call).tf32 && !is_half(call);
  p.rows = output_pixels(g);
  p.depth = g.in_channels;
  p.columns = g.out_channels;
  p.slides = !pointwise(g);
  p.windows.batch = g.batch;
  p.windows.channels = p.depth;
  for (int i = 0; i < 2; ++i) {
    const int axis = 2 - i;
    p.taps[i] = g.kernel[axis];
    p.dilation[i] = g.dilation[axis];
    p.windows.size[i] = g.input[axis];
    p.windows.count[i] = g.output[axis];
    p.windows.stride[i] = g.stride[axis];
    p.windows.low[i] = -g.pad_before[axis];
  }
  p.matrices = {window_taps(g), 0, {1, g.kernel[2]}};
  return p;
}

// The phase of input pixels first[0] + i * stride, first[1] + j * stride, along W and H.
HopperProduct phase_of(const KernelCall& call, const int64_t (&first)[2]) {
  const WindowGeometry& g = geometry(call);
  HopperProduct p = product_of(call, ProductKind::turned);
  p.rows = g.batch * g.input[0];
  p.depth = p.windows.channels = g.out_channels;
  p.columns = g.in_channels;
  p.spreads = g.stride[1] != 1 || g.stride[2] != 1;
  p.matrices.first = 0;
  for (int i = 0; i < 2; ++i) {
    const int axis = 2 - i;
    const int64_t stride = g.stride[axis], pitch = i == 0 ? 1 : g.kernel[2];
    const int64_t at = first[i] + g.pad_before[axis];
    const int64_t tap = (at % stride + stride) % stride;  // the first that covers the phase
    p.taps[i] = tap < g.kernel[axis] ? ceil_div(g.kernel[axis] - tap, stride) : 0;
    p.windows.size[i] = g.output[axis];
    p.windows.count[i] = ceil_div(g.input[axis] - first[i], stride);
    p.windows.stride[i] = 1;
    p.windows.low[i] = (at - tap) / stride - (p.taps[i] - 1) * p.dilation[i];
    p.matrices.first += (tap + (p.taps[i] - 1) * stride) * pitch;
    p.matrices.step[i] = -stride * pitch;
    p.rows *= p.windows.count[i];
    p.result.size[i] = g.input[axis];
    p.result.first[i] = first[i];
    p.result.apart[i] = stride;
  }
  return p;
}

// f(phase) for all that have pixels, until f gives a reason.
template <class F>
const char* for_phases(const KernelCall& call, const F& f) {
  const WindowGeometry& g = geometry(call);
  for (int64_t h = 0; h < g.stride[1] && h < g.input[1]; ++h)
    for (int64_t w = 0; w < g.stride[2] && w < g.input[2]; ++w)
      if (const char* reason = f(phase_of(call, {w, h}))) return reason;
  return nullptr;
}

const char* declines(const KernelCall& call, ProductKind kind) {
  const WindowGeometry& g = geometry(call);
  const Epilogue& epilogue = attrs<ConvAttrs>(call).epilogue;
  if (g.groups != 1) return "groups > 1";
  if (!flat(g) && !pointwise(g)) return "windows over depth";
  if (kind != ProductKind::turned)
    return hopper_product_declines(call, product_of(call, kind), epilogue);
  for (int i = 1; i < 3; ++i) {
    if (g.stride[i] > 1 && g.dilation[i] > 1) return "strides and dilation";
    if (g.stride[i] > 4) return "strides > 4";
  }
  return for_phases(call, [&](const HopperProduct& phase) {
    return hopper_product_declines(call, phase, epilogue);
  });
}

void run(const KernelCall& call, HopperProduct p, const Epilogue& epilogue) {
  p.left = call.inputs[0].data;
  p.right = call.inputs[1].data;
  run_hopper_product(call, p, epilogue);
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
  return hopper_product_workspace(call, product_of(call, ProductKind::rows));
}
int64_t conv_backward_data_hopper_workspace(const KernelCall& call) {
  return hopper_product_workspace(call, phase_of(call, {0, 0}));  // several need none
}
int64_t conv_backward_weights_hopper_workspace(const KernelCall& call) {
  return hopper_product_workspace(call, product_of(call, ProductKind::taps));
}

bool conv_hopper_tiles(const KernelCall& call) {
  return hopper_product_tiles(call, product_of(call, ProductKind::rows));
}
bool conv_backward_data_hopper_tiles(const KernelCall& call) {
  return !for_phases(call, [&](const HopperProduct& phase) {
    return hopper_product_tiles(call, phase) ? nullptr : "a phase that cannot be cut so";
  });
}
bool conv_backward_weights_hopper_tiles(const KernelCall& call) {
  return hopper_product_tiles(call, product_of(call, ProductKind::taps));
}

void conv_hopper(const KernelCall& call) {
  const Epilogue& epilogue = attrs<ConvAttrs>(call).epilogue;
  run(call, product_of(call, ProductKind::rows), epilogue);
  finish_hopper_product(call, epilogue);
}

int64_t conv_hopper_statistics_workspace(const KernelCall& call) {
  const HopperProduct p = product_of(call, ProductKind::rows);
  return statistics_workspace(call, hopper_product_part(call, p), conv_hopper_workspace(call));
}
void conv_hopper_statistics(const KernelCall& call) {
  HopperProduct p = product_of(call, ProductKind::rows);
  const int64_t part = hopper_product_part(call, p), bytes = conv_hopper_workspace(call);
  p.moments = moments_of_parts(call, part, bytes);
  run(call, p, attrs<ConvAttrs>(call).epilogue);
  join_statistics(call, part, bytes);
}

void conv_backward_data_hopper(const KernelCall& call) {
  const Epilogue& epilogue = attrs<ConvAttrs>(call).epilogue;
  for_phases(call, [&](const HopperProduct& phase) -> const char* {
    run(call, phase, epilogue);
    return nullptr;
  });
  finish_hopper_product(call, epilogue);
}
void conv_backward_weights_hopper(const KernelCall& call) {
  run(call, product_of(call, ProductKind::taps), Epilogue{});
}

}  // namespace fastconv::cuda
