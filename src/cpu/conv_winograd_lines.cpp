// Convolution of few images with few channels by Winograd's minimal filtering along lines alone: a
// tile of 4 outputs of a line reads 6 or 8 inputs of each line of the window, and the products of
// these lines are summed before they are transformed back. The channels of the result are in the
// lanes.
#include "conv_batch_lanes.h"
#include "conv_lines.h"
#include "conv_winograd.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kMostChannels = 16;  // of the input
constexpr int kSums = 10;              // that stay in registers

// A task has an image and a band of output lines. Its memory: the transformed lines
// [points][input lines][tiles][C], where the last vector of a point may end behind it, and the sums
// [points][output lines][tiles], each a vector of channels.
struct Plan {
  Tiling t;
  int64_t taps, points;  // of a line
  int64_t vectors;       // of the channels of the result
  int64_t bands, lines;  // output lines of a band
  int64_t value_step, sum_step;
  int64_t slot_floats() const { return points * (value_step + sum_step); }
  int64_t weights() const { return vectors * points * taps * t.C * kLanes; }
};

Plan plan_of(const WindowGeometry& g) {
  constexpr int64_t kBandFloats = 1 << 13;
  Plan p = {};
  p.t = tiling_of({&g, false});
  p.taps = g.kernel[2];
  p.points = p.taps + kTile - 1;
  p.vectors = ceil_div(p.t.K, kLanes);
  const int64_t line = p.points * p.t.tile_columns * kLanes;
  const int64_t fit = kBandFloats / line / 2 * 2, most = fit > 2 ? fit : 2;
  p.bands = ceil_div(p.t.P, most);
  p.lines = ceil_div(ceil_div(p.t.P, p.bands > 0 ? p.bands : 1), 2) * 2;
  p.value_step = padded((p.lines + p.taps - 1) * p.t.tile_columns * p.t.C + kLanes);
  p.sum_step = p.lines * p.t.tile_columns * kLanes;
  return p;
}

// dst[vector][point][line][C] of vectors, from the weights [line][tap][C][K].
template <class Window>
void transform_weights(const Plan& p, const float* weights, float* dst) {
  constexpr int kTaps = Window::kTaps, kPoints = Window::kPoints;
  const int64_t C = p.t.C, K = p.t.K, rows = kTaps * C;
  for_vectors(0, K, [&](int64_t k, int64_t lanes) {
    for (int64_t row = 0; row < rows; ++row, dst += kLanes) {
      vfloat taps[kTaps], values[kPoints];
      const float* from = weights + (row / C * kTaps * C + row % C) * K + k;
      for (int s = 0; s < kTaps; ++s) taps[s] = load_lanes(from + s * C * K, lanes);
      Window::filter(taps, values);
      for (int i = 0; i < kPoints; ++i) store(dst + i * rows * kLanes, values[i]);
    }
    dst += (kPoints - 1) * rows * kLanes;
  });
}

// The values of an input line, null for one in the padding, at `values` and one step further for
// each point. A vector that is stored covers what the one before wrote behind its channels.
template <class Window>
void transform_line(const Plan& p, const float* line, const float* zeros, float* values) {
  constexpr int kPoints = Window::kPoints;
  const int64_t C = p.t.C;
  for (int64_t tile = 0; tile < p.t.tile_columns; ++tile, values += C) {
    const float* pixel[kPoints];
    for (int i = 0; i < kPoints; ++i) {
      const int64_t x = tile * kTile + p.t.left + i;
      pixel[i] = line && x >= 0 && x < p.t.W ? line + x * C : zeros;
    }
    for_vectors(0, C, [&](int64_t c, int64_t lanes) {
      vfloat in[kPoints], out[kPoints];
#pragma GCC unroll 8
      for (int i = 0; i < kPoints; ++i) in[i] = load_lanes(pixel[i] + c, lanes);
      Window::input(in, out);
#pragma GCC unroll 8
      for (int i = 0; i < kPoints; ++i) store(values + i * p.value_step + c, out[i]);
    });
  }
}

// Of `kCount` neighbouring tiles at a point: sums[tile] = sum over lines of the window and C.
template <int kCount>
void sum_tiles(const Plan& p, const float* values, const float* weights, float* sums) {
  const int64_t C = p.t.C, line = p.t.tile_columns * C;
  vfloat sum[kCount] = {};
  for (int64_t r = 0; r < p.taps; ++r, values += line)
    for (int64_t c = 0; c < C; ++c, weights += kLanes) {
      const vfloat w = load(weights);
#pragma GCC unroll 10
      for (int i = 0; i < kCount; ++i) sum[i] += splat(values[i * C + c]) * w;
    }
#pragma GCC unroll 10
  for (int i = 0; i < kCount; ++i) store(sums + i * kLanes, sum[i]);
}

