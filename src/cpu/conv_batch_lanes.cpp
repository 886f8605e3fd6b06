// Convolution and its data gradient for few channels, with kLanes images side by side: a product
// with one weight serves them all, so that no lane is empty however few channels there are. Of a
// few images the stripes stand side by side.
#include "conv_batch_lanes.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kMostChannels = 48;     // of the result
constexpr int64_t kLineFloats = 1 << 14;  // of output lines
constexpr int64_t kMostLines = 64;        // of a window

// As many stripes of output lines of each image as there are lanes for. `geometry` describes them
// as if they were the images; what they read overlaps.
struct Stripes {
  int64_t count;  // of an image
  WindowGeometry geometry;
};

Stripes stripes_of(const GatherProblem& p, int64_t pool) {
  const WindowGeometry& g = *p.geometry;
  Stripes s = {1, g};
  const bool plane = g.input[0] == 1 && g.kernel[0] == 1 && g.output[0] == 1;
  const bool inside = g.pad_before[1] == 0 && g.pad_after[1] <= 0;
  if (p.backward || !plane || !inside || g.batch == 0) return s;
  s.count = kLanes / g.batch;
  while (s.count > 1 && g.output[1] % (s.count * pool) != 0) --s.count;
  if (s.count <= 1) return {1, g};
  s.geometry.batch *= s.count;
  int64_t& lines = s.geometry.output[1] /= s.count;
  s.geometry.input[1] = (lines - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1;
  return s;
}

// How the work is cut: blocks of kLanes images, output planes, bands of output lines.
struct Cut {
  Gather g;
  int64_t blocks, planes, bands, lines;          // `lines` of a band
  int64_t stripes, stripe_floats, image_floats;  // of an image of the input
};

// Input lines that `lines` output lines read.
int64_t lines_read(const Gather& g, int64_t lines) {
  const int64_t all = (lines - 1) * g.axis[1].in_step + (g.axis[1].taps - 1) * g.axis[1].tap_shift;
  return all + 1 < g.axis[1].in_size ? all + 1 : g.axis[1].in_size;
}

int64_t band_floats(const Gather& g, int64_t lines) {
  return g.axis[0].taps * lines_read(g, lines) * g.axis[2].in_size * g.in_channels * kLanes;
}

// A band has whole groups of `pool` lines; what is left at the end is no output.
Cut cut_work(const GatherProblem& p, const Stripes& stripes, int64_t pool) {
  constexpr int64_t kTasks = 16;
  Cut cut = {};
  const Gather& g = cut.g = phase_of({&stripes.geometry, p.backward}, 0);
  const int64_t line = g.axis[2].in_size * g.in_channels;
  cut.stripes = stripes.count;
  cut.stripe_floats = g.axis[1].count * g.axis[1].in_step * line;
  cut.image_floats = g.axis[0].in_size * phase_of(p, 0).axis[1].in_size * line;
  cut.blocks = ceil_div(g.batch, kLanes);
  cut.planes = g.axis[0].count;
  const int64_t all = g.axis[1].count / pool * pool;
  const int64_t wanted = ceil_div(all, ceil_div(kTasks, cut.blocks * cut.planes + 1));
  cut.lines = ceil_div(wanted > g.axis[1].taps ? wanted : g.axis[1].taps, pool) * pool;
  cut.lines = cut.lines < all ? cut.lines : all;
  while (cut.lines > pool && band_floats(g, cut.lines) > kLaneScratch) cut.lines -= pool;
  // Rather larger ones than a last one that is smaller than the others.
  int64_t even = cut.lines;
  while (all % even != 0) even += pool;
  if (even < 2 * cut.lines && band_floats(g, even) <= kLaneScratch) cut.lines = even;
  cut.bands = ceil_div(all, cut.lines);
  return cut;
}

// The lines of the window that one output line meets.
struct Runs {
  int64_t count, in_at[kMostLines], w_at[kMostLines];
};

// The input lines of a band, in lanes: [taps[0]][lines][W][C][kLanes].
struct Band {
  int64_t first, lines;  // input lines
  int64_t line_floats;
  float* in;
};

int64_t clamp(int64_t x, int64_t size) { return x < 0 ? 0 : x > size ? size : x; }

void read_band(const GatherCall& c, const Cut& cut, int64_t n, int64_t images, int64_t o,
               int64_t first, int64_t last, Band& band) {
  const Gather& g = cut.g;
  const GatherAxis *ad = &g.axis[0], *ah = &g.axis[1];
  const int64_t line = g.axis[2].in_size * g.in_channels;
  const int64_t reach = (ah->taps - 1) * ah->tap_shift;
  band.first = clamp(ah->in_first + first * ah->in_step, ah->in_size);
  band.lines = clamp(ah->in_first + (last - 1) * ah->in_step + reach + 1, ah->in_size) - band.first;
  band.line_floats = line * kLanes;
  const float* image[kLanes];
  for (int64_t i = 0; i < images; ++i)
    image[i] =
        c.in + (n + i) / cut.stripes * cut.image_floats + (n + i) % cut.stripes * cut.stripe_floats;
  for (int64_t t = 0; t < ad->taps; ++t) {
    const int64_t z = ad->in_first + o * ad->in_step + t * ad->tap_shift;
    if (z < 0 || z >= ad->in_size) continue;
    const int64_t at = (z * ah->in_size + band.first) * line;
    to_lanes(
        images, band.lines * line, [&](int i) { return image[i] + at; },
        band.in + t * band.lines * band.line_floats);
  }
}

void find_runs(const Gather& g, const Band& band, int64_t o, int64_t p, Runs& runs) {
  const GatherAxis *ad = &g.axis[0], *ah = &g.axis[1];
  runs.count = 0;
  for (int64_t t = 0; t < ad->taps; ++t) {
    const int64_t z = ad->in_first + o * ad->in_step + t * ad->tap_shift;
    if (z < 0 || z >= ad->in_size) continue;
    for (int64_t r = 0; r < ah->taps; ++r) {
      const int64_t y = ah->in_first + p * ah->in_step + r * ah->tap_shift;
      if (y < 0 || y >= ah->in_size) continue;
      runs.in_at[runs.count] = (t * band.lines + y - band.first) * band.line_floats;
      runs.w_at[runs.count++] =
          (t * ah->taps + r) * g.axis[2].taps * g.in_channels * g.out_channels;
    }
  }
}

constexpr int kTileSums = kLanes == 16 ? 24 : 12;  // that stay in registers

constexpr int tile_pixels(int channels) {
  const int most = kTileSums / channels;
  return most > 4 ? 4 : most < 1 ? 1 : most;
}

// out[pixel][channel] = bias[channel] + scale[channel] * sum over runs and i < depth of
// in[in_at[run]][pixel][i] * weights[w_at[run]][i][channel], all of them vectors but the weights.
struct Tile {
  const float* in;
  int64_t in_step, in_line;  // floats from one pixel to the next, and to that one line below
  const int64_t *in_at, *w_at;
  int64_t runs, depth;
  const float *weights, *scale, *bias;
  int64_t w_step;
  float* out;
  int64_t out_step;
  bool relu;
};

// `pools`: of 2x2 pixels, the largest is the only result.
template <int PX, int CH, bool pools = false>
void run_tile(const Tile& t) {
  static_assert(!pools || PX == 4);
  const auto pixel = [&](int p) {
    return pools ? p % 2 * t.in_step + p / 2 * t.in_line : p * t.in_step;
  };
  vfloat sums[PX][CH] = {};
  for (int64_t run = 0; run < t.runs; ++run) {
    const float *in = t.in + t.in_at[run], *w = t.weights + t.w_at[run];
    for (int64_t i = 0; i < t.depth; ++i, in += kLanes, w += t.w_step) {
      vfloat x[PX];
#pragma GCC unroll 4
      for (int p = 0; p < PX; ++p) x[p] = load(in + pixel(p));
#pragma GCC unroll 16
      for (int c = 0; c < CH; ++c)
#pragma GCC unroll 4
        for (int p = 0; p < PX; ++p) sums[p][c] += x[p] * splat(w[c]);
    }
  }
  const vfloat low = splat(t.relu ? 0.0f : -kInfinity);
#pragma GCC unroll 16
  for (int c = 0; c < CH; ++c) {
    const ChannelShift shift(t.scale, t.bias, c);
    const auto put = [&](int p, vfloat y) {
      store(t.out + p * t.out_step + c * kLanes, y < low ? low : y);
    };
    if constexpr (pools) {
      put(0, shift.largest_of(sums[0][c], sums[1][c], sums[2][c], sums[3][c]));
    } else {
#pragma GCC unroll 4
      for (int p = 0; p < PX; ++p) put(p, shift(sums[p][c]));
    }
  }
}

template <int CH = kTileChannels>
void choose_tile(int64_t channels, bool single, const Tile& t) {
  if constexpr (CH > 1)
    if (channels < CH) return choose_tile<CH - 1>(channels, single, t);
  single ? run_tile<1, CH>(t) : run_tile<tile_pixels(CH), CH>(t);
}

constexpr int kPooledChannels = kTileSums / 4;  // of a tile that pools

template <int CH = kPooledChannels>
void choose_pooled_tile(int64_t channels, const Tile& t) {
  if constexpr (CH > 1)
    if (channels < CH) return choose_pooled_tile<CH - 1>(channels, t);
  run_tile<4, CH, true>(t);
}

// Channels [first, first + count) of an output line, into out [Q][K][kLanes].
void run_line(const GatherCall& c, const Gather& g, const Band& band, const Runs& runs,
              int64_t first, int64_t count, float* out) {
  const GatherAxis& aw = g.axis[2];
  const int64_t pixel = g.in_channels * kLanes, K = g.out_channels;
  const int64_t inside = aw.in_size - aw.taps;  // the last x with a whole window
  const int64_t wide = tile_pixels(static_cast<int>(count));
  const Finish finish = c.finish.at_column(first);
  for (int64_t q = 0; q < aw.count;) {
    const int64_t x = aw.in_first + q * aw.in_step;
    const int64_t begin = x < 0 ? -x : 0, end = x > inside ? aw.in_size - x : aw.taps;
    const bool whole = begin == 0 && end == aw.taps && q + wide <= aw.count &&
                       x + (wide - 1) * aw.in_step <= inside;
    choose_tile(
        count, !whole,
        {band.in + (x + begin) * pixel, aw.in_step * pixel, 0, runs.in_at, runs.w_at, runs.count,
         (end - begin) * g.in_channels, c.weights + begin * g.in_channels * K + first, finish.scale,
         finish.bias, K, out + (q * K + first) * kLanes, K * kLanes,
         !reads_memory(c.finish) && c.finish.activation == Activation::relu});
    q += whole ? wide : 1;
  }
}

// The same of a line of maxima of 2x2 outputs, of which the upper left ones read `runs`.
void run_pooled_line(const GatherCall& c, const Gather& g, const Band& band, const Runs& runs,
                     int64_t first, int64_t count, float* out) {
  const GatherAxis& aw = g.axis[2];
  const int64_t pixel = g.in_channels * kLanes, K = g.out_channels;
  const int64_t line = g.axis[1].in_step * band.line_floats;
  const Finish finish = c.finish.at_column(first);
  for (int64_t q = 0; q < aw.count / 2; ++q) {
    const int64_t x = aw.in_first + 2 * q * aw.in_step;
    choose_pooled_tile(
        count, {band.in + x * pixel, aw.in_step * pixel, line, runs.in_at, runs.w_at, runs.count,
                aw.taps * g.in_channels, c.weights + first, finish.scale, finish.bias, K,
                out + (q * K + first) * kLanes, 0, finish.activation == Activation::relu});
  }
}

bool inside(const GatherAxis& a) {
  const int64_t last = a.in_first + (a.count - 1) * a.in_step + (a.taps - 1) * a.tap_shift;
  return a.in_first >= 0 && last < a.in_size;
}

void run_band(const GatherCall& c, const Cut& cut, int64_t block, int64_t o, int64_t band_index) {
  const Gather& g = cut.g;
  const int64_t n = block * kLanes, left = g.batch - n, images = left < kLanes ? left : kLanes;
  const int64_t first = band_index * cut.lines, end = first + cut.lines;
  const int64_t all = g.axis[1].count / c.pool * c.pool, last = end < all ? end : all;
  alignas(64) float in[kLaneScratch], out[kLineFloats];
  Band band = {0, 0, 0, in};
  read_band(c, cut, n, images, o, first, last, band);

  const int64_t Q = g.axis[2].count, K = g.out_channels;
  const int64_t lines = g.axis[1].out_size / c.pool, floats = Q / c.pool * K;
  const int64_t image = g.axis[0].out_size * lines * floats;
  const bool pools = pools_sums(c) && inside(g.axis[1]) && inside(g.axis[2]);
  for (int64_t p = first; p < last; p += c.pool) {
    for (int64_t i = 0; i < (pools ? 1 : c.pool); ++i) {
      Runs runs;
      find_runs(g, band, o, p + i, runs);
      for_tiles(K, pools ? kPooledChannels : kTileChannels, [&](int64_t channel, int count) {
        pools ? run_pooled_line(c, g, band, runs, channel, count, out)
              : run_line(c, g, band, runs, channel, count, out + i * Q * K * kLanes);
      });
    }
    if (!reads_memory(c.finish)) activate_line(c.finish, c.pool * Q * K, out);
    if (c.pool > 1 && !pools) pool_lines(Q, K, out);
    float* dst = c.out + n * image + (o * lines + p / c.pool) * floats;
    from_lanes({image, images, floats}, out, dst);
    if (reads_memory(c.finish)) finish_lines(c.finish, image, images, floats, dst);
  }
}

void run_batch_lanes(const GatherCall& c) {
  const Cut cut = cut_work(c.problem, stripes_of(c.problem, c.pool), c.pool);
  const int64_t work =
      cut.lines * cut.g.axis[2].count * cut.g.taps * cut.g.in_channels * cut.g.out_channels;
  parallel_for(cut.blocks * cut.planes * cut.bands, work, [&](int64_t task) {
    const int64_t rest = task / cut.bands;
    run_band(c, cut, rest / cut.planes, rest % cut.planes, task % cut.bands);
  });
}

const char* declines(const KernelCall& call, bool backward) {
  const WindowGeometry& w = geometry(call);
  if (const char* reason = needs_float32(call)) return reason;
  const int64_t pool = gather_call(call, backward).pool;
  const Stripes stripes = stripes_of({&w, backward}, pool);
  const Gather g = phase_of({&stripes.geometry, backward}, 0);
  const int64_t most = stripes.count > 1 ? kLanes - 1 : kMostChannels;
  if (const char* reason = batch_lanes_decline(stripes.geometry, g.out_channels, most))
    return reason;
  if (backward && w.stride[0] * w.stride[1] * w.stride[2] != 1) return "stride > 1";
  if (w.kernel[0] * w.kernel[1] > kMostLines) return "too large a window";
  const int64_t out = pool * g.axis[2].count * g.out_channels * kLanes;
  if (band_floats(g, pool) > kLaneScratch || out > kLineFloats) return "too long a line";
  return nullptr;
}

}  // namespace

const char* conv_batch_lanes_declines(const KernelCall& call) { return declines(call, false); }
const char* conv_backward_data_batch_lanes_declines(const KernelCall& call) {
  return declines(call, true);
}

void conv_batch_lanes(const KernelCall& call) { run_batch_lanes(gather_call(call, false)); }

int64_t conv_backward_data_batch_lanes_workspace(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  return window_taps(g) * g.in_channels * g.out_channels * static_cast<int64_t>(sizeof(float));
}

void conv_backward_data_batch_lanes(const KernelCall& call) {
  GatherCall c = gather_call(call, true);
  const WindowGeometry& w = geometry(call);
  const int64_t C = w.in_channels, K = w.out_channels;
  for_taps(phase_of(c.problem, 0), w.kernel, [&](int64_t i, int64_t tap) {
    transpose_copy(c.weights + tap * C * K, K, c.workspace + i * K * C, C, K, C);
  });
  c.weights = c.workspace;
  run_batch_lanes(c);
}

}  // namespace fastconv::cpu::FASTCONV_ISA
