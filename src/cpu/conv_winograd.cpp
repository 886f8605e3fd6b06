// Convolution of 3x3 and 5x5 windows and its data gradient by Winograd's minimal filtering:
// transform the inputs of tiles; 36 or 64 products of [tiles, C] and [C, K]; transform the sums to
// outputs. Transformed weights are larger than the weights, which decides between two orders of the
// work:
//
// - by tiles: all weights are transformed first, and a task takes a few tiles through the three
//   phases, in scratch memory that stays in its second cache;
// - by weights: a task multiplies a piece of them with all tiles of a block. So it is done where
//   all tiles would be one task, and where the weights do not fit in a cache: then
//   the task transforms its piece just before.
#include "conv_winograd.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kDepths = 1536;    // channels of a piece of transformed weights, of all positions
constexpr int64_t kBlockRows = 54;   // tiles that share a piece from the first cache
constexpr int64_t kTilesInTask = 4;  // of a transform

// Values of a block of tiles: inputs [position][plane][tile][C], sums
// [position][plane][tile][columns].
struct Plan {
  Tiling t;
  int64_t taps, points, positions;  // of a plane of the window; of a tile along an axis, in all
  int64_t set, sets;                // groups of a task's tiles, and how many such sets there are
  int64_t C, K;                     // of a set, of a group, padded to whole vectors
  bool whole_weights;               // are transformed first
  bool by_tiles;
  int64_t block;                   // tiles, in every plane
  int64_t columns;                 // of the sums
  int64_t in_step, sum_step;       // floats from one position to the next
  int64_t panels, chunks;          // by weights: tasks are panels * points * chunks of tiles
  int64_t filter_row, filter_tap;  // floats from one row of filters to the next, from tap to tap
  int64_t turned, weights;         // floats of the turned, of the transformed weights
  int64_t block_floats;
};

// How many tiles of a plane make a block.
int64_t block_tiles(const Plan& p) {
  constexpr int64_t kScratch = 1 << 18, kShared = 3 << 20, kLeast = 18;
  const int64_t floats = p.positions * (p.t.D * p.C + p.t.O * p.columns);
  const int64_t least = ceil_div(kLeast, p.t.O), fit = kBlockRows / p.t.O;
  int64_t most = (p.by_tiles ? kScratch : kShared) / floats;
  if (p.by_tiles && most > fit) most = fit;
  if (most < least) most = least;
  return p.t.tiles > most ? ceil_div(p.t.tiles, ceil_div(p.t.tiles, most)) : p.t.tiles;
}

void cut_tiles(Plan& p, bool by_tiles) {
  p.by_tiles = by_tiles;
  p.set = by_tiles ? groups_in_set(p.t) : 1;
  p.sets = ceil_div(p.t.groups, p.set);
  p.C = padded(p.set * p.t.C);
  p.columns = by_tiles && p.K > kPanel ? kPanel : p.K;
  p.block = p.t.O > 0 ? block_tiles(p) : 0;
}

Plan plan_of(const GatherProblem& p) {
  constexpr int64_t kCachedWeights = 5 << 20, kTasks = 24, kLeastTiles = 64;
  Plan plan = {};
  const Tiling& t = plan.t = tiling_of(p);
  plan.taps = p.geometry->kernel[1] * p.geometry->kernel[2];
  plan.points = p.geometry->kernel[1] + kTile - 1;
  plan.positions = plan.points * plan.points;
  plan.K = padded(t.K);
  const int64_t weights = t.planes * plan.positions * t.C * plan.K;  // of a group
  plan.whole_weights = weights <= kCachedWeights;
  plan.weights = plan.whole_weights ? t.groups * weights : 0;
  plan.panels = ceil_div(t.K, kPanel);
  plan.filter_row = p.backward ? t.K : t.K * t.groups;
  plan.filter_tap = t.C * plan.filter_row;
  plan.turned = p.backward ? t.planes * plan.taps * t.C * t.K * t.groups : 0;
  cut_tiles(plan, plan.whole_weights);
  if (plan.by_tiles && t.groups == 1 && plan.block == t.tiles) cut_tiles(plan, false);
  // One vector more: positions a power of two apart would share a few sets of the cache.
  plan.in_step = t.D * plan.block * plan.C + kLanes;
  plan.sum_step = t.O * plan.block * plan.columns + kLanes;
  plan.block_floats = plan.positions * (plan.in_step + plan.sum_step);
  const int64_t wanted = ceil_div(kTasks, plan.panels * plan.points);
  const int64_t useful = t.planes * t.D > 1 ? 1 : ceil_div(plan.block, kLeastTiles);
  plan.chunks = wanted < useful ? wanted : useful;
  return plan;
}

