// The kernels of convolution, by the file that holds them; conv.cpp puts them in order.
#pragma once
#include "conv_gather.h"
#include "kernels.h"
#include "microkernel.h"

namespace fastconv::cpu::FASTCONV_ISA {

// The tensors of a direction in the words of a gather: `in` is what is read, `out` what is written.
template <class T>
struct GatherCallOf {
  GatherProblem problem;
  const T* in;
  const float* weights;
  T* out;
  float* workspace;
  FinishOf<T> finish;
  int64_t pool;  // outputs along a line, and lines, of which one maximum becomes: 2, or 1
};
using GatherCall = GatherCallOf<float>;

template <class T = float>
static inline GatherCallOf<T> gather_call(const KernelCall& call, bool backward) {
  const ConvAttrs& a = attrs<ConvAttrs>(call);
  return {{&a.geometry, backward},
          input<T>(call, 0),
          input<float>(call, 1),
          output<T>(call, 0),
          static_cast<float*>(call.workspace),
          finish_of<T>(call, a.epilogue),
          !backward && a.max_pool ? 2 : 1};
}

static inline const WindowGeometry& geometry(const KernelCall& call) {
  return attrs<ConvAttrs>(call).geometry;
}

static inline int64_t window_taps(const WindowGeometry& g) {
  return g.kernel[0] * g.kernel[1] * g.kernel[2];
}

// Beside bfloat16, weights are float32: kernels round them while they pack them. Where the result
// is not float32 the second operand is weights.
static inline const char* conv_needs_float(const KernelCall& call) {
  if (is_bfloat16(call) && call.inputs[1].dtype == Dtype::bfloat16 &&
      call.outputs[0].dtype == Dtype::bfloat16)
    return "weights in bfloat16";
  return needs_float(call);
}

// The input pixel that a tap of the window at an output reads, or -1 in the padding.
static inline int64_t input_pixel(const WindowGeometry& g, int64_t output, int64_t tap) {
  int64_t at[3];
  for (int a = 2; a >= 0; --a) {
    at[a] =
        output % g.output[a] * g.stride[a] + tap % g.kernel[a] * g.dilation[a] - g.pad_before[a];
    if (at[a] < 0 || at[a] >= g.input[a]) return -1;
    output /= g.output[a];
    tap /= g.kernel[a];
  }
  return ((output * g.input[0] + at[0]) * g.input[1] + at[1]) * g.input[2] + at[2];
}

// Stands for every input pixel, or line of the window, that lies in the padding. It is as large for
// bfloat16.
static inline int64_t zero_floats(const GatherProblem& p) {
  const WindowGeometry& g = *p.geometry;
  const int64_t channels = p.backward ? g.out_channels : g.in_channels;
  return padded(g.kernel[2] * channels + kLanes);
}

// conv_implicit.cpp: a dense product, rows of input read where they lie.
void conv_implicit(const KernelCall& call);
void conv_backward_data_implicit(const KernelCall& call);
int64_t conv_implicit_prepared(const KernelCall& call);
void conv_implicit_prepare(const KernelCall& call);
int64_t conv_implicit_workspace(const KernelCall& call);
int64_t conv_backward_data_implicit_workspace(const KernelCall& call);

// conv_weights.cpp: the weight gradient as a dense product over blocks of output positions.
void conv_backward_weights_implicit(const KernelCall& call);
int64_t conv_backward_weights_implicit_workspace(const KernelCall& call);

// conv_winograd.cpp, conv_winograd_weights.cpp: windows of 3x3 and 5x5 with fewer multiplications.
const char* conv_winograd_declines(const KernelCall& call);
const char* conv_backward_data_winograd_declines(const KernelCall& call);
void conv_winograd(const KernelCall& call);
void conv_backward_data_winograd(const KernelCall& call);
void conv_backward_weights_winograd(const KernelCall& call);
int64_t conv_winograd_prepared(const KernelCall& call);
void conv_winograd_prepare(const KernelCall& call);
int64_t conv_winograd_workspace(const KernelCall& call);
int64_t conv_backward_data_winograd_workspace(const KernelCall& call);
int64_t conv_backward_weights_winograd_workspace(const KernelCall& call);

// conv_scatter.cpp: the data gradient of few channels.
const char* conv_scatter_declines(const KernelCall& call);
void conv_backward_data_scatter(const KernelCall& call);
int64_t conv_scatter_workspace(const KernelCall& call);

// conv_depthwise.cpp: one channel to one channel, lanes in memory order.
const char* conv_depthwise_declines(const KernelCall& call);
void conv_depthwise(const KernelCall& call);
void conv_backward_data_depthwise(const KernelCall& call);
void conv_backward_weights_depthwise(const KernelCall& call);
int64_t conv_depthwise_workspace(const KernelCall& call);
int64_t conv_backward_data_depthwise_workspace(const KernelCall& call);
int64_t conv_backward_weights_depthwise_workspace(const KernelCall& call);
// conv_batch_lanes.cpp, conv_batch_lanes_weights.cpp: images side by side, for few channels.
const char* conv_batch_lanes_declines(const KernelCall& call);
const char* conv_backward_data_batch_lanes_declines(const KernelCall& call);
const char* conv_backward_weights_batch_lanes_declines(const KernelCall& call);
void conv_batch_lanes(const KernelCall& call);
void conv_backward_data_batch_lanes(const KernelCall& call);
void conv_backward_weights_batch_lanes(const KernelCall& call);
int64_t conv_backward_data_batch_lanes_workspace(const KernelCall& call);
int64_t conv_backward_weights_batch_lanes_workspace(const KernelCall& call);

// conv_winograd_lanes.cpp: both.
const char* conv_winograd_lanes_declines(const KernelCall& call);
const char* conv_backward_data_winograd_lanes_declines(const KernelCall& call);
void conv_winograd_lanes(const KernelCall& call);
void conv_backward_data_winograd_lanes(const KernelCall& call);
int64_t conv_winograd_lanes_workspace(const KernelCall& call);
int64_t conv_backward_data_winograd_lanes_workspace(const KernelCall& call);

// conv_winograd_lines.cpp: along lines alone, for few images with few channels.
const char* conv_winograd_lines_declines(const KernelCall& call);
void conv_winograd_lines(const KernelCall& call);
int64_t conv_winograd_lines_prepared(const KernelCall& call);
void conv_winograd_lines_prepare(const KernelCall& call);
int64_t conv_winograd_lines_workspace(const KernelCall& call);

// conv_grouped.cpp: several small groups side by side in one vector.
const char* conv_grouped_declines(const KernelCall& call);
const char* conv_backward_weights_grouped_declines(const KernelCall& call);
void conv_grouped(const KernelCall& call);
void conv_backward_data_grouped(const KernelCall& call);
void conv_backward_weights_grouped(const KernelCall& call);
int64_t conv_grouped_workspace(const KernelCall& call);
int64_t conv_backward_data_grouped_workspace(const KernelCall& call);
int64_t conv_backward_weights_grouped_workspace(const KernelCall& call);

// conv_direct.cpp: plain loops for every geometry.
void conv_direct(const KernelCall& call);
void conv_backward_data_direct(const KernelCall& call);
void conv_backward_weights_direct(const KernelCall& call);

}  // namespace fastconv::cpu::FASTCONV_ISA
