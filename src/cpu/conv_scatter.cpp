// The data gradient of few channels, where gathering would leave most lanes empty: each output
// position's gradients times all the weights give its whole window, which is added to dsrc.
#include "conv.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kMostColumns = 1024;  // of a window
constexpr int64_t kBlock = 16;          // positions whose windows wait in L1 or L2

// ddst N O P Q K, weights [columns][K] with columns T R S C, dsrc N D H W C. A task owns one band
// of lines of one plane-stack dsrc[n, :, band]; windows that reach two bands are computed twice.
struct Scatter {
  const WindowGeometry* g;
  const float *ddst, *packed;  // packed [panel][K][columns of the panel]
  float* dsrc;
  int64_t columns;
  Finish finish;
};

int64_t columns_of(const WindowGeometry& g) { return window_taps(g) * g.in_channels; }

int64_t band_lines(const WindowGeometry& g) {
  constexpr int64_t kTasks = 32;
  const int64_t least = 4 * ((g.kernel[1] - 1) * g.dilation[1] + 1);
  const int64_t bands = ceil_div(kTasks, g.batch + 1), even = ceil_div(g.input[1], bands);
  return even > least ? even : least;
}

void pack(const WindowGeometry& g, const float* weights, float* packed) {
  const int64_t columns = columns_of(g), K = g.out_channels;
  for (int64_t i = 0; i < K * padded(columns); ++i) packed[i] = 0;
  for (int64_t column = 0; column < columns; column += kPanel) {
    const int64_t left = columns - column, width = vectors_for(left) * kLanes;
    transpose_copy(weights + column * K, K, packed + column * K, width, K,
                   left < width ? left : width);
  }
}

// windows[i] = the products of `count` neighbouring positions from ddst on.
void multiply_windows(const Scatter& s, const float* ddst, int64_t count, float* windows) {
  const int64_t K = s.g->out_channels, step = padded(s.columns), b_at = 0;
  const float* rows[kBlock];
  float* dst[kBlock];
  for (int64_t i = 0; i < count; ++i) {
    rows[i] = ddst + i * K;
    dst[i] = windows + i * step;
  }
  for (int64_t column = 0; column < step; column += kPanel) {
    const int64_t columns = step - column;
    const int vectors = vectors_for(columns);
    for_tiles(count, tile_rows(vectors), [&](int64_t row, int tile) {
      run_row_tile(tile, vectors,
                   {rows + row, 0, &b_at, 1, K, s.packed + column * K, vectors * kLanes, dst + row,
                    column, columns, false, Finish{}});
    });
  }
}

void add(const float* src, int64_t count, float* dst) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(dst + i, load(dst + i) + load(src + i));
  if (i < count) {
    const int64_t left = count - i;
    store_part(dst + i, load_part(dst + i, left) + load_part(src + i, left), left);
  }
}

// Adds one line of a window, [S][C], to a line of dsrc from pixel x on.
void add_line(const WindowGeometry& g, const float* window, int64_t x, float* line) {
  const int64_t C = g.in_channels, S = g.kernel[2], W = g.input[2];
  if (g.dilation[2] != 1) {
    for (int64_t k = 0; k < S; ++k, x += g.dilation[2])
      if (x >= 0 && x < W) add(window + k * C, C, line + x * C);
    return;
  }
  const int64_t begin = x < 0 ? -x : 0, end = W - x < S ? W - x : S;
  if (begin < end) add(window + begin * C, (end - begin) * C, line + (x + begin) * C);
}

