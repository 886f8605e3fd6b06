// Winograd's minimal filtering (Lavin and Gray 2016, "Fast algorithms for convolutional neural
// networks", section 4): a tile of 4x4 outputs of a window of 3x3 reads 6x6 inputs, of 5x5 8x8.
// Both sides of the convolution are transformed to as many values, among which every product stands
// alone, so that a convolution is 36 (64) matrix products over tiles and channels with a quarter (a
// sixth) of the multiplications.
#pragma once
#include "conv.h"

namespace fastconv::cpu::FASTCONV_ISA {

constexpr int kTile = 4;  // outputs of a tile along an axis

// The one dimensional transforms of F(4, 3), by the interpolation points 0, 1, -1, 2, -2 and
// infinity.
struct Window3 {
  static constexpr int kTaps = 3;
  static constexpr int kPoints = 6;  // inputs of a tile, and values after a transform

  static void input(const vfloat* d, vfloat* t) {
    const vfloat a = d[4] - d[2] * 4.0f, b = d[3] - d[1] * 4.0f;
    const vfloat c = d[4] - d[2], e = (d[3] - d[1]) * 2.0f;
    t[0] = d[0] * 4.0f - d[2] * 5.0f + d[4];
    t[1] = a + b;
    t[2] = a - b;
    t[3] = c + e;
    t[4] = c - e;
    t[5] = d[1] * 4.0f - d[3] * 5.0f + d[5];
  }

  static void filter(const vfloat* g, vfloat* t) {
    const vfloat even = (g[0] + g[2]) * (-1.0f / 6), odd = g[1] * (1.0f / 6);
    const vfloat far = g[0] * (1.0f / 24) + g[2] * (1.0f / 6), half = g[1] * (1.0f / 12);
    t[0] = g[0] * 0.25f;
    t[1] = even - odd;
    t[2] = even + odd;
    t[3] = far + half;
    t[4] = far - half;
    t[5] = g[2];
  }

  // From sums of products to 4 outputs.
  static void output(const vfloat* m, vfloat* y) {
    const vfloat a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4];
    y[0] = m[0] + a + c;
    y[1] = b + e * 2.0f;
    y[2] = a + c * 4.0f;
    y[3] = b + e * 8.0f + m[5];
  }

  // The transposes of the last two, for the weight gradient: from 4 gradients of outputs, and from
  // sums of products to the values of a filter.
  static void gradient(const vfloat* y, vfloat* t) {
    const vfloat even = y[0] + y[2], odd = y[1] + y[3];
    const vfloat far = y[0] + y[2] * 4.0f, far_odd = (y[1] + y[3] * 4.0f) * 2.0f;
    t[0] = y[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = far + far_odd;
    t[4] = far - far_odd;
    t[5] = y[3];
  }

  static void sums(const vfloat* m, vfloat* g) {
    const vfloat near = (m[1] + m[2]) * (-1.0f / 6), far = m[3] + m[4];
    g[0] = m[0] * 0.25f + near + far * (1.0f / 24);
    g[1] = (m[2] - m[1]) * (1.0f / 6) + (m[3] - m[4]) * (1.0f / 12);
    g[2] = near + far * (1.0f / 6) + m[5];
  }
};

// Those of F(4, 5), by the points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity.
struct Window5 {
  static constexpr int kTaps = 5;
  static constexpr int kPoints = 8;

  static void input(const vfloat* d, vfloat* t) {
    const vfloat one = d[2] + d[6] - d[4] * 4.25f, one_odd = d[1] + d[5] - d[3] * 4.25f;
    const vfloat two = d[6] + d[2] * 0.25f - d[4] * 1.25f;
    const vfloat two_odd = d[1] * 0.5f - d[3] * 2.5f + d[5] * 2.0f;
    const vfloat half = d[6] + (d[2] - d[4] * 1.25f) * 4.0f;
    const vfloat half_odd = d[1] * 2.0f - d[3] * 2.5f + d[5] * 0.5f;
    t[0] = d[0] - d[6] + (d[4] - d[2]) * 5.25f;
    t[1] = one + one_odd;
    t[2] = one - one_odd;
    t[3] = two + two_odd;
    t[4] = two - two_odd;
    t[5] = half + half_odd;
    t[6] = half - half_odd;
    t[7] = d[7] - d[1] + (d[3] - d[5]) * 5.25f;
  }