// What the tasks read and write besides the blocks.
struct Buffers {
  const float* filters;  // [T R S C][K], or [groups][T R S C][K] if they were turned
  float *zeros, *turned, *weights, *blocks;
  int64_t slots;  // number of blocks there is memory for
};

int64_t fixed_floats(const Plan& p, bool prepared) {
  return p.C + p.turned + (prepared ? 0 : p.weights);
}

// `prepared`: the transformed weights, if they were kept.
template <class T>
Buffers buffers_of(const GatherCallOf<T>& c, const Plan& p, float* prepared,
                   int64_t workspace_bytes) {
  Buffers b = {};
  b.filters = c.weights;
  b.zeros = c.workspace;
  b.turned = b.zeros + p.C;
  b.weights = prepared ? prepared : b.turned + p.turned;
  b.blocks = c.workspace + fixed_floats(p, prepared);
  const int64_t floats = workspace_bytes / static_cast<int64_t>(sizeof(float));
  b.slots = (floats - fixed_floats(p, prepared)) / p.block_floats;
  return b;
}

// The weights of the data gradient: turned by half a circle, and C and K change places.
void turn_filters(const float* filters, const Plan& p, float* dst) {
  constexpr int64_t kRows = 64;
  const int64_t C = p.t.C, K = p.t.K, row_floats = C * p.t.groups, taps = p.t.planes * p.taps;
  const int64_t pieces = ceil_div(C, kRows);
  parallel_for(p.t.groups * taps * pieces, kRows * K, [&](int64_t task) {
    const int64_t tap = task / pieces % taps, group = task / pieces / taps;
    const int64_t row = task % pieces * kRows, rows = C - row < kRows ? C - row : kRows;
    transpose_copy(filters + (taps - 1 - tap) * K * row_floats + group * C + row, row_floats,
                   dst + ((group * taps + tap) * C + row) * K, K, rows, K);
  });
}

// Where the filters of a group begin, at a plane of the window.
const float* filters_at(const Plan& p, const Buffers& b, int64_t group, int64_t plane) {
  const int64_t group_floats = p.turned > 0 ? p.t.planes * p.taps * p.filter_tap : p.t.K;
  return b.filters + group * group_floats + plane * p.taps * p.filter_tap;
}

template <class Window, int I>
vfloat filter_value(const vfloat* filter) {
  vfloat result[Window::kPoints];
  Window::filter(filter, result);
  return result[I];
}

// Positions (I, j) of the transformed weights, for channels [c, c + depth) of a panel:
// dst[j][channel][column].
template <class Window, int I>
void transform_weights(const Plan& p, const float* filters, int64_t c, int64_t depth,
                       int64_t column, int64_t width, float* dst, int64_t step) {
  const int64_t left = p.t.K - column;
  for (int64_t d = 0; d < depth; ++d)
    for (int64_t v = 0; v < width; v += kLanes) {
      const float* at = filters + (c + d) * p.filter_row + column + v;
      const int64_t valid = left - v < kLanes ? left - v : kLanes;
      vfloat filter[Window::kTaps], line[Window::kTaps], result[Window::kPoints];
#pragma GCC unroll 5
      for (int s = 0; s < Window::kTaps; ++s) {
#pragma GCC unroll 5
        for (int r = 0; r < Window::kTaps; ++r)
          filter[r] = load_lanes(at + (r * Window::kTaps + s) * p.filter_tap, valid);
        line[s] = filter_value<Window, I>(filter);
      }
      Window::filter(line, result);
#pragma GCC unroll 8
      for (int j = 0; j < Window::kPoints; ++j) store(dst + j * step + d * width + v, result[j]);
    }
}

