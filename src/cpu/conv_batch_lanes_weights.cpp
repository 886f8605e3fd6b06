// The weight gradient for few channels, with kLanes images side by side: every weight has a vector
// of sums, one lane an image, which are added up at the end.
#include "conv_batch_lanes.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int kTileRows = kLanes == 16 ? 6 : 3;  // of a tile: neighbours in a line of the window
constexpr int kTileColumns = 4;                  // of a tile: output channels
constexpr int64_t kMostChannels = 31;
constexpr int64_t kMostSumFloats = 1 << 15;

// sums[row][column] += over lines and pixels of src[line][pixel][row] * ddst[line][pixel][column],
// all of them vectors.
struct Tile {
  const float *src, *ddst;
  int64_t src_line, src_pixel, ddst_line, ddst_pixel;  // floats
  int64_t lines, pixels;
  float* sums;
  int64_t sums_step;  // floats from one row to the next
};

template <int ROWS, int COLUMNS>
void run_tile(const Tile& t) {
  vfloat sums[ROWS][COLUMNS];
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int k = 0; k < COLUMNS; ++k) sums[i][k] = load(t.sums + i * t.sums_step + k * kLanes);
  for (int64_t line = 0; line < t.lines; ++line) {
    const float *x = t.src + line * t.src_line, *dy = t.ddst + line * t.ddst_line;
    for (int64_t q = 0; q < t.pixels; ++q, x += t.src_pixel, dy += t.ddst_pixel) {
      vfloat y[COLUMNS];
#pragma GCC unroll 4
      for (int k = 0; k < COLUMNS; ++k) y[k] = load(dy + k * kLanes);
#pragma GCC unroll 6
      for (int i = 0; i < ROWS; ++i) {
        const vfloat row = in_register(load(x + i * kLanes));
#pragma GCC unroll 4
        for (int k = 0; k < COLUMNS; ++k) sums[i][k] += row * y[k];
      }
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int k = 0; k < COLUMNS; ++k) store(t.sums + i * t.sums_step + k * kLanes, sums[i][k]);
}

template <int ROWS, int COLUMNS = kTileColumns>
void choose_columns(int columns, const Tile& t) {
  if constexpr (COLUMNS > 1)
    if (columns < COLUMNS) return choose_columns<ROWS, COLUMNS - 1>(columns, t);
  run_tile<ROWS, COLUMNS>(t);
}

template <int ROWS = kTileRows>
void choose_rows(int rows, int columns, const Tile& t) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return choose_rows<ROWS - 1>(rows, columns, t);
  choose_columns<ROWS>(columns, t);
}

// src N D H W C, ddst N O P Q K. A task takes kLanes images, one output plane, and a band of
// output lines; src has `columns` pixels a line in lanes, those in the padding included.
struct Cut {
  const WindowGeometry* w;
  int64_t blocks, planes, bands, lines;
  int64_t columns, src_line, ddst_line;  // floats in lanes
  int64_t tasks, dweights_floats;
};

