// Images side by side: one lane an image. It fills vectors where there are too few channels to do
// so; arrays N D H W C become [D H W C][kLanes] for kLanes images at a time, a part that fits the
// cache.
#pragma once
#include "activation.h"
#include "conv.h"

namespace fastconv::cpu::FASTCONV_ISA {

// The reason that these kernels give first; of `channels` of the result, `most` are worth it.
static inline const char* batch_lanes_decline(const WindowGeometry& g, int64_t channels,
                                              int64_t most) {
  if (channels > most || channels % kPanel == 0) return "enough channels to fill a vector";
  if (g.groups != 1) return "groups > 1";
  if (g.dilation[2] != 1) return "dilation > 1";
  const int64_t lanes = ceil_div(g.batch, kLanes) * kLanes;
  if (4 * g.batch < 3 * lanes) return "too few images to fill a vector";
  return nullptr;
}

// Floats that a task may keep on its stack: L2 holds them.
constexpr int64_t kLaneScratch = 3 << 15;

// Keeps the compiler from reading a value anew from memory for each of its uses.
static inline vfloat in_register(vfloat v) {
#if defined(__x86_64__)
  asm("" : "+v"(v));
#endif
  return v;
}

// The vector whose lane i is the sum of the lanes of v[i].
static inline vfloat sums_of(vfloat (&v)[kLanes]) {
  const Interleave pick;
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i)
      v[i] = __builtin_shuffle(v[i], v[i + half], pick.low) +
             __builtin_shuffle(v[i], v[i + half], pick.high);
  return v[0];
}

// A part of `images` neighbouring images: floats [0, floats) from `first` on, `step` apart.
struct ImageRows {
  int64_t step, images, floats;
};

// dst[j][i] = src[i * step + j], 0 in the lanes behind the last image.
static inline void to_lanes(const ImageRows& rows, const float* src, float* dst) {
  for_vectors(0, rows.floats, [&](int64_t j, int64_t count) {
    vfloat v[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      v[i] = i < rows.images ? load_lanes(src + i * rows.step + j, count) : vfloat{};
    transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      if (i < count) store(dst + (j + i) * kLanes, v[i]);
  });
}

// dst[i * step + j] = src[j][i]. Reads whole blocks of kLanes vectors.
static inline void from_lanes(const ImageRows& rows, const float* src, float* dst) {
  for_vectors(0, rows.floats, [&](int64_t j, int64_t count) {
    vfloat v[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) v[i] = load(src + (j + i) * kLanes);
    transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      if (i < rows.images) store_lanes(dst + i * rows.step + j, v[i], count);
  });
}

constexpr int kTileChannels = kLanes == 16 ? 16 : 8;  // of a tile of the result
constexpr int kTileSums = kLanes == 16 ? 24 : 12;     // that stay in registers

static constexpr int tile_pixels(int channels) {
  const int most = kTileSums / channels;
  return most > 4 ? 4 : most < 1 ? 1 : most;
}

// out[pixel][channel] = bias[channel] + scale[channel] * sum over runs and i < depth of
// in[in_at[run]][pixel][i] * weights[w_at[run]][i][channel], all of them vectors but the weights.
struct Tile {
  const float* in;
  int64_t in_step;  // floats from one pixel to the next
  const int64_t *in_at, *w_at;
  int64_t runs, depth;
  const float *weights, *scale, *bias;
  int64_t w_step;
  float* out;
  int64_t out_step;
  bool relu;
};

template <int PX, int CH>
static void run_tile(const Tile& t) {
  vfloat sums[PX][CH] = {};
  for (int64_t run = 0; run < t.runs; ++run) {
    const float *in = t.in + t.in_at[run], *w = t.weights + t.w_at[run];
    for (int64_t i = 0; i < t.depth; ++i, in += kLanes, w += t.w_step) {
      vfloat x[PX];
#pragma GCC unroll 4
      for (int p = 0; p < PX; ++p) x[p] = load(in + p * t.in_step);
#pragma GCC unroll 16
      for (int c = 0; c < CH; ++c)
#pragma GCC unroll 4
        for (int p = 0; p < PX; ++p) sums[p][c] += x[p] * splat(w[c]);
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < PX; ++p)
#pragma GCC unroll 16
    for (int c = 0; c < CH; ++c) {
      vfloat y = sums[p][c];
      if (t.scale) y *= splat(t.scale[c]);
      if (t.bias) y += splat(t.bias[c]);
      if (t.relu) y = activate<Activation::relu>(0, y);
      store(t.out + p * t.out_step + c * kLanes, y);
    }
}

template <int CH = kTileChannels>
static void choose_tile(int64_t channels, bool single, const Tile& t) {
  if constexpr (CH > 1)
    if (channels < CH) return choose_tile<CH - 1>(channels, single, t);
  single ? run_tile<1, CH>(t) : run_tile<tile_pixels(CH), CH>(t);
}

// Whether the epilogue has operands in the order of memory, for which a line leaves the lanes
// first.
static inline bool reads_memory(const Finish& f) { return f.add || f.saved; }

static inline void activate_line(const Finish& f, int64_t vectors, float* line) {
  if (f.activation == Activation::identity || f.activation == Activation::relu) return;
  with_activation(f.activation, [&](auto tag) {
    for (int64_t i = 0; i < vectors * kLanes; i += kLanes)
      store(line + i, activate<tag.value>(f.alpha, load(line + i)));
  });
}

// A line of each image, which was shifted before.
static inline void finish_lines(Finish f, int64_t image, int64_t images, int64_t floats,
                                float* dst) {
  f.scale = f.bias = nullptr;
  for (int64_t i = 0; i < images; ++i, dst += image) finish_row(f, dst, floats, dst);
}

}  // namespace fastconv::cpu::FASTCONV_ISA