// The same for the line chosen at run time.
template <class Window, int I = Window::kPoints - 1, class... Arguments>
void transform_line(int line, Arguments&&... arguments) {
  if constexpr (I > 0)
    if (line < I) return transform_line<Window, I - 1>(line, arguments...);
  transform_weights<Window, I>(arguments...);
}

// Where the transformed weights [C][columns of the panel] of a position begin, by tiles.
float* weights_at(const Plan& p, const Buffers& b, int64_t group, int64_t plane, int64_t position,
                  int64_t panel) {
  const int64_t row = (group * p.t.planes + plane) * p.positions + position;
  return b.weights + (row * p.K + panel * kPanel) * p.t.C;
}

template <class Window>
void transform_all_weights(const Plan& p, const Buffers& b) {
  constexpr int64_t kChannels = 16;
  const int64_t pieces = ceil_div(p.t.C, kChannels), tasks = p.panels * pieces;
  const int64_t windows = p.t.groups * p.t.planes, work = p.positions * kChannels * kPanel;
  parallel_for(windows * tasks, work, [&](int64_t task) {
    const int64_t plane = task / tasks % p.t.planes, group = task / tasks / p.t.planes;
    const int64_t panel = task % tasks / pieces, c = task % pieces * kChannels;
    const int64_t left = p.t.C - c, depth = left < kChannels ? left : kChannels;
    const int64_t column = panel * kPanel, width = vectors_for(p.t.K - column) * kLanes;
    for (int line = 0; line < Window::kPoints; ++line)
      transform_line<Window>(
          line, p, filters_at(p, b, group, plane), c, depth, column, width,
          weights_at(p, b, group, plane, line * Window::kPoints, panel) + c * width, p.K * p.t.C);
  });
}

// Rows of inputs, of which the next ones are fetched meanwhile: they are too short for the hardware
// to see that one follows the other.
void prefetch_rows(const float* const* rows, int64_t count, int64_t ahead, int64_t depth) {
  constexpr int64_t kLine = 64 / sizeof(float);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t d = 0; d < depth; d += kLine) __builtin_prefetch(rows[i] + ahead + d, 0, 2);
}

// Adds inputs [tiles, depth] times weights [depth, width] to the sums of one position.
struct Product {
  const float* inputs;  // of the first tile and channel
  const float* weights;
  float* sums;  // of the first tile and column
  int64_t tiles, depth;
  int vectors;
  bool accumulate;
};

void multiply(const Plan& p, const Product& m) {
  const int64_t b_at = 0, width = m.vectors * kLanes;
  const float* rows[kBlockRows];
  float* dst[kBlockRows];
  for (int64_t tile = 0; tile < m.tiles; tile += kBlockRows) {
    const int64_t count = m.tiles - tile < kBlockRows ? m.tiles - tile : kBlockRows;
    for (int64_t i = 0; i < count; ++i) {
      rows[i] = m.inputs + (tile + i) * p.C;
      dst[i] = m.sums + (tile + i) * p.columns;
    }
    const bool last = tile + count == m.tiles;
    for_tiles(count, tile_rows(m.vectors), [&](int64_t row, int height) {
      if (!last) prefetch_rows(rows + row, height, kBlockRows * p.C, m.depth);
      run_row_tile(height, m.vectors,
                   {rows + row, 0, &b_at, 1, m.depth, m.weights, width, dst + row, 0, width,
                    m.accumulate, Finish{}});
    });
  }
}

// The same for all planes of the output that meet plane `tap` of the window. `m` tells of one plane
// of the block, the first one.
void multiply_planes(const Plan& p, int64_t tap, const Product& m) {
  const PlaneRange range = planes_of(p.t, tap);
  const auto multiply_range = [&](int64_t first, int64_t last, bool accumulate) {
    if (first >= last) return;
    Product part = m;
    part.inputs += (first + tap + p.t.front) * m.tiles * p.C;
    part.sums += first * m.tiles * p.columns;
    part.tiles *= last - first;
    part.accumulate = accumulate;
    multiply(p, part);
  };
  multiply_range(range.begin, range.fresh, m.accumulate);
  multiply_range(range.fresh, range.end, true);
}