// The windows of `count` positions from (o, p, q) on, clipped to lines [begin, end) of the image.
void add_windows(const Scatter& s, const float* windows, int64_t o, int64_t p, int64_t q,
                 int64_t count, int64_t begin, int64_t end, float* image) {
  const WindowGeometry& g = *s.g;
  const int64_t line_floats = g.input[2] * g.in_channels, step = padded(s.columns);
  for (int64_t t = 0; t < g.kernel[0]; ++t) {
    const int64_t z = o * g.stride[0] - g.pad_before[0] + t * g.dilation[0];
    if (z < 0 || z >= g.input[0]) continue;
    for (int64_t r = 0; r < g.kernel[1]; ++r) {
      const int64_t y = p * g.stride[1] - g.pad_before[1] + r * g.dilation[1];
      if (y < begin || y >= end) continue;
      float* line = image + (z * g.input[1] + y) * line_floats;
      const float* at = windows + (t * g.kernel[1] + r) * g.kernel[2] * g.in_channels;
      for (int64_t i = 0; i < count; ++i)
        add_line(g, at + i * step, (q + i) * g.stride[2] - g.pad_before[2], line);
    }
  }
}

void finish_lines(const Scatter& s, int64_t lines, float* line) {
  const int64_t pixels = lines * s.g->input[2], C = s.g->in_channels;
  if (!s.finish.scale && !s.finish.bias) return finish_row(s.finish, line, pixels * C, line);
  for (int64_t i = 0; i < pixels; ++i, line += C) finish_row(s.finish, line, C, line);
}

void scatter_band(const Scatter& s, int64_t n, int64_t begin, int64_t end) {
  const WindowGeometry& g = *s.g;
  const int64_t K = g.out_channels, line_floats = g.input[2] * g.in_channels;
  float* image = s.dsrc + n * g.input[0] * g.input[1] * line_floats;
  for (int64_t z = 0; z < g.input[0]; ++z)
    __builtin_memset(image + (z * g.input[1] + begin) * line_floats, 0,
                     static_cast<size_t>((end - begin) * line_floats) * sizeof(float));
  alignas(64) float windows[kBlock * kMostColumns];
  for (int64_t o = 0; o < g.output[0]; ++o)
    for (int64_t p = 0; p < g.output[1]; ++p) {
      const int64_t y = p * g.stride[1] - g.pad_before[1];
      if (y >= end || y + (g.kernel[1] - 1) * g.dilation[1] < begin) continue;
      const float* line = s.ddst + ((n * g.output[0] + o) * g.output[1] + p) * g.output[2] * K;
      for (int64_t q = 0; q < g.output[2]; q += kBlock) {
        const int64_t left = g.output[2] - q, count = left < kBlock ? left : kBlock;
        multiply_windows(s, line + q * K, count, windows);
        add_windows(s, windows, o, p, q, count, begin, end, image);
      }
    }
  for (int64_t z = 0; z < g.input[0]; ++z)
    finish_lines(s, end - begin, image + (z * g.input[1] + begin) * line_floats);
}

}  // namespace

const char* conv_scatter_declines(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  if (const char* reason = needs_float32(call)) return reason;
  if (g.groups != 1) return "groups > 1";
  if (3 * g.in_channels > 2 * kLanes) return "enough channels to fill a vector";
  if (padded(columns_of(g)) > kMostColumns) return "too large a window";
  return nullptr;
}

int64_t conv_scatter_workspace(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  return g.out_channels * padded(columns_of(g)) * static_cast<int64_t>(sizeof(float));
}

void conv_backward_data_scatter(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  float* packed = static_cast<float*>(call.workspace);
  pack(g, input<float>(call, 1), packed);
  const Scatter s = {&g,
                     input<float>(call, 0),
                     packed,
                     output<float>(call, 0),
                     columns_of(g),
                     finish_of(call, attrs<ConvAttrs>(call).epilogue)};
  const int64_t lines = band_lines(g), bands = ceil_div(g.input[1], lines);
  const int64_t outputs = g.output[0] * g.output[1] * g.output[2];
  const int64_t work = outputs * g.out_channels * padded(s.columns) / kLanes / bands;
  parallel_for(g.batch * bands, work, [&](int64_t task) {
    const int64_t begin = task % bands * lines, end = begin + lines;
    scatter_band(s, task / bands, begin, end < g.input[1] ? end : g.input[1]);
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
