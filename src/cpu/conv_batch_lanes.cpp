// Convolution and its data gradient for few channels, with kLanes images side by side: a product
// with one weight serves them all, so that no lane is empty however few channels there are.
#include "conv_batch_lanes.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kMostChannels = 48;     // of the result
constexpr int64_t kLineFloats = 1 << 14;  // of an output line
constexpr int64_t kMostLines = 64;        // of a window

// How the work is cut: blocks of kLanes images, output planes, bands of output lines.
struct Cut {
  Gather g;
  int64_t blocks, planes, bands, lines;  // `lines` of a band
};

// Input lines that `lines` output lines read.
int64_t lines_read(const Gather& g, int64_t lines) {
  const int64_t all = (lines - 1) * g.axis[1].in_step + (g.axis[1].taps - 1) * g.axis[1].tap_shift;
  return all + 1 < g.axis[1].in_size ? all + 1 : g.axis[1].in_size;
}

int64_t band_floats(const Gather& g, int64_t lines) {
  return g.axis[0].taps * lines_read(g, lines) * g.axis[2].in_size * g.in_channels * kLanes;
}

Cut cut_work(const GatherProblem& p) {
  constexpr int64_t kTasks = 16;
  Cut cut = {};
  const Gather& g = cut.g = phase_of(p, 0);
  cut.blocks = ceil_div(g.batch, kLanes);
  cut.planes = g.axis[0].count;
  const int64_t all = g.axis[1].count;
  const int64_t wanted = ceil_div(all, ceil_div(kTasks, cut.blocks * cut.planes + 1));
  cut.lines = wanted > g.axis[1].taps ? wanted : g.axis[1].taps;
  cut.lines = cut.lines < all ? cut.lines : all;
  while (cut.lines > 1 && band_floats(g, cut.lines) > kLaneScratch) --cut.lines;
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

void read_band(const GatherCall& c, const Gather& g, int64_t n, int64_t images, int64_t o,
               int64_t first, int64_t last, Band& band) {
  const GatherAxis *ad = &g.axis[0], *ah = &g.axis[1];
  const int64_t line = g.axis[2].in_size * g.in_channels, image = ad->in_size * ah->in_size * line;
  const int64_t reach = (ah->taps - 1) * ah->tap_shift;
  band.first = clamp(ah->in_first + first * ah->in_step, ah->in_size);
  band.lines = clamp(ah->in_first + (last - 1) * ah->in_step + reach + 1, ah->in_size) - band.first;
  band.line_floats = line * kLanes;
  for (int64_t t = 0; t < ad->taps; ++t) {
    const int64_t z = ad->in_first + o * ad->in_step + t * ad->tap_shift;
    if (z < 0 || z >= ad->in_size) continue;
    to_lanes({image, images, band.lines * line},
             c.in + n * image + (z * ah->in_size + band.first) * line,
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
        {band.in + (x + begin) * pixel, aw.in_step * pixel, runs.in_at, runs.w_at, runs.count,
         (end - begin) * g.in_channels, c.weights + begin * g.in_channels * K + first, finish.scale,
         finish.bias, K, out + (q * K + first) * kLanes, K * kLanes,
         !reads_memory(c.finish) && c.finish.activation == Activation::relu});
    q += whole ? wide : 1;
  }
}

void run_band(const GatherCall& c, const Cut& cut, int64_t block, int64_t o, int64_t band_index) {
  const Gather& g = cut.g;
  const int64_t n = block * kLanes, left = g.batch - n, images = left < kLanes ? left : kLanes;
  const int64_t first = band_index * cut.lines, end = first + cut.lines;
  const int64_t last = end < g.axis[1].count ? end : g.axis[1].count;
  alignas(64) float in[kLaneScratch], out[kLineFloats];
  Band band = {0, 0, 0, in};
  read_band(c, g, n, images, o, first, last, band);

  const int64_t K = g.out_channels, floats = g.axis[2].count * K;
  const int64_t image = g.axis[0].out_size * g.axis[1].out_size * floats;
  for (int64_t p = first; p < last; ++p) {
    Runs runs;
    find_runs(g, band, o, p, runs);
    for_tiles(K, kTileChannels,
              [&](int64_t channel, int count) { run_line(c, g, band, runs, channel, count, out); });
    if (!reads_memory(c.finish)) activate_line(c.finish, floats, out);
    float* dst = c.out + n * image + (o * g.axis[1].out_size + p) * floats;
    from_lanes({image, images, floats}, out, dst);
    if (reads_memory(c.finish)) finish_lines(c.finish, image, images, floats, dst);
  }
}

void run_batch_lanes(const GatherCall& c) {
  const Cut cut = cut_work(c.problem);
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
  const Gather g = phase_of({&w, backward}, 0);
  if (const char* reason = batch_lanes_decline(w, g.out_channels, kMostChannels)) return reason;
  if (backward && w.stride[0] * w.stride[1] * w.stride[2] != 1) return "stride > 1";
  if (w.kernel[0] * w.kernel[1] > kMostLines) return "too large a window";
  if (band_floats(g, 1) > kLaneScratch || g.axis[2].count * g.out_channels * kLanes > kLineFloats)
    return "too long a line";
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