// Outputs of a tile in plane z, for columns [first, last) of a group, the sums of the first of
// which are given.
template <class Window, class T>
void write_tile(const GatherCallOf<T>& c, const Plan& p, int64_t tile, int64_t z, int64_t group,
                int64_t first, int64_t last, const float* sums) {
  const Tiling& t = p.t;
  const TilePlace at = place_of(t, tile);
  const int64_t lines = t.P - at.y, columns = t.Q - at.x, pixel_floats = t.K * t.groups;
  T* dst = c.out + (((at.n * t.O + z) * t.P + at.y) * t.Q + at.x) * pixel_floats;
  const int64_t offset = group * t.K;
  for_vectors(first, last, [&](int64_t k, int64_t count) {
    const Shift shift(c.finish, offset + k, count);
    transform_2d<Window::kPoints, kTile>(
        Window::output,
        [&](int i, int j) {
          return load(sums + (i * Window::kPoints + j) * p.sum_step + k - first);
        },
        [&](int i, int j, vfloat value) {
          if (i >= lines || j >= columns) return;
          T* pixel = dst + (i * t.Q + j) * pixel_floats + offset + k;
          const vfloat result = finished(c.finish, shift(value), pixel, count);
          c.finish.stream ? stream(pixel, result) : store_lanes(pixel, result, count);
        });
  });
}

// By tiles: a panel of a group, the `i`th of its set, for `count` tiles from the first one on.
template <class Window, class T>
void run_panel(const GatherCallOf<T>& c, const Plan& p, const Buffers& b, int64_t group, int64_t i,
               int64_t panel, int64_t first, int64_t count, float* inputs) {
  float* sums = inputs + p.positions * p.in_step;
  const int64_t column = panel * kPanel, left = p.t.K - column;
  for (int64_t position = 0; position < p.positions; ++position)
    for (int64_t tap = 0; tap < p.t.planes; ++tap)
      multiply_planes(
          p, tap,
          {inputs + position * p.in_step + i * p.t.C, weights_at(p, b, group, tap, position, panel),
           sums + position * p.sum_step, count, p.t.C, vectors_for(left), false});
  for (int64_t z = 0; z < p.t.O; ++z)
    for (int64_t tile = 0; tile < count; ++tile)
      write_tile<Window>(c, p, first + tile, z, group, column,
                         left < kPanel ? p.t.K : column + kPanel,
                         sums + (z * count + tile) * p.columns);
}

// The whole way of `count` tiles from the first one on, for a set of groups.
template <class Window, class T>
void run_tiles(const GatherCallOf<T>& c, const Plan& p, const Buffers& b, int64_t set,
               int64_t first, int64_t count, float* inputs) {
  const T* zeros = reinterpret_cast<const T*>(b.zeros);
  const int64_t begin = set * p.set, end = begin + p.set;
  const int64_t groups = (end < p.t.groups ? end : p.t.groups) - begin;
  for (int64_t z = 0; z < p.t.D; ++z)
    for (int64_t tile = 0; tile < count; ++tile)
      transform_input_tile<Window>(p.t, c.in + begin * p.t.C, zeros, first + tile, z,
                                   groups * p.t.C, inputs + (z * count + tile) * p.C, p.in_step);
  for (int64_t i = 0; i < groups; ++i)
    for (int64_t panel = 0; panel < p.panels; ++panel)
      run_panel<Window>(c, p, b, begin + i, i, panel, first, count, inputs);
}

template <class Window, class T>
void run_by_tiles(const GatherCallOf<T>& c, const Plan& p, const Buffers& b) {
  const int64_t blocks = ceil_div(p.t.tiles, p.block);
  const int64_t work = p.block * p.positions * plane_products(p.t) * p.C * p.panels * kMaxVectors;
  parallel_for_slots(p.sets * blocks, work, b.slots, [&](int64_t task, int64_t slot) {
    const int64_t first = task % blocks * p.block, left = p.t.tiles - first;
    run_tiles<Window>(c, p, b, task / blocks, first, left < p.block ? left : p.block,
                      b.blocks + slot * p.block_floats);
    if (c.finish.stream) stream_end();
  });
}

