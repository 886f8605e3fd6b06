// Images side by side: one lane an image. It fills vectors where there are too few channels to do
// so; arrays N D H W C become [D H W C][kLanes] for kLanes images at a time, a part that fits the
// cache.
#pragma once
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

}  // namespace fastconv::cpu::FASTCONV_ISA
