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

// Values of a block of tiles: inputs [position][tile][C], sums [position][tile][columns].
struct Plan {
  Tiling t;
  int64_t taps, points, positions;  // of the window; of a tile along an axis, and together
  int64_t C, K;                     // padded to whole vectors
  bool whole_weights;               // are transformed first
  bool by_tiles;
  int64_t block, blocks;      // tiles of one, and how many there are
  int64_t columns;            // of the sums
  int64_t in_step, sum_step;  // floats from one position to the next
  int64_t panels, chunks;     // by weights: tasks are panels * points * chunks of tiles
  int64_t turned, weights;    // floats of the turned, of the transformed weights
  int64_t block_floats;
};

void cut_tiles(Plan& plan, bool by_tiles) {
  constexpr int64_t kScratch = 1 << 18, kShared = 3 << 20;
  plan.by_tiles = by_tiles;
  plan.columns = by_tiles && plan.K > kPanel ? kPanel : plan.K;
  const int64_t floats = plan.positions * (plan.C + plan.columns);
  const int64_t most = (by_tiles ? kScratch : kShared) / floats;
  plan.block = most < 18 ? 18 : most > kBlockRows && by_tiles ? kBlockRows : most;
  if (plan.block > plan.t.tiles) plan.block = plan.t.tiles;
  plan.blocks = ceil_div(plan.t.tiles, plan.block > 0 ? plan.block : 1);
  if (plan.blocks > 0) plan.block = ceil_div(plan.t.tiles, plan.blocks);
}

Plan plan_of(const GatherProblem& p) {
  constexpr int64_t kCachedWeights = 5 << 20, kTasks = 24, kLeastTiles = 64;
  Plan plan = {};
  plan.t = tiling_of(p);
  plan.taps = p.geometry->kernel[1] * p.geometry->kernel[2];
  plan.points = p.geometry->kernel[1] + kTile - 1;
  plan.positions = plan.points * plan.points;
  plan.C = padded(plan.t.C);
  plan.K = padded(plan.t.K);
  plan.panels = ceil_div(plan.t.K, kPanel);
  plan.turned = p.backward ? plan.taps * plan.t.C * plan.t.K : 0;
  plan.whole_weights = plan.positions * plan.t.C * plan.K <= kCachedWeights;
  plan.weights = plan.whole_weights ? plan.positions * plan.t.C * plan.K : 0;
  cut_tiles(plan, plan.whole_weights);
  if (plan.by_tiles && plan.blocks == 1) cut_tiles(plan, false);
  // One vector more: positions a power of two apart would share a few sets of the cache.
  plan.in_step = plan.block * plan.C + kLanes;
  plan.sum_step = plan.block * plan.columns + kLanes;
  plan.block_floats = plan.positions * (plan.in_step + plan.sum_step);
  const int64_t wanted = ceil_div(kTasks, plan.panels * plan.points);
  const int64_t useful = ceil_div(plan.block, kLeastTiles);
  plan.chunks = wanted < useful ? wanted : useful;
  return plan;
}