// By weights: tiles [first, last) of a block of `count` at positions (line, j), for one panel.
template <class Window>
void multiply_line(const Plan& p, const Buffers& b, int64_t group, int line, int64_t panel,
                   int64_t first, int64_t last) {
  constexpr int64_t kPoints = Window::kPoints, kDepth = kDepths / kPoints;
  alignas(64) float weights[kPoints * kDepth * kPanel];
  const int64_t column = panel * kPanel;
  const int vectors = vectors_for(p.t.K - column);
  float* sums = b.blocks + p.positions * p.in_step;
  const auto multiply_position = [&](int64_t position, int64_t tap, const float* piece, int64_t c,
                                     int64_t depth) {
    multiply_planes(p, tap,
                    {b.blocks + position * p.in_step + first * p.C + c, piece,
                     sums + position * p.sum_step + first * p.columns + column, last - first, depth,
                     vectors, c > 0});
  };
  if (p.whole_weights) {
    for (int64_t position = line * kPoints; position < (line + 1) * kPoints; ++position)
      for (int64_t tap = 0; tap < p.t.planes; ++tap)
        multiply_position(position, tap, weights_at(p, b, group, tap, position, panel), 0, p.t.C);
    return;
  }
  for (int64_t c = 0; c < p.t.C; c += kDepth)
    for (int64_t tap = 0; tap < p.t.planes; ++tap) {
      const int64_t left = p.t.C - c, depth = left < kDepth ? left : kDepth;
      transform_line<Window>(line, p, filters_at(p, b, group, tap), c, depth, column,
                             vectors * kLanes, weights, kDepth * kPanel);
      for (int j = 0; j < kPoints; ++j)
        multiply_position(line * kPoints + j, tap, weights + j * kDepth * kPanel, c, depth);
    }
}

template <class Window, class T>
void run_block(const GatherCallOf<T>& c, const Plan& p, const Buffers& b, int64_t group,
               int64_t first) {
  const int64_t left = p.t.tiles - first, count = left < p.block ? left : p.block;
  const T* zeros = reinterpret_cast<const T*>(b.zeros);
  const int64_t in_work = p.positions * p.C, out_work = p.positions * p.K;
  parallel_blocks(p.t.D * count, kTilesInTask, in_work, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      transform_input_tile<Window>(p.t, c.in + group * p.t.C, zeros, first + i % count, i / count,
                                   p.t.C, b.blocks + i * p.C, p.in_step);
  });
  const int64_t chunk = ceil_div(count, p.chunks), tasks = p.panels * p.points * p.chunks;
  const int64_t work = chunk * plane_products(p.t) * p.C * p.points * kMaxVectors;
  parallel_for(tasks, work, [&](int64_t task) {
    const int64_t at = task % p.chunks * chunk, end = at + chunk < count ? at + chunk : count;
    const int64_t line = task / p.chunks % p.points, panel = task / p.chunks / p.points;
    if (at < end) multiply_line<Window>(p, b, group, static_cast<int>(line), panel, at, end);
  });
  const float* sums = b.blocks + p.positions * p.in_step;
  parallel_blocks(p.t.O * count, kTilesInTask, out_work, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      write_tile<Window>(c, p, first + i % count, i / count, group, 0, p.t.K, sums + i * p.columns);
    if (c.finish.stream) stream_end();
  });
}

template <class Window, class T>
void run_by_weights(const GatherCallOf<T>& c, const Plan& p, const Buffers& b) {
  for (int64_t group = 0; group < p.t.groups; ++group)
    for (int64_t first = 0; first < p.t.tiles; first += p.block)
      run_block<Window>(c, p, b, group, first);
}