  static void filter(const vfloat* g, vfloat* t) {
    const vfloat one = (g[0] + g[2] + g[4]) * (-2.0f / 9), one_odd = (g[1] + g[3]) * (-2.0f / 9);
    const vfloat two = (g[0] + g[2] * 4.0f + g[4] * 16.0f) * (1.0f / 90);
    const vfloat two_odd = (g[1] + g[3] * 4.0f) * (1.0f / 45);
    const vfloat half = (g[0] * 16.0f + g[2] * 4.0f + g[4]) * (1.0f / 180);
    const vfloat half_odd = (g[1] * 4.0f + g[3]) * (1.0f / 90);
    t[0] = g[0];
    t[1] = one + one_odd;
    t[2] = one - one_odd;
    t[3] = two + two_odd;
    t[4] = two - two_odd;
    t[5] = half + half_odd;
    t[6] = half - half_odd;
    t[7] = g[4];
  }

  static void output(const vfloat* m, vfloat* y) {
    const vfloat one = m[1] + m[2], one_odd = m[1] - m[2], two = m[3] + m[4];
    const vfloat two_odd = m[3] - m[4], half = m[5] + m[6], half_odd = m[5] - m[6];
    y[0] = m[0] + one + two + half * 8.0f;
    y[1] = one_odd + two_odd * 2.0f + half_odd * 4.0f;
    y[2] = one + two * 4.0f + half * 2.0f;
    y[3] = one_odd + two_odd * 8.0f + half_odd + m[7];
  }

  static void gradient(const vfloat* y, vfloat* t) {
    const vfloat one = y[0] + y[2], one_odd = y[1] + y[3], two = y[0] + y[2] * 4.0f;
    const vfloat two_odd = y[1] * 2.0f + y[3] * 8.0f, half = y[0] * 8.0f + y[2] * 2.0f;
    const vfloat half_odd = y[1] * 4.0f + y[3];
    t[0] = y[0];
    t[1] = one + one_odd;
    t[2] = one - one_odd;
    t[3] = two + two_odd;
    t[4] = two - two_odd;
    t[5] = half + half_odd;
    t[6] = half - half_odd;
    t[7] = y[3];
  }

