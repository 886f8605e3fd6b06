// Convolution and its data gradient as one dense product for each group and phase:
// out[position][column] = sum over taps and channels of in[position, tap][channel] *
// weights[tap][channel][column].
#include "conv.h"
#include "conv_widen.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// The packed weights are [phase][group][panel][tap][in_channels][columns of the panel].
int64_t packed_floats(const GatherProblem& p) {
  const Gather g = phase_of(p, 0);
  return window_taps(*p.geometry) * g.in_channels * g.groups * padded(g.out_channels);
}

float* packed_group(const Gather& g, int64_t group, float* packed) {
  const int64_t columns = padded(g.out_channels);
  return packed + (g.tap_base * g.groups + group * g.taps) * g.in_channels * columns;
}

// One tap of one panel: [in_channels][width], zeros behind the valid columns.
void pack_tap(const GatherCall& c, const Gather& g, int64_t group, int64_t tap, int64_t column,
              int64_t width, float* dst) {
  const WindowGeometry& w = *c.problem.geometry;
  const int64_t K = w.out_channels, taps_c = w.in_channels / w.groups;
  const int64_t left = g.out_channels - column, valid = left < width ? left : width;
  if (valid < width)
    for (int64_t i = 0; i < g.in_channels * width; ++i) dst[i] = 0;
  const float* tap_weights = c.weights + tap * taps_c * K + group * (K / w.groups);
  if (c.problem.backward) {
    transpose_copy(tap_weights + column * K, K, dst, width, g.in_channels, valid);
    return;
  }
  for (int64_t i = 0; i < g.in_channels; ++i)
    for (int64_t k = 0; k < valid; ++k) dst[i * width + k] = tap_weights[i * K + column + k];
}

void pack_weights(const GatherCall& c, float* packed) {
  const int64_t phases = phase_count(c.problem), groups = c.problem.geometry->groups;
  const int64_t panels = ceil_div(phase_of(c.problem, 0).out_channels, kPanel);
  const int64_t work = packed_floats(c.problem) / (phases * groups * panels);
  parallel_for(phases * groups * panels, work, [&](int64_t task) {
    const int64_t panel = task % panels, group = task / panels % groups;
    const Gather g = gather_phase(c.problem, task / panels / groups);
    const int64_t column = panel * kPanel, depth = g.taps * g.in_channels;
    const int64_t width = vectors_for(g.out_channels - column) * kLanes;
    float* dst = packed_group(g, group, packed) + column * depth;
    for_taps(g, c.problem.geometry->kernel, [&](int64_t i, int64_t tap) {
      pack_tap(c, g, group, tap, column, width, dst + i * g.in_channels * width);
    });
  });
}

// How the work is cut: tasks of `blocks` blocks of positions and `panels` panels.
struct Cut {
  RunShape shape;
  int64_t phases, all_blocks, all_panels, blocks, panels;
};

Cut cut_work(const GatherProblem& p) {
  constexpr int64_t kTasks = 32, kSmallTask = 1 << 20;
  const Gather g = phase_of(p, 0);
  Cut cut = {};
  const int64_t rows = block_rows(vectors_for(g.out_channels));
  cut.shape = run_shape(g, rows);
  cut.phases = phase_count(p);
  cut.all_blocks = ceil_div(g.positions, rows);
  cut.all_panels = ceil_div(g.out_channels, kPanel);
  const int64_t block_work = rows * g.taps * g.in_channels * padded(g.out_channels);
  cut.blocks = items_per_task(cut.all_blocks * cut.phases * g.groups, kTasks);
  const int64_t small = ceil_div(kSmallTask, block_work + 1);
  cut.blocks = cut.blocks < small ? cut.blocks : small;
  cut.panels = items_per_task(cut.all_panels, ceil_div(kTasks, cut.all_blocks * g.groups));
  return cut;
}

// All the rows of one table times panels [first, last).
void multiply_block(const GatherCall& c, const Gather& g, const RunShape& shape,
                    const RowTable& table, float* const* dst, const float* packed, int64_t group,
                    int64_t first, int64_t last) {
  const int64_t tap_depth = g.in_channels, depth = g.taps * tap_depth;
  int64_t b_at[kMostRuns];
  for (int64_t panel = first; panel < last; ++panel) {
    const int64_t column = panel * kPanel, columns = g.out_channels - column;
    const int vectors = vectors_for(columns);
    const int64_t width = vectors * kLanes, at = group * g.out_channels + column;
    for (int64_t r = 0; r < table.runs; ++r) b_at[r] = table.run_at[r] * tap_depth * width;
    const Finish finish = c.finish.at_column(at);
    for_tiles(table.count, tile_rows(vectors), [&](int64_t row, int rows) {
      run_row_tile(rows, vectors,
                   {table.rows + row, table.step, b_at, table.runs, shape.taps_in_run * tap_depth,
                    packed + column * depth, width, dst + row, at, columns, false, finish});
    });
  }
}