template <class T>
void run(GatherCallOf<T> c, float* prepared, int64_t workspace_bytes) {
  const Plan p = plan_of(c.problem);
  if (p.block == 0) return;
  if (p.t.K % kLanes != 0) c.finish.stream = false;  // groups begin between vectors
  Buffers b = buffers_of(c, p, prepared, workspace_bytes);
  for (int64_t i = 0; i < p.C; ++i) b.zeros[i] = 0;
  if (p.turned > 0) {
    turn_filters(c.weights, p, b.turned);
    b.filters = b.turned;
  }
  with_window(*c.problem.geometry, [&](auto window) {
    using Window = decltype(window);
    if (p.whole_weights && !prepared) transform_all_weights<Window>(p, b);
    if (p.by_tiles) return run_by_tiles<Window>(c, p, b);
    run_by_weights<Window>(c, p, b);
  });
}

void run(const KernelCall& call, bool backward) {
  with_float(call, [&](auto tag) {
    auto c = gather_call<typename decltype(tag)::type>(call, backward);
    if (is_bfloat16(call)) c.finish.stream = false;  // halves of lines, far apart
    run(c, static_cast<float*>(call.prepared), call.workspace_bytes);
  });
}

int64_t workspace(const GatherProblem& problem, bool prepared) {
  const Plan p = plan_of(problem);
  const int64_t blocks = p.by_tiles ? usable_threads() : 1;
  const int64_t floats = fixed_floats(p, prepared) + blocks * p.block_floats;
  return floats * static_cast<int64_t>(sizeof(float));
}

// Whether the transforms cost less than they save, in multiply-adds of one lane. The other kernels
// multiply bfloat16 at twice the rate.
bool pays(const Plan& p, int64_t direct_rate, bool kept_weights) {
  constexpr int64_t kTransform = 4, kWeights = 6;  // of one value; measured
  const Tiling& t = p.t;
  const int64_t products = t.C * t.K * t.groups, pairs = plane_products(t);
  const int64_t direct = p.taps * pairs * t.batch * t.P * t.Q * products;
  const int64_t values = t.groups * (t.D * padded(t.C) + t.O * p.K);
  const int64_t transforms = kTransform * p.positions * t.tiles * values;
  const int64_t multiplied = p.positions * pairs * t.tiles * products / 5 * 6;
  const int64_t times = kept_weights ? 0 : p.whole_weights || p.block == 0 ? 1 : t.tiles / p.block;
  const int64_t weights = times * kWeights * p.positions * t.planes * products;
  const int64_t all = multiplied + transforms + weights;
  return all * 8 * direct_rate < direct * 7;
}

const char* declines(const KernelCall& call, bool backward) {
  if (const char* reason = conv_needs_float(call)) return reason;
  if (const char* reason = not_winograd(geometry(call))) return reason;
  const Plan p = plan_of({&geometry(call), backward});
  if (p.t.C < 16 || p.t.K < 16) return "fewer than 16 channels";
  const bool kept = !backward && p.whole_weights && is_constant(call, 1);
  if (pays(p, is_bfloat16(call) ? 2 : 1, kept)) return nullptr;
  return "the transforms cost more than they save";
}

}  // namespace

const char* conv_winograd_declines(const KernelCall& call) { return declines(call, false); }
const char* conv_backward_data_winograd_declines(const KernelCall& call) {
  return declines(call, true);
}

void conv_winograd(const KernelCall& call) { run(call, false); }
void conv_backward_data_winograd(const KernelCall& call) { run(call, true); }

// Weights that are transformed piece by piece are not kept: reading them would take longer.
int64_t conv_winograd_prepared(const KernelCall& call) {
  if (!is_constant(call, 1)) return 0;
  return plan_of({&geometry(call), false}).weights * static_cast<int64_t>(sizeof(float));
}

void conv_winograd_prepare(const KernelCall& call) {
  const Plan p = plan_of({&geometry(call), false});
  Buffers b = {};
  b.filters = input<float>(call, 1);
  b.weights = static_cast<float*>(call.prepared);
  with_window(geometry(call), [&](auto window) { transform_all_weights<decltype(window)>(p, b); });
}

int64_t conv_winograd_workspace(const KernelCall& call) {
  return workspace({&geometry(call), false}, conv_winograd_prepared(call) > 0);
}
int64_t conv_backward_data_winograd_workspace(const KernelCall& call) {
  return workspace({&geometry(call), true}, false);
}

}  // namespace fastconv::cpu::FASTCONV_ISA
