// Depthwise convolution and the gradient of its input.
#include "conv_depthwise.h"
#include "finish.h"

namespace fastconv::cuda {
namespace {

// src: where windows read.
template <class Tiles, class T, int W>
struct Depthwise {
  static constexpr int kThreads = kColumnThreads, kBlocks = Tiles::kTaps <= 9 ? 2 : 1;
  struct Shared {
    float filters[Tiles::kTaps][kWarp][W];  // of the channels of the block
  };
  Columns m;
  Tiles tiles;
  const T *src, *weights;
  Finish<T> finish;

  __device__ void operator()(Shared& shared) const {
    const Part part = part_of<W>(m, blockIdx.x);
    const int lane = (int)threadIdx.x % m.lanes;
    if (part.column < m.columns)
      for (int tap = (int)threadIdx.x / m.lanes; tap < Tiles::kTaps; tap += part.step)
        load(weights + tap * m.columns + part.column, shared.filters[tap][lane]);
    __syncthreads();
    if (part.column >= m.columns) return;
    for (int64_t i = part.begin; i < part.end; i += part.step) {
      const auto tile = tiles.tile((int32_t)i);
      float sums[Tiles::kDown * Tiles::kAcross][W] = {};
      tiles.template windows<W>(tile, src + part.column,
                                [&](int j, int k, int tap, const float (&x)[W]) {
                                  float filter[W];
                                  load(shared.filters[tap][lane], filter);
#pragma unroll
                                  for (int c = 0; c < W; ++c)
                                    sums[j * Tiles::kAcross + k][c] += x[c] * filter[c];
                                });
      const auto columns = finish.template columns<W>(part.column);
      int32_t pixels[Tiles::kDown * Tiles::kAcross];
      tiles.results(tile,
                    [&](int j, int k, int32_t pixel) { pixels[j * Tiles::kAcross + k] = pixel; });
      finish.put_packs(pixels, tiles.channels, part.column, columns, sums);
    }
  }
};

template <bool Turned>
void run(const KernelCall& call) {
  const Epilogue& e = attrs<ConvAttrs>(call).epilogue;
  with_depthwise<4, 2>(call, [&](auto type, auto width, auto kernel, auto stride) {
    using T = typename decltype(type)::type;
    constexpr int W = width.value;
    using Tiles = SquareTiles<kernel.value, stride.value, Turned, Turned ? stride.value : 1,
                              !Turned && stride.value == 2 ? 2 : 4>;
    const Tiles tiles(geometry(call));
    const Columns m = columns_of(tiles.count(), tiles.channels, W, 1, 8);
    if (m.rows > 0)
      launch(call,
             Depthwise<Tiles, T, W>{m, tiles, input<T>(call, 0), input<T>(call, 1),
                                    finish_of<T>(call, e)},
             m.blocks());
    finish_activation<T>(call, e);
  });
}

// No less than the pixels of either map, with what tiles have beyond it.
double pixels_of_tiles(const WindowGeometry& g) {
  double pixels = (double)(g.batch * g.input[0]);
  for (int axis = 1; axis < 3; ++axis) {
    const int64_t padded = g.input[axis] + g.pad_before[axis] + g.pad_after[axis];
    pixels *= (double)((padded > g.input[axis] ? padded : g.input[axis]) + 16);
  }
  return pixels;
}

}  // namespace

const char* conv_depthwise_declines(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  if (g.in_channels != g.groups || g.out_channels != g.groups) return "not a filter a channel";
  if (g.kernel[0] != 1 || g.stride[0] != 1 || g.pad_before[0] != 0 || g.input[0] != g.output[0])
    return "window in three dimensions";
  if (g.kernel[1] != g.kernel[2] || (g.kernel[1] != 3 && g.kernel[1] != 5))
    return "neither 3x3 nor 5x5";
  if (g.stride[1] != g.stride[2] || g.stride[1] > 2) return "stride neither 1 nor 2";
  if (g.dilation[1] != 1 || g.dilation[2] != 1) return "dilated";
  if (!all_half(call) && needs_float32(call)) return "only float32, or bfloat16 or float16 alone";
  if (const char* reason = conv_sizes_decline(g)) return reason;
  return pixels_of_tiles(g) > INT32_MAX ? "pixels do not fit 32 bits" : nullptr;
}

void conv_depthwise(const KernelCall& call) { run<false>(call); }
void conv_backward_data_depthwise(const KernelCall& call) { run<true>(call); }

}  // namespace fastconv::cuda