void multiply_blocks(const GatherCall& c, const Gather& g, const Cut& cut, const float* zeros,
                     const float* packed, int64_t group, int64_t block, int64_t panel) {
  const int64_t out_floats = g.out_channels * g.groups;
  const int64_t rows = block_rows(vectors_for(g.out_channels));
  const RunShape shape = run_shape(g, rows);
  const int64_t end = (block + cut.blocks) * rows;
  const int64_t last = end < g.positions ? end : g.positions;
  const int64_t end_panel = panel + cut.panels;
  const int64_t last_panel = end_panel < cut.all_panels ? end_panel : cut.all_panels;
  RowTable table;
  float* dst[kMostBlockRows];
  for (int64_t first = block * rows; first < last; first += shape.block) {
    const int64_t count = last - first < shape.block ? last - first : shape.block;
    fill_table(g, shape, c.in + group * g.in_channels, zeros, first, count, table);
    fill_outputs(g, c.out, out_floats, first, count, dst);
    multiply_block(c, g, shape, table, dst, packed, group, panel, last_panel);
  }
}

void run_implicit(GatherCall c) {
  if (c.problem.geometry->batch == 0) return;
  float* zeros = c.workspace;
  float* packed = zeros + zero_floats(c.problem);
  __builtin_memset(zeros, 0, static_cast<size_t>(zero_floats(c.problem)) * sizeof(float));
  pack_weights(c, packed);

  const Gather largest = phase_of(c.problem, 0);
  const Cut cut = cut_work(c.problem);
  if (largest.out_channels % kLanes != 0) c.finish.stream = false;  // groups begin between vectors
  const int64_t groups = c.problem.geometry->groups;
  const int64_t panel_tasks = ceil_div(cut.all_panels, cut.panels);
  const int64_t block_tasks = ceil_div(cut.all_blocks, cut.blocks);
  const int64_t work = cut.blocks * cut.panels * kMostBlockRows * kPanel / kLanes *
                       largest.in_channels * window_taps(*c.problem.geometry) / cut.phases;
  parallel_for(cut.phases * block_tasks * groups * panel_tasks, work, [&](int64_t task) {
    const int64_t panel = task % panel_tasks * cut.panels;
    const int64_t group = task / panel_tasks % groups;
    const int64_t block = task / panel_tasks / groups % block_tasks * cut.blocks;
    const Gather g = gather_phase(c.problem, task / panel_tasks / groups / block_tasks);
    multiply_blocks(c, g, cut, zeros, packed_group(g, group, packed), group, block, panel);
    if (c.finish.stream) stream_end();
  });
}

int64_t workspace(const GatherProblem& p) {
  return (zero_floats(p) + packed_floats(p)) * static_cast<int64_t>(sizeof(float));
}

int64_t spread_floats(const WindowGeometry& wide) {
  return window_taps(wide) * wide.in_channels * wide.out_channels;
}

// Repeats `count` values, if there are any, up to `wide`; advances the place that they go to.
const float* repeat(const float* values, int64_t count, int64_t wide, float*& place) {
  float* repeated = place;
  place += padded(wide);
  for (int64_t i = 0; values && i < wide; ++i) repeated[i] = values[i % count];
  return values ? repeated : nullptr;
}

// The forward of a widened geometry: spread weights, repeated scale and bias come first in
// workspace.
void run_widened(GatherCall c, const WindowGeometry& g, int64_t by) {
  const WindowGeometry wide = widened(g, by);
  float* spread = c.workspace;
  c.workspace += padded(spread_floats(wide));
  spread_weights(g, by, c.weights, spread);
  c.problem.geometry = &wide;
  c.weights = spread;
  c.finish.scale = repeat(c.finish.scale, g.out_channels, wide.out_channels, c.workspace);
  c.finish.bias = repeat(c.finish.bias, g.out_channels, wide.out_channels, c.workspace);
  run_implicit(c);
}

}  // namespace

void conv_implicit(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const int64_t by = best_widening(g);
  if (by > 1)
    run_widened(gather_call(call, false), g, by);
  else
    run_implicit(gather_call(call, false));
}

void conv_backward_data_implicit(const KernelCall& call) { run_implicit(gather_call(call, true)); }

int64_t conv_implicit_workspace(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const int64_t by = best_widening(g);
  const WindowGeometry wide = widened(g, by);
  const int64_t spread = by > 1 ? padded(spread_floats(wide)) + 2 * padded(wide.out_channels) : 0;
  return workspace({&wide, false}) + spread * static_cast<int64_t>(sizeof(float));
}

int64_t conv_backward_data_implicit_workspace(const KernelCall& call) {
  return workspace({&geometry(call), true});
}

}  // namespace fastconv::cpu::FASTCONV_ISA