// Outputs of `c.pool` lines of a tile, from their sums, to dst [lines][Q][K] or their maxima.
template <class Window>
void write_tile(const GatherCall& c, const Plan& p, const Shift& shift, const float* sums,
                int64_t lanes, int64_t x, float* dst) {
  constexpr int kPoints = Window::kPoints;
  const int64_t K = p.t.K;
  vfloat out[2][kTile];
  for (int64_t i = 0; i < c.pool; ++i, sums += p.t.tile_columns * kLanes) {
    vfloat in[kPoints];
#pragma GCC unroll 8
    for (int j = 0; j < kPoints; ++j) in[j] = load(sums + j * p.sum_step);
    Window::output(in, out[i]);
#pragma GCC unroll 4
    for (int j = 0; j < kTile; ++j) {
      if (x + j >= p.t.Q) continue;
      float* at = dst + j * K;
      out[i][j] = finished(c.finish, shift(out[i][j]), at, lanes);
      if (c.pool == 1) store_lanes(at, out[i][j], lanes);
    }
  }
  for (int j = 0; c.pool == 2 && x + j + 1 < p.t.Q && j < kTile; j += 2)
    store_lanes(dst + j / 2 * K, largest(out[0][j], out[0][j + 1], out[1][j], out[1][j + 1]),
                lanes);
}

template <class Window>
void run_band(const GatherCall& c, const Plan& p, const float* weights, const float* zeros,
              int64_t n, int64_t first, float* values) {
  const Tiling& t = p.t;
  const int64_t left = t.P - first, lines = (left < p.lines ? left : p.lines) / c.pool * c.pool;
  const int64_t rows = p.taps * t.C, columns = t.tile_columns;
  float* sums = values + p.points * p.value_step;
  for (int64_t i = 0; i < lines + p.taps - 1; ++i) {
    const int64_t y = first + t.top + i;
    const bool inside = y >= 0 && y < t.H;
    transform_line<Window>(p, inside ? c.in + (n * t.H + y) * t.W * t.C : nullptr, zeros,
                           values + i * columns * t.C);
  }
  for_vectors(0, t.K, [&](int64_t k, int64_t lanes) {
    for (int64_t i = 0; i < p.points; ++i, weights += rows * kLanes)
      for_blocks<kSums>(0, lines * columns, [&](auto size, int64_t tile) {
        sum_tiles<size.value>(p, values + i * p.value_step + tile * t.C, weights,
                              sums + i * p.sum_step + tile * kLanes);
      });
    const Shift shift(c.finish, k, lanes);
    for (int64_t i = 0; i < lines; i += c.pool)
      for (int64_t tile = 0; tile < columns; ++tile) {
        const int64_t x = tile * kTile, line = n * (t.P / c.pool) + (first + i) / c.pool;
        write_tile<Window>(c, p, shift, sums + (i * columns + tile) * kLanes, lanes, x,
                           c.out + (line * (t.Q / c.pool) + x / c.pool) * t.K + k);
      }
  });
}

// In multiply-adds of a vector for a line of the window and of the result.
bool pays(const Plan& p) {
  constexpr int64_t kInput = 5, kOutput = 6;  // of one value
  const int64_t tile = p.points * (p.vectors * (p.taps * p.t.C + kOutput) + kInput);
  return p.t.tile_columns * tile * 8 < p.taps * p.taps * p.t.C * p.vectors * p.t.Q * 7;
}

template <class Window>
void prepare(const KernelCall& call, float* weights) {
  transform_weights<Window>(plan_of(geometry(call)), input<float>(call, 1), weights);
}

}  // namespace

const char* conv_winograd_lines_declines(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  if (const char* reason = needs_float32(call)) return reason;
  if (const char* reason = not_winograd(g)) return reason;
  if (g.groups != 1) return "groups > 1";
  if (g.kernel[0] * g.input[0] != 1) return "more than one plane";
  if (g.in_channels >= kMostChannels) return "enough input channels to fill a vector";
  if (g.out_channels < kLanes) return "fewer channels than lanes";
  return pays(plan_of(g)) ? nullptr : "the transforms cost more than they save";
}

int64_t conv_winograd_lines_prepared(const KernelCall& call) {
  if (!is_constant(call, 1)) return 0;
  return plan_of(geometry(call)).weights() * static_cast<int64_t>(sizeof(float));
}

void conv_winograd_lines_prepare(const KernelCall& call) {
  with_window(geometry(call), [&](auto window) {
    prepare<decltype(window)>(call, static_cast<float*>(call.prepared));
  });
}

// Zeros for a pixel in the padding, the weights unless they are prepared, and the slots.
int64_t conv_winograd_lines_workspace(const KernelCall& call) {
  const Plan p = plan_of(geometry(call));
  const int64_t weights = is_constant(call, 1) ? 0 : p.weights();
  return (kMostChannels + weights + usable_threads() * p.slot_floats()) *
         static_cast<int64_t>(sizeof(float));
}

void conv_winograd_lines(const KernelCall& call) {
  const GatherCall c = gather_call(call, false);
  const Plan p = plan_of(geometry(call));
  float *zeros = c.workspace, *slots = zeros + kMostChannels;
  for (int64_t i = 0; i < kMostChannels; ++i) zeros[i] = 0;
  with_window(geometry(call), [&](auto window) {
    using Window = decltype(window);
    const float* weights = static_cast<const float*>(call.prepared);
    if (!weights) {
      prepare<Window>(call, slots);
      weights = slots;
      slots += p.weights();
    }
    const int64_t floats = call.workspace_bytes / static_cast<int64_t>(sizeof(float));
    const int64_t count = (floats - (slots - zeros)) / p.slot_floats();
    const int64_t work = p.lines * p.t.tile_columns * p.points * p.taps * p.t.C * p.t.K;
    parallel_for_slots(p.t.batch * p.bands, work, count, [&](int64_t task, int64_t slot) {
      run_band<Window>(c, p, weights, zeros, task / p.bands, task % p.bands * p.lines,
                       slots + slot * p.slot_floats());
    });
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