  static void sums(const vfloat* m, vfloat* g) {
    const vfloat one = (m[1] + m[2]) * (-2.0f / 9), one_odd = (m[1] - m[2]) * (-2.0f / 9);
    const vfloat two = (m[3] + m[4]) * (1.0f / 90), two_odd = (m[3] - m[4]) * (1.0f / 45);
    const vfloat half = (m[5] + m[6]) * (1.0f / 180), half_odd = (m[5] - m[6]) * (1.0f / 90);
    g[0] = m[0] + one + two + half * 16.0f;
    g[1] = one_odd + two_odd + half_odd * 4.0f;
    g[2] = one + (two + half) * 4.0f;
    g[3] = one_odd + two_odd * 4.0f + half_odd;
    g[4] = one + two * 16.0f + half + m[7];
  }
};

// Calls body(Window3()) or body(Window5()).
template <class Body>
static inline auto with_window(const WindowGeometry& g, const Body& body) {
  return g.kernel[1] == Window3::kTaps ? body(Window3()) : body(Window5());
}

// The two dimensional form of a transform of `In` to `Out` values: columns, then rows.
// read(i, j) gives a value, write(i, j, value) takes one.
template <int In, int Out, class Read, class Write>
static inline void transform_2d(void (*transform)(const vfloat*, vfloat*), const Read& read,
                                const Write& write) {
  vfloat turned[Out][In];
#pragma GCC unroll 8
  for (int j = 0; j < In; ++j) {
    vfloat column[In], result[Out];
#pragma GCC unroll 8
    for (int i = 0; i < In; ++i) column[i] = read(i, j);
    transform(column, result);
#pragma GCC unroll 8
    for (int i = 0; i < Out; ++i) turned[i][j] = result[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < Out; ++i) {
    vfloat result[Out];
    transform(turned[i], result);
#pragma GCC unroll 8
    for (int j = 0; j < Out; ++j) write(i, j, result[j]);
  }
}

// How the output of a direction is cut into tiles, in every plane. A window of several planes is a
// sum of windows of one.
struct Tiling {
  int64_t batch, D, H, W, C;  // of what is read; C and K of one group
  int64_t O, P, Q, K;         // of what is written
  int64_t groups, planes;     // planes of the window
  int64_t front, top, left;   // the place in the input where the window of output (0, 0, 0) begins
  int64_t tile_lines, tile_columns, tiles;  // tiles of a plane, in all images
};

static inline Tiling tiling_of(const GatherProblem& p) {
  const WindowGeometry& g = *p.geometry;
  const int64_t *read = p.backward ? g.output : g.input, *written = p.backward ? g.input : g.output;
  const int64_t C = g.in_channels / g.groups, K = g.out_channels / g.groups;
  const auto first = [&](int a) {
    return p.backward ? g.pad_before[a] - g.kernel[a] + 1 : -g.pad_before[a];
  };
  Tiling t = {};
  t.batch = g.batch;
  t.D = read[0];
  t.H = read[1];
  t.W = read[2];
  t.C = p.backward ? K : C;
  t.O = written[0];
  t.P = written[1];
  t.Q = written[2];
  t.K = p.backward ? C : K;
  t.groups = g.groups;
  t.planes = g.kernel[0];
  t.front = first(0);
  t.top = first(1);
  t.left = first(2);
  t.tile_lines = ceil_div(t.P, kTile);
  t.tile_columns = ceil_div(t.Q, kTile);
  t.tiles = t.batch * t.tile_lines * t.tile_columns;
  return t;
}

// The output planes [begin, end) that read an input plane through plane `tap` of the window; for
// those before `fresh` it is the first that does.
struct PlaneRange {
  int64_t begin, fresh, end;
};

static inline PlaneRange planes_of(const Tiling& t, int64_t tap) {
  const int64_t shift = tap + t.front, begin = shift < 0 ? -shift : 0;
  const int64_t end = t.D - shift < t.O ? t.D - shift : t.O;
  return {begin, tap == 0 ? end : shift <= 0 && begin < end ? begin + 1 : begin, end};
}

// Pairs of an output plane and one that it reads.
static inline int64_t plane_products(const Tiling& t) {
  int64_t sum = 0;
  for (int64_t tap = 0; tap < t.planes; ++tap) {
    const PlaneRange range = planes_of(t, tap);
    if (range.begin < range.end) sum += range.end - range.begin;
  }
  return sum;
}

// How many small groups a task takes, so that it reads whole lines of the cache.
static inline int64_t groups_in_set(const Tiling& t) {
  constexpr int64_t kSetChannels = 64;
  const int64_t fit = t.C < kSetChannels ? kSetChannels / t.C : 1;
  return fit < t.groups ? fit : t.groups;
}

struct TilePlace {
  int64_t n, y, x;  // image, first output line and column
};

static inline TilePlace place_of(const Tiling& t, int64_t tile) {
  const int64_t row = tile / t.tile_columns;
  return {row / t.tile_lines, row % t.tile_lines * kTile, tile % t.tile_columns * kTile};
}

// Transforms the inputs of a tile in plane z, of `channels` from the one that `in` begins with;
// value (i, j) of channel c goes to dst[(i * kPoints + j) * step + c], with zeros behind the last
// channel. `zeros` stands for pixels in the padding.
template <class Window, class T>
static inline void transform_input_tile(const Tiling& t, const T* in, const T* zeros, int64_t tile,
                                        int64_t z, int64_t channels, float* dst, int64_t step) {
  constexpr int kPoints = Window::kPoints;
  const TilePlace at = place_of(t, tile);
  const T* pixel[kPoints][kPoints];
  for (int i = 0; i < kPoints; ++i)
    for (int j = 0; j < kPoints; ++j) {
      const int64_t y = at.y + t.top + i, x = at.x + t.left + j;
      const bool inside = y >= 0 && y < t.H && x >= 0 && x < t.W;
      const int64_t row = ((at.n * t.D + z) * t.H + y) * t.W + x;
      pixel[i][j] = inside ? in + row * t.C * t.groups : zeros;
    }
  for_vectors(0, channels, [&](int64_t c, int64_t count) {
    transform_2d<kPoints, kPoints>(
        Window::input, [&](int i, int j) { return load_lanes(pixel[i][j] + c, count); },
        [&](int i, int j, vfloat value) { store(dst + (i * kPoints + j) * step + c, value); });
  });
}

// Why a geometry has no such form.
static inline const char* not_winograd(const WindowGeometry& g) {
  if (g.kernel[1] != g.kernel[2] || (g.kernel[1] != 3 && g.kernel[1] != 5))
    return "not a window of 3x3 or 5x5";
  for (int a = 0; a < 3; ++a) {
    if (g.stride[a] != 1) return "stride > 1";
    if (g.dilation[a] != 1) return "dilation > 1";
  }
  const int64_t before = g.pad_before[0], after = g.pad_after[0];
  if (before < 0 || before >= g.kernel[0] || after < 0 || after >= g.kernel[0])
    return "planes outside every window, or in the padding alone";
  return nullptr;
}

}  // namespace fastconv::cpu::FASTCONV_ISA
