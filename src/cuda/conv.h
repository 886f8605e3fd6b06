// The kernels of convolution, by the file that holds them; conv.cu puts them in order.
#pragma once
#include "kernels.h"

namespace fastconv::cuda {

static inline const WindowGeometry& geometry(const KernelCall& call) {
  return attrs<ConvAttrs>(call).geometry;
}

static inline int64_t window_taps(const WindowGeometry& g) {
  return g.kernel[0] * g.kernel[1] * g.kernel[2];
}
static inline int64_t input_pixels(const WindowGeometry& g) {
  return g.batch * g.input[0] * g.input[1] * g.input[2];
}
static inline int64_t output_pixels(const WindowGeometry& g) {
  return g.batch * g.output[0] * g.output[1] * g.output[2];
}

// Both operands are, and the same: maps, or a map and weights.
static inline bool all_half(const KernelCall& call) {
  return is_half(call) && call.inputs[1].dtype == call.inputs[0].dtype;
}

// Why the indices of conv_gather.h cannot hold it, or null.
const char* conv_sizes_decline(const WindowGeometry& g);

// conv_hopper.cu: bfloat16, on GPUs with the instructions of hopper.h.
const char* conv_hopper_declines(const KernelCall& call);
const char* conv_backward_data_hopper_declines(const KernelCall& call);
const char* conv_backward_weights_hopper_declines(const KernelCall& call);
void conv_hopper(const KernelCall& call);
void conv_backward_data_hopper(const KernelCall& call);
void conv_backward_weights_hopper(const KernelCall& call);
int64_t conv_hopper_workspace(const KernelCall& call);
bool conv_hopper_tiles(const KernelCall& call);
int64_t conv_backward_data_hopper_workspace(const KernelCall& call);
bool conv_backward_data_hopper_tiles(const KernelCall& call);
int64_t conv_backward_weights_hopper_workspace(const KernelCall& call);
bool conv_backward_weights_hopper_tiles(const KernelCall& call);

// The same, with the statistics of dst.
void conv_hopper_statistics(const KernelCall& call);
int64_t conv_hopper_statistics_workspace(const KernelCall& call);

// conv_statistics.cu: statistics of what a convolution makes, from moments of parts of the pixels
// that its kernel keeps, [parts, 2, channels]; or, if that has none, from dst. `part`: pixels of
// one, or 0; `product`: bytes of workspace that the kernel needs itself.
int64_t statistics_workspace(const KernelCall& call, int64_t part, int64_t product);
float* moments_of_parts(const KernelCall& call, int64_t part, int64_t product);  // null for none
void join_statistics(const KernelCall& call, int64_t part, int64_t product);

// conv_implicit.cu: a product by tiles, whose left matrix is gathered from the windows.
const char* conv_implicit_declines(const KernelCall& call);
void conv_implicit(const KernelCall& call);
void conv_backward_data_implicit(const KernelCall& call);
void conv_backward_weights_implicit(const KernelCall& call);
int64_t conv_implicit_workspace(const KernelCall& call);
bool conv_implicit_tiles(const KernelCall& call);
int64_t conv_backward_data_implicit_workspace(const KernelCall& call);
bool conv_backward_data_implicit_tiles(const KernelCall& call);
int64_t conv_backward_weights_implicit_workspace(const KernelCall& call);
bool conv_backward_weights_implicit_tiles(const KernelCall& call);

// conv_depthwise.cu, conv_depthwise_weights.cu: a filter a channel, in tiles of results.
const char* conv_depthwise_declines(const KernelCall& call);
void conv_depthwise(const KernelCall& call);
void conv_backward_data_depthwise(const KernelCall& call);
void conv_backward_weights_depthwise(const KernelCall& call);
int64_t conv_backward_weights_depthwise_workspace(const KernelCall& call);

// conv_direct.cu: a result a thread, for groups of few channels.
const char* conv_direct_declines(const KernelCall& call);
void conv_direct(const KernelCall& call);
void conv_backward_data_direct(const KernelCall& call);
void conv_backward_weights_direct(const KernelCall& call);
int64_t conv_backward_weights_direct_workspace(const KernelCall& call);

}  // namespace fastconv::cuda
