// Convolution and its data gradient as one dense product for each group and phase:
// out[position][column] = sum over taps and channels of in[position, tap][channel] *
// weights[tap][channel][column].
#include "amx.h"
#include "conv.h"
#include "conv_widen.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// Words of one input pixel of a group.
template <class T>
int64_t pixel_words(const Gather& g) {
  return g.in_channels / kInWord<T>;
}

// Whether the weights lie as if they were packed: in one panel, without a gap.
template <class T>
bool lie_packed(const GatherProblem& p) {
  const int64_t K = p.geometry->out_channels;
  return kInWord<T> == 1 && !p.backward && p.geometry->groups == 1 && K <= kPanel &&
         K % kLanes == 0;
}

// The packed weights are [phase][group][panel][tap][pixel_words][columns of the panel].
template <class T>
int64_t packed_floats(const GatherProblem& p) {
  if (lie_packed<T>(p)) return 0;
  const Gather g = phase_of(p, 0);
  return window_taps(*p.geometry) * pixel_words<T>(g) * g.groups * padded(g.out_channels);
}

template <class T, class Floats>
Floats* packed_group(const Gather& g, int64_t group, Floats* packed) {
  const int64_t columns = padded(g.out_channels);
  return packed + (g.tap_base * g.groups + group * g.taps) * pixel_words<T>(g) * columns;
}

// One tap of one panel: [pixel_words][width], zeros behind the valid columns. `g` may have more
// input channels than the weights have.
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

// The same with pairs of input channels in a word, of `rows` channels of the weights: neighbouring
// rows of a tap, or neighbours in a row that is turned.
void pack_pair_rows(const float* weights, int64_t step, int64_t rows, int64_t columns,
                    int64_t width, float* dst) {
  for (int64_t i = 0; i < rows; i += 2, dst += width)
    for (int64_t j = 0; j < width; j += kLanes) {
      const int64_t left = columns - j, lanes = left < 0 ? 0 : left < kLanes ? left : kLanes;
      const float* at = weights + i * step + j;
      const vfloat below = i + 1 < rows ? load_lanes(at + step, lanes) : vfloat{};
      store(dst + j, pairs_of(narrowed(load_lanes(at, lanes)), narrowed(below)));
    }
}

void pack_turned_pairs(const float* weights, int64_t step, int64_t rows, int64_t columns,
                       int64_t width, float* dst) {
  const int64_t words = ceil_div(rows, 2);
  const auto part = [](int64_t left) { return left < 0 ? 0 : left < kLanes ? left : kLanes; };
  for (int64_t j = 0; j < width; j += kLanes)
    for (int64_t i = 0; i < words; i += kLanes) {
      vfloat block[kLanes];
      for (int64_t l = 0; l < kLanes; ++l) {
        const float* at = weights + (j + l) * step + 2 * i;
        const int64_t left = j + l < columns ? rows - 2 * i : 0;
        const vhalf halves[2] = {narrowed(load_lanes(at, part(left))),
                                 narrowed(load_lanes(at + kLanes, part(left - kLanes)))};
        __builtin_memcpy(&block[l], halves, sizeof halves);
      }
      transpose(block);
      for (int64_t l = 0; l < part(words - i); ++l) store(dst + (i + l) * width + j, block[l]);
    }
}

void pack_tap(const GatherCallOf<BFloat16>& c, const Gather& g, int64_t group, int64_t tap,
              int64_t column, int64_t width, float* dst) {
  const WindowGeometry& w = *c.problem.geometry;
  const int64_t K = w.out_channels, Cg = w.in_channels / w.groups, Kg = K / w.groups;
  const int64_t left = g.out_channels - column, valid = left < width ? left : width;
  const float* weights = c.weights + tap * Cg * K + group * Kg;
  if (c.problem.backward)
    pack_turned_pairs(weights + column * K, K, Kg, valid, width, dst);
  else
    pack_pair_rows(weights + column, K, Cg, valid, width, dst);
}

// `problem` is that of the call, maybe with more channels.
template <class T>
void pack_weights(const GatherCallOf<T>& c, const GatherProblem& problem, float* packed) {
  const int64_t phases = phase_count(problem), groups = problem.geometry->groups;
  const int64_t panels = ceil_div(phase_of(problem, 0).out_channels, kPanel);
  const int64_t work = packed_floats<T>(problem) / (phases * groups * panels);
  parallel_for(phases * groups * panels, work, [&](int64_t task) {
    const int64_t panel = task % panels, group = task / panels % groups;
    const Gather g = gather_phase(problem, task / panels / groups);
    const int64_t column = panel * kPanel, words = pixel_words<T>(g), depth = g.taps * words;
    const int64_t width = vectors_for(g.out_channels - column) * kLanes;
    float* dst = packed_group<T>(g, group, packed) + column * depth;
    for_taps(g, problem.geometry->kernel, [&](int64_t i, int64_t tap) {
      pack_tap(c, g, group, tap, column, width, dst + i * words * width);
    });
  });
}

