// The view of convolution that its forward and data gradient share: every output position gathers
// input positions, one for each position of the window.
//
// The data gradient of a strided convolution falls into phases: outputs whose position modulo
// the stride is the same meet the same positions of the window, so that no product with an
// inserted zero is ever formed. The forward has one phase.
#pragma once
#include "bfloat16.h"
#include "convert.h"
#include "fastconv/op.h"

namespace fastconv::cpu::FASTCONV_ISA {

// One spatial axis of a phase: output out_first + i*out_step (0 <= i < count) reads input
// in_first + i*in_step + j*tap_shift through window position tap_first + j*tap_step (j < taps).
struct GatherAxis {
  int64_t in_size, out_size;
  int64_t out_first, out_step, count;
  int64_t in_first, in_step;
  int64_t taps, tap_first, tap_step, tap_shift;
};

// One phase: a dense product for each group, from `in_channels` to `out_channels` of that group.
struct Gather {
  GatherAxis axis[3];
  int64_t batch, groups;
  int64_t in_channels, out_channels;  // of one group
  int64_t positions;                  // outputs of the phase in the whole batch
  int64_t taps;                       // of the phase
  int64_t tap_base;                   // taps of the phases before
};

// Which of the two directions.
struct GatherProblem {
  const WindowGeometry* geometry;
  bool backward;
};

static inline int64_t phase_count(const GatherProblem& p) {
  const int64_t* stride = p.geometry->stride;
  return p.backward ? stride[0] * stride[1] * stride[2] : 1;
}

static inline GatherAxis forward_axis(const WindowGeometry& g, int a) {
  return {g.input[a],  g.output[a], 0, 1, g.output[a],  -g.pad_before[a],
          g.stride[a], g.kernel[a], 0, 1, g.dilation[a]};
}

static inline int64_t common_divisor(int64_t a, int64_t b) {
  while (b) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

// Taps run backwards, so that the input positions ascend.
static inline GatherAxis backward_axis(const WindowGeometry& g, int a, int64_t phase) {
  const int64_t stride = g.stride[a], dilation = g.dilation[a], kernel = g.kernel[a];
  const int64_t origin = phase + g.pad_before[a];
  const int64_t common = common_divisor(dilation, stride);
  const int64_t period = stride / common;
  int64_t first = 0;
  while (first < kernel && first < period && (origin - first * dilation) % stride != 0) ++first;
  const bool any = first < kernel && first < period;
  const int64_t taps = any ? (kernel - first + period - 1) / period : 0;
  const int64_t last = first + (taps - 1) * period;
  const int64_t count = phase < g.input[a] ? (g.input[a] - phase + stride - 1) / stride : 0;
  const int64_t in_first = any ? (origin - last * dilation) / stride : 0;
  return {g.output[a], g.input[a], phase,   stride,           count, in_first, 1,
          taps,        last,       -period, dilation / common};
}

static inline Gather phase_of(const GatherProblem& p, int64_t phase) {
  const WindowGeometry& g = *p.geometry;
  Gather result = {};
  result.batch = g.batch;
  result.groups = g.groups;
  result.in_channels = (p.backward ? g.out_channels : g.in_channels) / g.groups;
  result.out_channels = (p.backward ? g.in_channels : g.out_channels) / g.groups;
  result.positions = g.batch;
  result.taps = 1;
  for (int a = 2; a >= 0; --a) {
    GatherAxis& axis = result.axis[a];
    axis = p.backward ? backward_axis(g, a, phase % g.stride[a]) : forward_axis(g, a);
    if (p.backward) phase /= g.stride[a];
    result.positions *= axis.count;
    result.taps *= axis.taps;
  }
  return result;
}

static inline Gather gather_phase(const GatherProblem& p, int64_t phase) {
  Gather result = phase_of(p, phase);
  for (int64_t i = 0; i < phase; ++i) result.tap_base += phase_of(p, i).taps;
  return result;
}

// The place of tap (i, j, k) of the phase in the weights T R S.
static inline int64_t weight_tap(const Gather& g, const int64_t* kernel, int64_t i, int64_t j,
                                 int64_t k) {
  const auto place = [&](int a, int64_t tap) {
    return g.axis[a].tap_first + tap * g.axis[a].tap_step;
  };
  return (place(0, i) * kernel[1] + place(1, j)) * kernel[2] + place(2, k);
}

// Calls body(tap, weight_tap) for the taps of a phase, in the order of its packed weights.
template <class Body>
static inline void for_taps(const Gather& g, const int64_t* kernel, const Body& body) {
  int64_t tap = 0;
  for (int64_t i = 0; i < g.axis[0].taps; ++i)
    for (int64_t j = 0; j < g.axis[1].taps; ++j)
      for (int64_t k = 0; k < g.axis[2].taps; ++k) body(tap++, weight_tap(g, kernel, i, j, k));
}

// Neighbouring positions of one line: `length` of them from `at`, the first at `offset` in a block.
struct Segment {
  int64_t n, at[3];
  int64_t offset, length;
};

// Calls body(segment) for the lines that positions [first, first + count) of a phase fall into.
template <class Body>
static inline void for_segments(const Gather& g, int64_t first, int64_t count, const Body& body) {
  const GatherAxis* axis = g.axis;
  Segment s = {};
  s.n = first;
  for (int a = 2; a >= 0; --a) {
    s.at[a] = s.n % axis[a].count;
    s.n /= axis[a].count;
  }
  while (s.offset < count) {
    const int64_t line = axis[2].count - s.at[2], left = count - s.offset;
    s.length = line < left ? line : left;
    body(s);
    s.offset += s.length;
    s.at[2] = 0;
    if (++s.at[1] < axis[1].count) continue;
    s.at[1] = 0;
    if (++s.at[0] < axis[0].count) continue;
    s.at[0] = 0;
    ++s.n;
  }
}

// The addresses of the output pixels of a block.
template <class T>
static inline void fill_outputs(const Gather& g, T* out, int64_t pixel_floats, int64_t first,
                                int64_t count, T** dst) {
  for_segments(g, first, count, [&](const Segment& s) {
    int64_t pixel = s.n;
    for (int a = 0; a < 3; ++a)
      pixel = pixel * g.axis[a].out_size + g.axis[a].out_first + s.at[a] * g.axis[a].out_step;
    for (int64_t i = 0; i < s.length; ++i)
      dst[s.offset + i] = out + (pixel + i * g.axis[2].out_step) * pixel_floats;
  });
}

// Where the rows of a block of positions lie. A run is one tap, or the taps of a row of the window
// in one if their pixels are neighbours.
constexpr int64_t kMostRows = 8192;
constexpr int64_t kMostPatch = 24576;

template <class T>
struct RowTableOf {
  const T* rows[kMostRows];       // [runs][step]
  int64_t run_at[kMostRows / 4];  // first tap of each run
  int64_t step, runs, count;
  alignas(64) T patch[kMostPatch];
};
using RowTable = RowTableOf<float>;

struct RunShape {
  bool merged;
  int64_t runs, taps_in_run, pixel_floats;  // pixel_floats: one input pixel, all groups
  int64_t block;                            // positions that fit a table
};

// Merged runs at the border are copied to `patch` with their zeros.
static inline RunShape run_shape(const Gather& g, int64_t most_block) {
  RunShape s;
  const int64_t width = g.axis[2].taps, lines = g.axis[0].taps * g.axis[1].taps;
  s.pixel_floats = g.in_channels * g.groups;
  s.merged = g.groups == 1 && width > 1 && g.axis[2].tap_shift == 1 &&
             lines * width * s.pixel_floats * most_block <= kMostPatch;
  s.runs = s.merged ? lines : g.taps;
  s.taps_in_run = s.merged ? width : 1;
  s.block = most_block;
  while (s.block > 1 && s.block * s.runs > kMostRows) s.block = (s.block + 1) / 2;
  return s;
}

constexpr int64_t kMostRuns = kMostRows / 8;

// A row of the window, its zeros included, for a position near the border.
template <class T>
static inline void copy_patch(const T* line, int64_t x, int64_t taps, int64_t size,
                              int64_t pixel_floats, const T* zeros, T* patch) {
  for (int64_t k = 0; k < taps; ++k, ++x, patch += pixel_floats) {
    const bool inside = x >= 0 && x < size;
    for (int64_t c = 0; c < pixel_floats; ++c)
      patch[c] = inside ? line[x * pixel_floats + c] : zeros[c];
  }
}

// The rows of one run for the positions of a segment, the first of which reads `line` from x on.
// `patch` has room for the run at each position, patch_step floats apart.
template <class T>
static inline void fill_run(const GatherAxis& axis, const RunShape& s, const T* line, int64_t x,
                            int64_t length, const T* zeros, T* patch, int64_t patch_step,
                            const T** out) {
  const int64_t step = axis.in_step, last = axis.in_size - s.taps_in_run;
  int64_t begin = x < 0 ? (-x + step - 1) / step : 0;
  int64_t end = x > last ? 0 : (last - x) / step + 1;
  if (!line || end < 0) end = 0;
  if (end > length) end = length;
  if (begin > end) begin = end;
  const auto border = [&](int64_t i) {
    if (!line || !s.merged) return zeros;
    T* copy = patch + i * patch_step;
    copy_patch(line, x + i * step, s.taps_in_run, axis.in_size, s.pixel_floats, zeros, copy);
    return static_cast<const T*>(copy);
  };
  for (int64_t i = 0; i < begin; ++i) out[i] = border(i);
  for (int64_t i = begin; i < end; ++i) out[i] = line + (x + i * step) * s.pixel_floats;
  for (int64_t i = end; i < length; ++i) out[i] = border(i);
}

// Drops the runs in which every position reads padding.
template <class T>
static inline void drop_empty_runs(RowTableOf<T>& table, const T* zeros) {
  int64_t kept = 0;
  for (int64_t r = 0; r < table.runs; ++r) {
    const T** row = table.rows + r * table.step;
    bool empty = true;
    for (int64_t i = 0; i < table.count && empty; ++i) empty = row[i] == zeros;
    if (empty) continue;
    if (kept != r) {
      for (int64_t i = 0; i < table.count; ++i) table.rows[kept * table.step + i] = row[i];
      table.run_at[kept] = table.run_at[r];
    }
    ++kept;
  }
  table.runs = kept;
}

// `src` is the input at the group's first channel, `zeros` a run of what stands for zero; if that
// is not 0, it counts in the sums.
template <class T>
static inline void fill_table(const Gather& g, const RunShape& s, const T* src, const T* zeros,
                              int64_t first, int64_t count, RowTableOf<T>& table) {
  const GatherAxis *ad = &g.axis[0], *ah = &g.axis[1], *aw = &g.axis[2];
  table.step = s.block;
  table.runs = s.runs;
  table.count = count;
  for (int64_t r = 0; r < s.runs; ++r) table.run_at[r] = r * s.taps_in_run;
  const int64_t runs_in_line = s.merged ? 1 : aw->taps;
  const int64_t line_floats = aw->in_size * s.pixel_floats;
  const int64_t run_floats = s.taps_in_run * s.pixel_floats, patch_step = s.runs * run_floats;
  for_segments(g, first, count, [&](const Segment& at) {
    const int64_t x = aw->in_first + at.at[2] * aw->in_step;
    int64_t run = 0;
    for (int64_t t = 0; t < ad->taps; ++t) {
      const int64_t z = ad->in_first + at.at[0] * ad->in_step + t * ad->tap_shift;
      for (int64_t r = 0; r < ah->taps; ++r) {
        const int64_t y = ah->in_first + at.at[1] * ah->in_step + r * ah->tap_shift;
        const bool inside = z >= 0 && z < ad->in_size && y >= 0 && y < ah->in_size;
        const int64_t row = (at.n * ad->in_size + z) * ah->in_size + y;
        const T* line = inside ? src + row * line_floats : nullptr;
        for (int64_t k = 0; k < runs_in_line; ++k, ++run)
          fill_run(*aw, s, line, x + k * aw->tap_shift, at.length, zeros,
                   table.patch + at.offset * patch_step + run * run_floats, patch_step,
                   table.rows + run * table.step + at.offset);
      }
    }
  });
  if (widen(zeros[0]) == 0) drop_empty_runs(table, zeros);
}

}  // namespace fastconv::cpu::FASTCONV_ISA
