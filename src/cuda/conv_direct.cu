// Convolution of groups with few channels, depthwise above all: a tile of a product would be nearly
// empty, so a thread makes one result; neighbouring threads have neighbouring channels.
#include "columns.h"
#include "conv_gather.h"
#include "finish.h"

namespace fastconv::cuda {
namespace {

// Channels of src and filters of a group.
struct Group {
  int64_t channels, filters;
};
Group group_of(const WindowGeometry& g) {
  return {g.in_channels / g.groups, g.out_channels / g.groups};
}

template <class T>
void forward(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const Windows<T> windows(g, input<T>(call, 0));
  const T* weights = input<T>(call, 1);
  const Finish<T> finish = finish_of<T>(call, attrs<ConvAttrs>(call).epilogue);
  const Group group = group_of(g);
  const int64_t K = g.out_channels, depth = window_taps(g) * group.channels;
  const Divisor all(K), filters(group.filters);
  for_each(call, output_pixels(g) * K, [=] __device__(int64_t i) {
    const int64_t row = all(i), filter = i - row * K;
    const Pixel pixel = windows.pixel(row, filters(filter));
    float sum = 0;
    for (int64_t k = 0; k < depth; ++k)
      sum += windows.value(pixel, windows.tap(k)) * to_float(weights[k * K + filter]);
    finish.put(i, filter, sum);
  });
  finish_activation<T>(call, attrs<ConvAttrs>(call).epilogue);
}

template <class T>
void backward_data(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const Covers<T> covers(g, input<T>(call, 0));
  const T* weights = input<T>(call, 1);
  const Finish<T> finish = finish_of<T>(call, attrs<ConvAttrs>(call).epilogue);
  const Group group = group_of(g);
  const int64_t C = g.in_channels, K = g.out_channels, depth = window_taps(g) * group.filters;
  const Divisor all(C), channels(group.channels), filters(group.filters);
  for_each(call, input_pixels(g) * C, [=] __device__(int64_t i) {
    const int64_t row = all(i), channel = i - row * C, slice = channels(channel);
    const Pixel pixel = covers.pixel(row, slice);
    const T* first = weights + (channel - slice * group.channels) * K + slice * group.filters;
    float sum = 0;
    for (int64_t k = 0; k < depth; ++k) {
      const int64_t tap = filters(k);
      const T weight = first[tap * group.channels * K + k - tap * group.filters];
      sum += covers.value(pixel, covers.tap(k)) * to_float(weight);
    }
    finish.put(i, channel, sum);
  });
  finish_activation<T>(call, attrs<ConvAttrs>(call).epilogue);
}

// Each weight is the sum of a column, whose rows are the output pixels.
template <class T>
void backward_weights(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const Windows<T> windows(g, input<T>(call, 0));
  const T* ddst = input<T>(call, 1);
  float* dweights = output<float>(call, 0);
  const int64_t K = g.out_channels;
  const Divisor all(K), filters(group_of(g).filters);
  join_columns<1, Add>(
      call, output_pixels(g), elements(call.outputs[0]), 0,
      [=] __device__(int64_t row, int64_t column, float* values) {
        const int64_t k = all(column), filter = column - k * K;
        const Pixel pixel = windows.pixel(row, filters(filter));
        values[0] += windows.value(pixel, windows.tap(k)) * to_float(ddst[row * K + filter]);
      },
      [=] __device__(int64_t column, const double* totals) { dweights[column] = (float)totals[0]; },
      workspace<float>(call));
}

}  // namespace

const char* conv_direct_declines(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const Group group = group_of(g);
  if (group.channels * group.filters > 64 || g.groups == 1)
    return "more than 64 weights a tap in a group";
  if (!all_half(call) && needs_float32(call)) return "only float32, or bfloat16 or float16 alone";
  return conv_sizes_decline(g);
}

void conv_direct(const KernelCall& call) {
  with_float(call, [&](auto type) { forward<typename decltype(type)::type>(call); });
}
void conv_backward_data_direct(const KernelCall& call) {
  with_float(call, [&](auto type) { backward_data<typename decltype(type)::type>(call); });
}
void conv_backward_weights_direct(const KernelCall& call) {
  with_float(call, [&](auto type) { backward_weights<typename decltype(type)::type>(call); });
}

int64_t conv_backward_weights_direct_workspace(const KernelCall& call) {
  return columns_workspace(output_pixels(geometry(call)), elements(call.outputs[0]), 1);
}

}  // namespace fastconv::cuda