// How the work is cut: tasks of `blocks` blocks of positions and `panels` panels.
struct Cut {
  RunShape shape;
  int64_t phases, all_blocks, all_panels, blocks, panels;
};

template <class T>
Cut cut_work(const GatherProblem& p) {
  constexpr int64_t kTasks = 32, kSmallTask = 1 << 20;
  const Gather g = phase_of(p, 0);
  Cut cut = {};
  const int64_t rows = block_rows<T>(vectors_for(g.out_channels));
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
template <class T>
void multiply_block(const GatherCallOf<T>& c, const Gather& g, const RunShape& shape,
                    const RowTableOf<T>& table, T* const* dst, const float* packed, int64_t group,
                    int64_t first, int64_t last) {
  const int64_t tap_depth = pixel_words<T>(g), depth = g.taps * tap_depth;
  int64_t b_at[kMostRuns];
  for (int64_t panel = first; panel < last; ++panel) {
    const int64_t column = panel * kPanel, columns = g.out_channels - column;
    const int vectors = vectors_for(columns);
    const int64_t width = vectors * kLanes, at = group * g.out_channels + column;
    for (int64_t r = 0; r < table.runs; ++r) b_at[r] = table.run_at[r] * tap_depth * width;
    const FinishOf<T> finish = c.finish.at_column(at);
    for_tiles(table.count, tile_rows<T>(vectors), [&](int64_t row, int rows) {
      run_row_tile(rows, vectors,
                   RowTileOf<T>{table.rows + row, table.step, b_at, table.runs,
                                shape.taps_in_run * tap_depth, packed + column * depth, width,
                                dst + row, at, columns, false, finish});
    });
  }
}

template <class T>
void multiply_blocks(const GatherCallOf<T>& c, const Gather& g, const Cut& cut, const T* zeros,
                     const float* packed, int64_t group, int64_t block, int64_t panel) {
  const int64_t out_floats = g.out_channels * g.groups;
  const int64_t rows = block_rows<T>(vectors_for(g.out_channels));
  const RunShape shape = run_shape(g, rows);
  const int64_t end = (block + cut.blocks) * rows;
  const int64_t last = end < g.positions ? end : g.positions;
  const int64_t end_panel = panel + cut.panels;
  const int64_t last_panel = end_panel < cut.all_panels ? end_panel : cut.all_panels;
  const TileScope tiles;
  RowTableOf<T> table;
  T* dst[kMostBlockRows];
  for (int64_t first = block * rows; first < last; first += shape.block) {
    const int64_t count = last - first < shape.block ? last - first : shape.block;
    fill_table(g, shape, c.in + group * g.in_channels, zeros, first, count, table);
    fill_outputs(g, c.out, out_floats, first, count, dst);
    multiply_block(c, g, shape, table, dst, packed, group, panel, last_panel);
  }
}

// A problem whose input has whole words, if need be with one channel of zeros more in each group.
struct WholeWords {
  WindowGeometry geometry;
  bool backward;
  int64_t channels;  // of a group of the call
  int64_t pixels;
  int64_t copied;  // elements that are copied

  template <class T>
  WholeWords(const GatherProblem& p, TypeTag<T>) : geometry(*p.geometry), backward(p.backward) {
    int64_t& all = backward ? geometry.out_channels : geometry.in_channels;
    const int64_t* size = backward ? geometry.output : geometry.input;
    channels = all / geometry.groups;
    const int64_t more = channels % kInWord<T>;
    all += more * geometry.groups;
    pixels = geometry.batch * size[0] * size[1] * size[2];
    copied = more * padded(pixels * all);
  }
  GatherProblem problem() const { return {&geometry, backward}; }

  template <class T>
  void copy(const T* src, T* dst) const {
    constexpr int64_t kParts = 4096;
    parallel_blocks(pixels * geometry.groups, kParts, channels, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T* at = dst + i * (channels + 1);
        for (int64_t c = 0; c < channels; ++c) at[c] = src[i * channels + c];
        at[channels] = T{};
      }
    });
  }
};

