// Gradient of the filters of depthwise convolution: of every channel, a sum over all outputs for
// each tap.
#include "conv_depthwise.h"

namespace fastconv::cuda {
namespace {

// Tiles as the rows of JoinChunks.
template <class Tiles, class T, int W>
struct TapSums {
  static constexpr int kWidth = W, kSums = Tiles::kTaps;
  static constexpr int kBlocks = Tiles::kTaps <= 9 ? 2 : 1;
  Tiles tiles;
  const T *src, *ddst;

  struct Own {
    static constexpr int kAhead = 1;
    struct Row {};
    const TapSums& term;
    int64_t channel;
    __device__ Row read(int64_t) const { return {}; }
    __device__ __forceinline__ void add(int64_t i, const Row&, float (&sums)[kSums][W]) const {
      const auto tile = term.tiles.tile((int32_t)i);
      float d[Tiles::kDown][Tiles::kAcross][W] = {};
      term.tiles.results(tile, [&](int j, int k, int32_t pixel) {
        if (pixel >= 0) load(term.ddst + (int64_t)pixel * term.tiles.channels + channel, d[j][k]);
      });
      const int32_t count = term.tiles.before_end(tile);  // beyond, x may be NaN
      term.tiles.template windows<W>(tile, term.src + channel,
                                     [&](int j, int k, int tap, const float (&x)[W]) {
                                       if (k > 0 && k >= count) return;
#pragma unroll
                                       for (int c = 0; c < W; ++c)
                                         sums[tap][c] += x[c] * d[j][k][c];
                                     });
    }
  };
  __device__ Own own(int64_t channel, int64_t) const { return {*this, channel}; }
};

// Chunks are small enough to fill a GPU with the few pixels that maps of many channels have.
Columns columns_of_tiles(int64_t tiles, int64_t channels, int width) {
  return columns_of(tiles, channels, width, 4, 256);
}

// What the totals of a channel become.
template <int Q>
struct Filters {
  float* dweights;
  int64_t channels;
  __device__ void operator()(int64_t channel, const double (&totals)[Q]) const {
#pragma unroll
    for (int tap = 0; tap < Q; ++tap) dweights[tap * channels + channel] = (float)totals[tap];
  }
};

// Wider tiles take more registers than two blocks have.
template <int Kernel, int Stride>
using WeightTiles = SquareTiles<Kernel, Stride, false, 1, Stride == 2 ? 2 : 3>;

}  // namespace

void conv_backward_weights_depthwise(const KernelCall& call) {
  with_depthwise<4, 2>(call, [&](auto type, auto width, auto kernel, auto stride) {
    using T = typename decltype(type)::type;
    constexpr int W = width.value, Q = kernel.value * kernel.value;
    using Tiles = WeightTiles<kernel.value, stride.value>;
    const Tiles tiles(geometry(call));
    const int64_t channels = tiles.channels;
    const Columns m = columns_of_tiles(tiles.count(), channels, W);
    const Filters<Q> finish{output<float>(call, 0), channels};
    join_chunks(
        call, m, 0, Add{}, TapSums<Tiles, T, W>{tiles, input<T>(call, 0), input<T>(call, 1)},
        KeepSums<Q, Add, Filters<Q>>{m.chunks, channels, workspace<float>(call), Add{}, finish});
  });
}

int64_t conv_backward_weights_depthwise_workspace(const KernelCall& call) {
  int64_t most = 0;
  with_depthwise<4, 2>(call, [&](auto, auto, auto kernel, auto stride) {
    const WeightTiles<kernel.value, stride.value> tiles(geometry(call));
    for (int width : {1, 2, 4}) {
      const int64_t chunks = columns_of_tiles(tiles.count(), tiles.channels, width).chunks;
      const int64_t bytes = chunks > 1 ? 4 * chunks * tiles.kTaps * tiles.channels : 0;
      most = bytes > most ? bytes : most;
    }
  });
  return most;
}

}  // namespace fastconv::cuda
