// Depthwise convolution, one filter a channel. It does few sums for each byte, so that every map
// shall come from memory once: a thread has a few neighbouring channels and makes tiles of results,
// for which it reads each source once; what tiles share comes from the caches, as the threads of a
// block go down the rows side by side.
#pragma once
#include "columns.h"
#include "conv.h"

namespace fastconv::cuda {

// One axis of a tile. Forward, results are outputs and sources inputs; the gradient of the inputs
// is Turned: results are inputs and sources outputs, and tiles begin at an input that the first tap
// of a window hits, so that the taps of each result are known when this is compiled.
template <int Kernel, int Stride, bool Turned, int Results>
struct Reach {
  static_assert(!Turned || Results % Stride == 0);
  static constexpr int kKernel = Kernel, kStride = Stride, kResults = Results;
  static constexpr bool kTurned = Turned;
  static constexpr int kBefore = Turned ? (Kernel - 1) / Stride : 0;
  static constexpr int kSources =
      Turned ? (Results - 1) / Stride + kBefore + 1 : (Results - 1) * Stride + Kernel;
  static constexpr int kStep = Turned ? Results / Stride : Results * Stride;  // a tile, in sources

  // The source, of those of the tile, that a tap takes for a result; or negative.
  __host__ __device__ static constexpr int source(int result, int tap) {
    if (!Turned) return result * Stride + tap;
    return (result - tap) % Stride != 0 ? -1 : (result - tap) / Stride + kBefore;
  }
};

// One axis of the tiles of a map: the first begins at result `first` and source `from`.
struct Tiling {
  int32_t results, sources, first, from, tiles;
};
template <class R>
Tiling tiling(const WindowGeometry& g, int axis) {
  const int64_t pad = g.pad_before[axis];
  if (!R::kTurned)
    return {(int32_t)g.output[axis], (int32_t)g.input[axis], 0, (int32_t)-pad,
            (int32_t)ceil_div(g.output[axis], R::kResults)};
  const int64_t over = (pad % R::kStride + R::kStride) % R::kStride;
  return {(int32_t)g.input[axis], (int32_t)g.output[axis], (int32_t)-over,
          (int32_t)((pad - over) / R::kStride - R::kBefore),
          (int32_t)ceil_div(g.input[axis] + over, R::kResults)};
}

// Tiles of Rows::kResults x Across::kResults results, numbered as pixels are.
template <class Rows, class Across>
struct Tiles {
  static constexpr int kTaps = Rows::kKernel * Across::kKernel;
  static constexpr int kDown = Rows::kResults, kAcross = Across::kResults;
  Tiling rows, across;
  Divisor per_row, per_map;
  int64_t maps;
  int32_t channels;

  __host__ explicit Tiles(const WindowGeometry& g)
      : rows(tiling<Rows>(g, 1)),
        across(tiling<Across>(g, 2)),
        per_row(across.tiles),
        per_map(rows.tiles),
        maps(g.batch * g.input[0]),
        channels((int32_t)g.in_channels) {}
  __host__ int64_t count() const { return maps * rows.tiles * across.tiles; }

  struct Tile {
    int32_t map, row, column;  // row and column of tiles
  };
  __device__ __forceinline__ Tile tile(int32_t i) const {
    const int32_t row = (int32_t)per_row(i), map = (int32_t)per_map(row);
    return {map, row - map * rows.tiles, i - row * across.tiles};
  }

  // Results of a row of the tile before the end of the map.
  __device__ __forceinline__ int32_t before_end(const Tile& t) const {
    return across.results - across.first - t.column * Across::kResults;
  }
  // f(j, k, pixel) for every result of a tile: the one in row j and column k is at that pixel of
  // the map, or at a negative one if it is outside.
  template <class F>
  __device__ __forceinline__ void results(const Tile& t, const F& f) const {
    const int32_t top = rows.first + t.row * Rows::kResults;
    const int32_t left = across.first + t.column * Across::kResults;
    const int32_t pixel = (t.map * rows.results + top) * across.results + left;
#pragma unroll
    for (int j = 0; j < Rows::kResults; ++j)
#pragma unroll
      for (int k = 0; k < Across::kResults; ++k) {
        const bool inside = (uint32_t)(top + j) < (uint32_t)rows.results &&
                            (uint32_t)(left + k) < (uint32_t)across.results;
        f(j, k, inside ? pixel + j * across.results + k : -1);
      }
  }

  // f(j, k, tap, x) for every result of a tile and every tap of its window, where the window has
  // the values x, of the W channels from src on.
  template <int W, class T, class F>
  __device__ __forceinline__ void windows(const Tile& t, const T* src, const F& f) const {
    const int32_t top = rows.from + t.row * Rows::kStep;
    const int32_t left = across.from + t.column * Across::kStep;
    const int32_t pixel = (t.map * rows.sources + top) * across.sources + left;
    const T* row = src + (int64_t)pixel * channels;
#pragma unroll
    for (int h = 0; h < Rows::kSources; ++h, row += (int64_t)across.sources * channels) {
      float x[Across::kSources][W] = {};
      const bool inside = (uint32_t)(top + h) < (uint32_t)rows.sources;
#pragma unroll
      for (int w = 0; w < Across::kSources; ++w)
        if (inside && (uint32_t)(left + w) < (uint32_t)across.sources)
          load(row + (int64_t)w * channels, x[w]);
      each_use(h, x, f);
    }
  }

 private:
  template <int W, class F>
  __device__ __forceinline__ static void each_use(int h, const float (&x)[Across::kSources][W],
                                                  const F& f) {
#pragma unroll
    for (int j = 0; j < Rows::kResults; ++j)
#pragma unroll
      for (int r = 0; r < Rows::kKernel; ++r) {
        if (Rows::source(j, r) != h) continue;
#pragma unroll
        for (int k = 0; k < Across::kResults; ++k)
#pragma unroll
          for (int s = 0; s < Across::kKernel; ++s) {
            const int w = Across::source(k, s);
            if (w >= 0) f(j, k, r * Across::kKernel + s, x[w]);
          }
      }
  }
};

// Square windows, with one stride.
template <int Kernel, int Stride, bool Turned, int Rows, int Across>
using SquareTiles =
    Tiles<Reach<Kernel, Stride, Turned, Rows>, Reach<Kernel, Stride, Turned, Across>>;

// Calls f with the element type, the channels of a thread, the window's side and the stride. The
// channels are as many as registers hold the tiles of.
constexpr int kDepthwisePack = 4;
template <int Pack3, int Pack5, class F>
void with_depthwise(const KernelCall& call, const F& f) {
  const WindowGeometry& g = geometry(call);
  bool packs = g.in_channels % kDepthwisePack == 0;
  for (int i = 0; i < call.n_inputs; ++i) packs = packs && is_aligned(call.inputs[i].data);
  for (int i = 0; i < call.n_outputs; ++i) packs = packs && is_aligned(call.outputs[i].data);
  const auto with_stride = [&](auto type, auto width, auto kernel) {
    g.stride[1] == 2 ? f(type, width, kernel, Constant<2>{})
                     : f(type, width, kernel, Constant<1>{});
  };
  const auto with_width = [&](auto type, auto width, auto kernel) {
    packs ? with_stride(type, width, kernel) : with_stride(type, Constant<1>{}, kernel);
  };
  with_float(call, [&](auto type) {
    g.kernel[1] == 3 ? with_width(type, Constant<Pack3>{}, Constant<3>{})
                     : with_width(type, Constant<Pack5>{}, Constant<5>{});
  });
}

}  // namespace fastconv::cuda