int64_t lines_read(const WindowGeometry& w, int64_t lines) {
  return (lines - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1;
}

int64_t band_floats(const Cut& cut, int64_t lines) {
  return cut.w->kernel[0] * lines_read(*cut.w, lines) * cut.src_line + lines * cut.ddst_line;
}

Cut cut_work(const WindowGeometry& w) {
  constexpr int64_t kTasks = 4;
  Cut cut = {};
  cut.w = &w;
  cut.blocks = ceil_div(w.batch, kLanes);
  cut.planes = w.output[0];
  cut.columns = (w.output[2] - 1) * w.stride[2] + w.kernel[2];
  cut.src_line = cut.columns * w.in_channels * kLanes;
  cut.ddst_line = w.output[2] * w.out_channels * kLanes;
  cut.lines = ceil_div(w.output[1], ceil_div(kTasks, cut.blocks * cut.planes + 1));
  while (cut.lines > 1 && band_floats(cut, cut.lines) > kLaneScratch) --cut.lines;
  cut.bands = ceil_div(w.output[1], cut.lines);
  cut.tasks = cut.blocks * cut.planes * cut.bands;
  cut.dweights_floats = window_taps(w) * w.in_channels * w.out_channels;
  return cut;
}

// One line of src in lanes, with zeros in the padding; all zeros without `line`.
void read_line(const Cut& cut, const float* line, const ImageRows& image, float* dst) {
  const WindowGeometry& w = *cut.w;
  const int64_t C = w.in_channels, pad = w.pad_before[2], W = w.input[2];
  const int64_t padded = pad > 0 ? pad : 0, stop = W + pad;
  const int64_t begin = padded < cut.columns ? padded : cut.columns;
  int64_t end = stop < cut.columns ? stop : cut.columns;
  if (!line || end < begin) end = begin;
  for (int64_t i = 0; i < begin * C * kLanes; i += kLanes) store(dst + i, vfloat{});
  to_lanes({image.step, image.images, (end - begin) * C}, line + (begin - pad) * C,
           dst + begin * C * kLanes);
  for (int64_t i = end * C * kLanes; i < cut.src_line; i += kLanes) store(dst + i, vfloat{});
}

// One task's input, in lanes.
struct Band {
  int64_t o, first, lines;  // output lines [first, first + lines) of plane o
  int64_t src_lines;        // of a plane
  float *src, *ddst;        // [T][src_lines][columns][C], [lines][Q][K]
};

void read_band(const Cut& cut, const float* src, const float* ddst, int64_t n, const Band& band) {
  const WindowGeometry& w = *cut.w;
  const int64_t left = w.batch - n, images = left < kLanes ? left : kLanes;
  const int64_t line = w.input[2] * w.in_channels, plane = w.input[1] * line;
  const ImageRows rows = {w.input[0] * plane, images, 0};
  for (int64_t t = 0; t < w.kernel[0]; ++t)
    for (int64_t i = 0; i < band.src_lines; ++i) {
      const int64_t z = band.o * w.stride[0] - w.pad_before[0] + t * w.dilation[0];
      const int64_t y = band.first * w.stride[1] - w.pad_before[1] + i;
      const bool inside = z >= 0 && z < w.input[0] && y >= 0 && y < w.input[1];
      const float* at = inside ? src + n * rows.step + z * plane + y * line : nullptr;
      read_line(cut, at, rows, band.src + (t * band.src_lines + i) * cut.src_line);
    }
  const int64_t out_line = w.output[2] * w.out_channels, out_plane = w.output[1] * out_line;
  const int64_t out_image = w.output[0] * out_plane;
  to_lanes({out_image, images, band.lines * out_line},
           ddst + n * out_image + band.o * out_plane + band.first * out_line, band.ddst);
}

// Adds the products of output channels [first, first + count) to sums [taps][C][count].
void add_band(const Cut& cut, const Band& band, int64_t first, int count, float* sums) {
  const WindowGeometry& w = *cut.w;
  const int64_t C = w.in_channels, rows = w.kernel[2] * C, step = count * kLanes;
  for (int64_t line = 0; line < w.kernel[0] * w.kernel[1]; ++line) {
    const int64_t t = line / w.kernel[1], r = line % w.kernel[1];
    const int64_t y = t * band.src_lines + r * w.dilation[1];
    for_tiles(rows, kTileRows, [&](int64_t row, int tile_rows) {
      choose_rows(tile_rows, count,
                  {band.src + y * cut.src_line + row * kLanes, band.ddst + first * kLanes,
                   w.stride[1] * cut.src_line, w.stride[2] * C * kLanes, cut.ddst_line,
                   w.out_channels * kLanes, band.lines, w.output[2],
                   sums + (line * rows + row) * step, step});
    });
  }
}

// dweights [taps C][K] of channels [first, first + count) from sums [taps C][count][kLanes].
void reduce(const Cut& cut, const float* sums, int64_t first, int64_t count, float* dweights) {
  const int64_t K = cut.w->out_channels, total = cut.dweights_floats / K * count;
  for (int64_t i = 0; i < total; i += kLanes) {
    vfloat v[kLanes];
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; ++j) v[j] = load(sums + (i + j) * kLanes);
    const vfloat each = sums_of(v);
    for (int64_t j = i; j < i + kLanes && j < total; ++j)
      dweights[j / count * K + first + j % count] = each[j - i];
  }
}

void run_band(const Cut& cut, const float* src, const float* ddst, int64_t task, float* dweights) {
  const WindowGeometry& w = *cut.w;
  const int64_t rest = task / cut.bands, first = task % cut.bands * cut.lines;
  const int64_t left = w.output[1] - first, lines = left < cut.lines ? left : cut.lines;
  alignas(64) float in[kLaneScratch], sums[kMostSumFloats + kLanes * kLanes];
  Band band = {rest % cut.planes, first, lines, lines_read(w, lines), in, nullptr};
  band.ddst = in + w.kernel[0] * band.src_lines * cut.src_line;
  read_band(cut, src, ddst, rest / cut.planes * kLanes, band);
  for_tiles(w.out_channels, kTileColumns, [&](int64_t channel, int count) {
    const int64_t floats = cut.dweights_floats / w.out_channels * count * kLanes;
    for (int64_t i = 0; i < floats; i += kLanes) store(sums + i, vfloat{});
    add_band(cut, band, channel, count, sums);
    reduce(cut, sums, channel, count, dweights);
  });
}

}  // namespace

const char* conv_backward_weights_batch_lanes_declines(const KernelCall& call) {
  const WindowGeometry& w = geometry(call);
  if (const char* reason = needs_float32(call)) return reason;
  if (const char* reason = batch_lanes_decline(w, w.out_channels, kMostChannels)) return reason;
  const Cut cut = cut_work(w);
  if (window_taps(w) * w.in_channels * kTileColumns * kLanes > kMostSumFloats)
    return "too large a window";
  if (band_floats(cut, 1) > kLaneScratch) return "too long a line";
  return nullptr;
}

int64_t conv_backward_weights_batch_lanes_workspace(const KernelCall& call) {
  const Cut cut = cut_work(geometry(call));
  return cut.tasks * cut.dweights_floats * static_cast<int64_t>(sizeof(float));
}

void conv_backward_weights_batch_lanes(const KernelCall& call) {
  const WindowGeometry& w = geometry(call);
  const Cut cut = cut_work(w);
  float *partial = static_cast<float*>(call.workspace), *dweights = output<float>(call, 0);
  const int64_t work = cut.lines * w.output[2] * cut.dweights_floats;
  parallel_for(cut.tasks, work, [&](int64_t task) {
    run_band(cut, input<float>(call, 0), input<float>(call, 1), task,
             partial + task * cut.dweights_floats);
  });
  for_vectors(0, cut.dweights_floats, [&](int64_t i, int64_t count) {
    vfloat total = {};
    for (int64_t task = 0; task < cut.tasks; ++task)
      total += load_lanes(partial + task * cut.dweights_floats + i, count);
    store_lanes(dweights + i, total, count);
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
