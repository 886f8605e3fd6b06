// Convolution as a product by tiles (product.h) whose left matrix is gathered from the windows
// while it is read, in all directions; a group is a slice.
//
// forward:  dst[pixel, filter] = sum over (tap, channel) of src(pixel, tap) weights[tap, filter]
// data:     dsrc[pixel, channel] = sum over (tap, filter) of ddst(pixel, tap) weights[tap, channel]
// weights:  dweights[(tap, channel), filter] = sum over output pixels of src(pixel, tap)
// ddst[pixel]
#include "conv_gather.h"
#include "product.h"

namespace fastconv::cuda {
namespace {

// Rows are pixels, k counts taps and channels.
template <class Gather>
struct PixelsByTaps {
  static constexpr bool kAlongInner = true;
  using Outer = Pixel;
  using Inner = Tap;
  Gather gather;
  __device__ __forceinline__ Outer outer(int64_t i, int64_t slice) const {
    return gather.pixel(i, slice);
  }
  __device__ __forceinline__ Inner inner(int64_t k) const { return gather.tap(k); }
  __device__ __forceinline__ float value(const Outer& pixel, const Inner& tap) const {
    return gather.value(pixel, tap);
  }
};

// Rows are taps and channels, k counts pixels.
struct TapsByPixels {
  static constexpr bool kAlongInner = false;
  using Outer = Tap;
  using Inner = Windows<float>::Counter;
  Windows<float> windows;
  __device__ __forceinline__ Outer outer(int64_t i, int64_t slice) const {
    return windows.tap(i, slice);
  }
  __device__ __forceinline__ Inner inner(int64_t k) const { return windows.counter(k); }
  __device__ __forceinline__ void advance(Inner& pixel, int step) const {
    windows.advance(pixel, step);
  }
  __device__ __forceinline__ float value(const Outer& tap, const Inner& pixel) const {
    return windows.value(windows.pixel(pixel), tap);
  }
};

// Weights [taps, channels, filters] by channel, and k that counts taps and filters of the group.
struct TurnedWeights {
  static constexpr bool kAlongInner = true;
  using Outer = int64_t;
  using Inner = int64_t;
  const float* weights;
  int64_t channels, filters;  // of the group; of all
  Divisor group;              // filters of the group
  __device__ __forceinline__ Outer outer(int64_t channel, int64_t slice) const {
    return channel * filters + slice * group.size();
  }
  __device__ __forceinline__ Inner inner(int64_t k) const {
    const int64_t tap = group(k);
    return tap * channels * filters + k - tap * group.size();
  }
  __device__ __forceinline__ float value(Outer outer, Inner inner) const {
    return weights[outer + inner];
  }
};

ProductSize forward_size(const WindowGeometry& g) {
  return {output_pixels(g), g.out_channels / g.groups, window_taps(g) * (g.in_channels / g.groups),
          g.groups};
}
ProductSize data_size(const WindowGeometry& g) {
  return {input_pixels(g), g.in_channels / g.groups, window_taps(g) * (g.out_channels / g.groups),
          g.groups};
}
ProductSize weights_size(const WindowGeometry& g) {
  return {window_taps(g) * (g.in_channels / g.groups), g.out_channels / g.groups, output_pixels(g),
          g.groups};
}

}  // namespace

const char* conv_sizes_decline(const WindowGeometry& g) {
  if (g.in_channels > INT32_MAX || g.out_channels > INT32_MAX) return "channels do not fit 32 bits";
  for (int i = 0; i < 3; ++i)
    if (g.input[i] + g.pad_before[i] + g.pad_after[i] > INT32_MAX / 2)
      return "positions do not fit 32 bits";
  return nullptr;
}

const char* conv_implicit_declines(const KernelCall& call) {
  if (const char* reason = needs_float32(call)) return reason;
  return conv_sizes_decline(geometry(call));
}

void conv_implicit(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const int64_t filters = g.out_channels / g.groups;
  run_product(call, PixelsByTaps<Windows<float>>{{g, input<float>(call, 0)}},
              MatrixOperand<false>{input<float>(call, 1), 1, g.out_channels, filters},
              forward_size(g), {filters, g.out_channels, filters}, attrs<ConvAttrs>(call).epilogue);
}

void conv_backward_data_implicit(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const int64_t channels = g.in_channels / g.groups;
  run_product(call, PixelsByTaps<Covers<float>>{{g, input<float>(call, 0)}},
              TurnedWeights{input<float>(call, 1), channels, g.out_channels,
                            Divisor(g.out_channels / g.groups)},
              data_size(g), {channels, g.in_channels, channels}, attrs<ConvAttrs>(call).epilogue);
}

void conv_backward_weights_implicit(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const int64_t filters = g.out_channels / g.groups;
  run_product(call, TapsByPixels{{g, input<float>(call, 0)}},
              MatrixOperand<false>{input<float>(call, 1), 1, g.out_channels, filters},
              weights_size(g), {filters, g.out_channels, filters}, Epilogue{});
}

int64_t conv_implicit_workspace(const KernelCall& call) {
  return product_workspace(call, forward_size(geometry(call)));
}
bool conv_implicit_tiles(const KernelCall& call) {
  return product_tiles(call, forward_size(geometry(call)));
}
int64_t conv_backward_data_implicit_workspace(const KernelCall& call) {
  return product_workspace(call, data_size(geometry(call)));
}
bool conv_backward_data_implicit_tiles(const KernelCall& call) {
  return product_tiles(call, data_size(geometry(call)));
}
int64_t conv_backward_weights_implicit_workspace(const KernelCall& call) {
  return product_workspace(call, weights_size(geometry(call)));
}
bool conv_backward_weights_implicit_tiles(const KernelCall& call) {
  return product_tiles(call, weights_size(geometry(call)));
}

}  // namespace fastconv::cuda
