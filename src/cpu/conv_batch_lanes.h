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

// dst[j][i] = at(i)[j], 0 in the lanes behind the last image.
template <class At>
static inline void to_lanes(int64_t images, int64_t floats, const At& at, float* dst) {
  for_vectors(0, floats, [&](int64_t j, int64_t count) {
    vfloat v[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) v[i] = i < images ? load_lanes(at(i) + j, count) : vfloat{};
    transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      if (i < count) store(dst + (j + i) * kLanes, v[i]);
  });
}

static inline void to_lanes(const ImageRows& rows, const float* src, float* dst) {
  to_lanes(rows.images, rows.floats, [&](int i) { return src + i * rows.step; }, dst);
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

// The largest of four; NaN is handed on, and of equal ones the first.
static inline vfloat largest(vfloat a, vfloat b, vfloat c, vfloat d) {
  const vfloat most = max(d, max(c, max(b, a)));  // of NaN and a number `max` gives the second
  return ~((b <= c) | (b >= c)) | (d != d) ? splat(__builtin_nanf("")) : most;
}

// The scale and the bias of a channel.
struct ChannelShift {
  bool scales;
  vfloat scale, bias;
  ChannelShift(const float* scales, const float* biases, int64_t channel)
      : scales(scales),
        scale(splat(scales ? scales[channel] : 1.0f)),
        bias(splat(biases ? biases[channel] : 0.0f)) {}
  vfloat operator()(vfloat x) const { return x * scale + bias; }
  // Of what four sums become. A bias alone does not change which is the largest.
  vfloat largest_of(vfloat a, vfloat b, vfloat c, vfloat d) const {
    const ChannelShift& y = *this;
    return scales ? largest(y(a), y(b), y(c), y(d)) : largest(a, b, c, d) + bias;
  }
};

// Two lines [Q][K] of vectors, one behind the other, become one of the maxima of 2x2.
static inline void pool_lines(int64_t Q, int64_t K, float* lines) {
  const int64_t pixel = K * kLanes, line = Q * pixel;
  for (int64_t q = 0; q < Q / 2; ++q)
    for (int64_t i = 0; i < pixel; i += kLanes) {
      const float* at = lines + 2 * q * pixel + i;
      store(lines + q * pixel + i,
            largest(load(at), load(at + pixel), load(at + line), load(at + line + pixel)));
    }
}

// Whether the maxima can be taken before the results leave the registers: no activation comes
// between that is done line by line.
static inline bool pools_sums(const GatherCall& c) {
  const Activation activation = c.finish.activation;
  return c.pool > 1 && (activation == Activation::identity || activation == Activation::relu);
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