// Workspace: zeros, packed weights if they are not prepared, the copied input.
template <class T>
void run_implicit(GatherCallOf<T> c, float* prepared = nullptr) {
  if (c.problem.geometry->batch == 0) return;
  const WholeWords whole(c.problem, TypeTag<T>{});
  const GatherProblem problem = whole.problem();
  T* zeros = reinterpret_cast<T*>(c.workspace);
  float* free = c.workspace + zero_floats(problem);
  __builtin_memset(zeros, 0, static_cast<size_t>(zero_floats(problem)) * sizeof(float));
  const bool packs = !prepared && !lie_packed<T>(problem);
  const float* weights = prepared ? prepared : packs ? free : c.weights;
  if (packs) {
    pack_weights(c, problem, free);
    free += packed_floats<T>(problem);
  }
  if (whole.copied > 0) {
    T* copy = reinterpret_cast<T*>(free);
    whole.copy(c.in, copy);
    c.in = copy;
  }

  const Gather largest = phase_of(problem, 0);
  const Cut cut = cut_work<T>(problem);
  if (largest.out_channels % kLanes != 0) c.finish.stream = false;  // groups begin between vectors
  const int64_t groups = problem.geometry->groups;
  const int64_t panel_tasks = ceil_div(cut.all_panels, cut.panels);
  const int64_t block_tasks = ceil_div(cut.all_blocks, cut.blocks);
  const int64_t work = cut.blocks * cut.panels * kMostBlockRows * kPanel / kLanes *
                       largest.in_channels * window_taps(*problem.geometry) / cut.phases;
  parallel_for(cut.phases * block_tasks * groups * panel_tasks, work, [&](int64_t task) {
    const int64_t panel = task % panel_tasks * cut.panels;
    const int64_t group = task / panel_tasks % groups;
    const int64_t block = task / panel_tasks / groups % block_tasks * cut.blocks;
    const Gather g = gather_phase(problem, task / panel_tasks / groups / block_tasks);
    multiply_blocks<T>(c, g, cut, zeros, packed_group<T>(g, group, weights), group, block, panel);
    if (c.finish.stream) stream_end();
  });
}

template <class T = float>
int64_t packed_bytes(const GatherProblem& p) {
  const WholeWords whole(p, TypeTag<T>{});
  return packed_floats<T>(whole.problem()) * static_cast<int64_t>(sizeof(float));
}

template <class T = float>
int64_t workspace(const GatherProblem& p, bool prepared = false) {
  const WholeWords whole(p, TypeTag<T>{});
  return zero_floats(whole.problem()) * static_cast<int64_t>(sizeof(float)) +
         (prepared ? 0 : packed_bytes<T>(p)) + whole.copied * static_cast<int64_t>(sizeof(T));
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
  float* prepared = static_cast<float*>(call.prepared);
  if (is_bfloat16(call))
    run_implicit(gather_call<BFloat16>(call, false), prepared);
  else if (by > 1)
    run_widened(gather_call(call, false), g, by);
  else
    run_implicit(gather_call(call, false), prepared);
}

void conv_backward_data_implicit(const KernelCall& call) {
  with_float(
      call, [&](auto tag) { run_implicit(gather_call<typename decltype(tag)::type>(call, true)); });
}

int64_t conv_implicit_prepared(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  if (!is_constant(call, 1)) return 0;
  if (is_bfloat16(call)) return packed_bytes<BFloat16>({&g, false});
  return best_widening(g) > 1 ? 0 : packed_bytes({&g, false});
}

void conv_implicit_prepare(const KernelCall& call) {
  with_float(call, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto c = gather_call<T>(call, false);
    pack_weights(c, WholeWords(c.problem, tag).problem(), static_cast<float*>(call.prepared));
  });
}

int64_t conv_implicit_workspace(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const bool prepared = conv_implicit_prepared(call) > 0;
  if (is_bfloat16(call)) return workspace<BFloat16>({&g, false}, prepared);
  const int64_t by = best_widening(g);
  const WindowGeometry wide = widened(g, by);
  const int64_t spread = by > 1 ? padded(spread_floats(wide)) + 2 * padded(wide.out_channels) : 0;
  return workspace({&wide, false}, prepared) + spread * static_cast<int64_t>(sizeof(float));
}

int64_t conv_backward_data_implicit_workspace(const KernelCall& call) {
  const GatherProblem problem = {&geometry(call), true};
  return is_bfloat16(call) ? workspace<BFloat16>(problem) : workspace(problem);
}

}  // namespace fastconv::cpu::FASTCONV_ISA