// What the tasks read and write besides the blocks.
struct Buffers {
  const float* filters;  // [R S C K]
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
  const int64_t pieces = ceil_div(p.t.C, kRows), size = p.t.C * p.t.K;
  parallel_for(p.taps * pieces, kRows * p.t.K, [&](int64_t task) {
    const int64_t tap = task / pieces, row = task % pieces * kRows;
    const int64_t left = p.t.C - row, rows = left < kRows ? left : kRows;
    transpose_copy(filters + (p.taps - 1 - tap) * size + row, p.t.C, dst + tap * size + row * p.t.K,
                   p.t.K, rows, p.t.K);
  });
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
  const int64_t size = p.t.C * p.t.K, left = p.t.K - column;
  for (int64_t d = 0; d < depth; ++d)
    for (int64_t v = 0; v < width; v += kLanes) {
      const float* at = filters + (c + d) * p.t.K + column + v;
      const int64_t valid = left - v < kLanes ? left - v : kLanes;
      vfloat filter[Window::kTaps], line[Window::kTaps], result[Window::kPoints];
#pragma GCC unroll 5
      for (int s = 0; s < Window::kTaps; ++s) {
#pragma GCC unroll 5
        for (int r = 0; r < Window::kTaps; ++r)
          filter[r] = load_lanes(at + (r * Window::kTaps + s) * size, valid);
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
float* weights_at(const Plan& p, const Buffers& b, int64_t position, int64_t panel) {
  return b.weights + (position * p.K + panel * kPanel) * p.t.C;
}

template <class Window>
void transform_all_weights(const Plan& p, const Buffers& b) {
  constexpr int64_t kChannels = 16;
  const int64_t pieces = ceil_div(p.t.C, kChannels);
  parallel_for(p.panels * pieces, p.positions * kChannels * kPanel, [&](int64_t task) {
    const int64_t panel = task / pieces, c = task % pieces * kChannels;
    const int64_t left = p.t.C - c, depth = left < kChannels ? left : kChannels;
    const int64_t column = panel * kPanel, width = vectors_for(p.t.K - column) * kLanes;
    for (int line = 0; line < Window::kPoints; ++line)
      transform_line<Window>(line, p, b.filters, c, depth, column, width,
                             weights_at(p, b, line * Window::kPoints, panel) + c * width,
                             p.K * p.t.C);
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

// Outputs of a tile, for columns [first, last), the sums of the first of which are given.
template <class Window, class T>
void write_tile(const GatherCallOf<T>& c, const Plan& p, int64_t tile, int64_t first, int64_t last,
                const float* sums) {
  const Tiling& t = p.t;
  const TilePlace at = place_of(t, tile);
  const int64_t lines = t.P - at.y, columns = t.Q - at.x;
  T* dst = c.out + ((at.n * t.P + at.y) * t.Q + at.x) * t.K;
  for_vectors(first, last, [&](int64_t k, int64_t count) {
    const Shift shift(c.finish, k, count);
    transform_2d<Window::kPoints, kTile>(
        Window::output,
        [&](int i, int j) {
          return load(sums + (i * Window::kPoints + j) * p.sum_step + k - first);
        },
        [&](int i, int j, vfloat value) {
          if (i >= lines || j >= columns) return;
          T* pixel = dst + (i * t.Q + j) * t.K + k;
          const vfloat result = finished(c.finish, shift(value), pixel, count);
          c.finish.stream ? stream(pixel, result) : store_lanes(pixel, result, count);
        });
  });
}

// By tiles: the whole way of `count` tiles from the first one on.
template <class Window, class T>
void run_tiles(const GatherCallOf<T>& c, const Plan& p, const Buffers& b, int64_t first,
               int64_t count, float* inputs) {
  float* sums = inputs + p.positions * p.in_step;
  const T* zeros = reinterpret_cast<const T*>(b.zeros);
  for (int64_t i = 0; i < count; ++i)
    transform_input_tile<Window>(p.t, c.in, zeros, first + i, inputs + i * p.C, p.in_step);
  for (int64_t panel = 0; panel < p.panels; ++panel) {
    const int64_t column = panel * kPanel, left = p.t.K - column;
    for (int64_t position = 0; position < p.positions; ++position)
      multiply(p, {inputs + position * p.in_step, weights_at(p, b, position, panel),
                   sums + position * p.sum_step, count, p.t.C, vectors_for(left), false});
    for (int64_t i = 0; i < count; ++i)
      write_tile<Window>(c, p, first + i, column, left < kPanel ? p.t.K : column + kPanel,
                         sums + i * p.columns);
  }
}

template <class Window, class T>
void run_by_tiles(const GatherCallOf<T>& c, const Plan& p, const Buffers& b) {
  const int64_t work = p.block * p.positions * p.C * p.panels * kMaxVectors;
  parallel_for_slots(ceil_div(p.t.tiles, p.block), work, b.slots, [&](int64_t task, int64_t slot) {
    const int64_t first = task * p.block, left = p.t.tiles - first;
    run_tiles<Window>(c, p, b, first, left < p.block ? left : p.block,
                      b.blocks + slot * p.block_floats);
    if (c.finish.stream) stream_end();
  });
}

// By weights: tiles [first, last) of a block at positions (line, j), for one panel.
template <class Window>
void multiply_line(const Plan& p, const Buffers& b, int line, int64_t panel, int64_t first,
                   int64_t last) {
  constexpr int64_t kPoints = Window::kPoints, kDepth = kDepths / kPoints;
  alignas(64) float weights[kPoints * kDepth * kPanel];
  const int64_t column = panel * kPanel;
  const int vectors = vectors_for(p.t.K - column);
  float* sums = b.blocks + p.positions * p.in_step;
  if (p.whole_weights) {
    for (int64_t position = line * kPoints; position < (line + 1) * kPoints; ++position)
      multiply(p, {b.blocks + position * p.in_step + first * p.C, weights_at(p, b, position, panel),
                   sums + position * p.sum_step + first * p.columns + column, last - first, p.t.C,
                   vectors, false});
    return;
  }
  for (int64_t c = 0; c < p.t.C; c += kDepth) {
    const int64_t left = p.t.C - c, depth = left < kDepth ? left : kDepth;
    transform_line<Window>(line, p, b.filters, c, depth, column, vectors * kLanes, weights,
                           kDepth * kPanel);
    for (int j = 0; j < kPoints; ++j) {
      const int64_t position = line * kPoints + j;
      multiply(p, {b.blocks + position * p.in_step + first * p.C + c, weights + j * kDepth * kPanel,
                   sums + position * p.sum_step + first * p.columns + column, last - first, depth,
                   vectors, c > 0});
    }
  }
}

template <class Window, class T>
void run_block(const GatherCallOf<T>& c, const Plan& p, const Buffers& b, int64_t first) {
  const int64_t left = p.t.tiles - first, count = left < p.block ? left : p.block;
  const T* zeros = reinterpret_cast<const T*>(b.zeros);
  parallel_blocks(count, kTilesInTask, p.positions * p.C, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      transform_input_tile<Window>(p.t, c.in, zeros, first + i, b.blocks + i * p.C, p.in_step);
  });
  const int64_t chunk = ceil_div(count, p.chunks), tasks = p.panels * p.points * p.chunks;
  parallel_for(tasks, chunk * p.C * p.points * kMaxVectors, [&](int64_t task) {
    const int64_t at = task % p.chunks * chunk, end = at + chunk < count ? at + chunk : count;
    const int64_t line = task / p.chunks % p.points, panel = task / p.chunks / p.points;
    if (at < end) multiply_line<Window>(p, b, static_cast<int>(line), panel, at, end);
  });
  const float* sums = b.blocks + p.positions * p.in_step;
  parallel_blocks(count, kTilesInTask, p.positions * p.K, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      write_tile<Window>(c, p, first + i, 0, p.t.K, sums + i * p.columns);
    if (c.finish.stream) stream_end();
  });
}

template <class T>
void run(const GatherCallOf<T>& c, float* prepared, int64_t workspace_bytes) {
  const Plan p = plan_of(c.problem);
  if (p.t.tiles == 0) return;
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
    for (int64_t first = 0; first < p.t.tiles; first += p.block) run_block<Window>(c, p, b, first);
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
  const int64_t products = t.C * t.K, direct = p.taps * t.batch * t.P * t.Q * products;
  const int64_t transforms = kTransform * p.positions * t.tiles * (p.C + p.K);
  const int64_t multiplied = p.positions * t.tiles * products / 5 * 6;
  const int64_t weights = kept_weights ? 0 : kWeights * p.positions * products;
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
