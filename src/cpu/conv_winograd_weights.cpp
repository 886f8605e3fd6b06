// The weight gradient of 3x3 and 5x5 windows by Winograd's minimal filtering, the transpose of
// conv_winograd.cpp: with inputs and output gradients of the tiles transformed, the gradient of the
// transformed weights is 36 or 64 products of [C, tiles] and [tiles, K], which one transform turns
// into that of the weights. Two orders of the work:
//
// - by tiles, if the sums [positions C K] stay in the second cache: a task takes a chunk of the
// tiles
//   through both phases and has sums of its own, which are added in the order of the chunks;
// - by sums: all threads transform a large block of tiles, then each adds to its part of the sums.
#include "conv_winograd.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kRows = 96;        // channels of a product's task
constexpr int64_t kTilesInTask = 4;  // of a transform

// Per block: inputs [position][tile][C], gradients [position][panel][tile][columns of the panel].
// Per chunk: sums [position][C][K].
struct Plan {
  Tiling t;
  int64_t positions;  // of a tile
  int64_t C, K;       // padded to whole vectors
  bool by_tiles;
  int64_t block, chunks, chunk;              // tiles of a block, number of chunks, tiles of one
  int64_t in_step, gradient_step, sum_step;  // floats from one position to the next
  int64_t panels, slices;
  int64_t block_floats, sum_floats;
};

Plan plan_of(const WindowGeometry& g) {
  constexpr int64_t kCachedSums = 1 << 18, kScratchTiles = 24, kShared = 3 << 20;
  constexpr int64_t kMostChunks = 16, kLeastTiles = 2 * kScratchTiles;
  Plan plan = {};
  plan.t = tiling_of({&g, false});
  plan.positions = (g.kernel[1] + kTile - 1) * (g.kernel[2] + kTile - 1);
  plan.C = padded(plan.t.C);
  plan.K = padded(plan.t.K);
  const int64_t tiles = plan.t.tiles > 0 ? plan.t.tiles : 1;
  plan.by_tiles = plan.positions * plan.t.C * plan.K <= kCachedSums;
  const int64_t useful = plan.by_tiles ? ceil_div(tiles, kLeastTiles) : 1;
  plan.chunks = useful < kMostChunks ? useful : kMostChunks;
  plan.chunk = ceil_div(tiles, plan.chunks);
  const int64_t most = kShared / (plan.positions * (plan.C + plan.K)) + 1;
  plan.block = ceil_div(plan.chunk, ceil_div(plan.chunk, plan.by_tiles ? kScratchTiles : most));
  // One vector more: positions a power of two apart would share a few sets of the cache.
  plan.in_step = plan.block * plan.C + kLanes;
  plan.gradient_step = plan.block * plan.K + kLanes;
  plan.sum_step = plan.t.C * plan.K + kLanes;
  plan.panels = ceil_div(plan.t.K, kPanel);
  plan.slices = ceil_div(plan.t.C, kRows);
  plan.block_floats = plan.positions * (plan.in_step + plan.gradient_step);
  plan.sum_floats = plan.positions * plan.sum_step;
  return plan;
}

template <class T>
struct Buffers {
  const T *src, *ddst, *zeros;
  float *sums, *blocks;
  int64_t slots;  // number of blocks there is memory for
};

int64_t zero_floats(const Plan& p) { return p.C > p.K ? p.C : p.K; }

int64_t fixed_floats(const Plan& p) { return zero_floats(p) + p.chunks * p.sum_floats; }

template <class T>
Buffers<T> buffers_of(const KernelCall& call, const Plan& p) {
  Buffers<T> b = {};
  b.src = input<T>(call, 0);
  b.ddst = input<T>(call, 1);
  b.zeros = static_cast<const T*>(call.workspace);
  b.sums = static_cast<float*>(call.workspace) + zero_floats(p);
  b.blocks = b.sums + p.chunks * p.sum_floats;
  const int64_t floats = call.workspace_bytes / static_cast<int64_t>(sizeof(float));
  b.slots = (floats - fixed_floats(p)) / p.block_floats;
  return b;
}

// Transforms the 4x4 output gradients of a tile, to row `i` of each panel.
template <class Window, class T>
void transform_gradient_tile(const Plan& p, const Buffers<T>& b, int64_t tile, int64_t i,
                             float* gradients) {
  const Tiling& t = p.t;
  const TilePlace at = place_of(t, tile);
  const T* pixel[kTile][kTile];
  for (int y = 0; y < kTile; ++y)
    for (int x = 0; x < kTile; ++x) {
      const bool inside = at.y + y < t.P && at.x + x < t.Q;
      const int64_t row = (at.n * t.P + at.y + y) * t.Q + at.x + x;
      pixel[y][x] = inside ? b.ddst + row * t.K : b.zeros;
    }
  for_vectors(0, t.K, [&](int64_t k, int64_t count) {
    const int64_t panel = k / kPanel * kPanel, width = vectors_for(t.K - panel) * kLanes;
    float* dst = gradients + panel * p.block + i * width + k - panel;
    transform_2d<kTile, Window::kPoints>(
        Window::gradient, [&](int y, int x) { return load_lanes(pixel[y][x] + k, count); },
        [&](int y, int x, vfloat value) {
          store(dst + (y * Window::kPoints + x) * p.gradient_step, value);
        });
  });
}

// Tile `i` of a block, which begins with tile `first`.
template <class Window, class T>
void transform_tile(const Plan& p, const Buffers<T>& b, int64_t first, int64_t i, float* block) {
  transform_input_tile<Window>(p.t, b.src, b.zeros, first + i, block + i * p.C, p.in_step);
  transform_gradient_tile<Window>(p, b, first + i, i, block + p.positions * p.in_step);
}

// Adds the products of `count` tiles of a block at one position, for the channels of a slice and
// the columns of a panel.
void multiply(const Plan& p, const float* block, int64_t position, int64_t slice, int64_t panel,
              int64_t count, bool accumulate, float* sums) {
  constexpr int64_t kDepth = 128;
  const int64_t first = slice * kRows, column = panel * kPanel, left = p.t.C - first;
  const int vectors = vectors_for(p.t.K - column);
  const int64_t width = vectors * kLanes;
  const float* inputs = block + position * p.in_step;
  const float* gradients =
      block + p.positions * p.in_step + position * p.gradient_step + column * p.block;
  float* dst = sums + position * p.sum_step + column;
  const float* rows[kDepth];
  for (int64_t tile = 0; tile < count; tile += kDepth) {
    const int64_t depth = count - tile < kDepth ? count - tile : kDepth;
    for (int64_t i = 0; i < depth; ++i) rows[i] = inputs + (tile + i) * p.C;
    for_tiles(left < kRows ? left : kRows, tile_rows(vectors), [&](int64_t row, int height) {
      run_column_tile(height, vectors,
                      {rows, first + row, depth, gradients + tile * width, width,
                       dst + (first + row) * p.K, p.K, width, accumulate || tile > 0, Finish{}});
    });
  }
}

template <class Window, class T>
void run_chunk(const Plan& p, const Buffers<T>& b, int64_t chunk, float* block) {
  const int64_t begin = chunk * p.chunk, end = begin + p.chunk;
  const int64_t last = end < p.t.tiles ? end : p.t.tiles;
  float* sums = b.sums + chunk * p.sum_floats;
  for (int64_t first = begin; first < last; first += p.block) {
    const int64_t count = last - first < p.block ? last - first : p.block;
    for (int64_t i = 0; i < count; ++i) transform_tile<Window>(p, b, first, i, block);
    for (int64_t position = 0; position < p.positions; ++position)
      for (int64_t panel = 0; panel < p.panels; ++panel)
        for (int64_t slice = 0; slice < p.slices; ++slice)
          multiply(p, block, position, slice, panel, count, first > begin, sums);
  }
}

template <class Window, class T>
void run_block(const Plan& p, const Buffers<T>& b, int64_t first) {
  const int64_t left = p.t.tiles - first, count = left < p.block ? left : p.block;
  parallel_blocks(count, kTilesInTask, p.positions * (p.C + p.K), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) transform_tile<Window>(p, b, first, i, b.blocks);
  });
  parallel_for(p.positions * p.slices * p.panels, count * kRows * kMaxVectors, [&](int64_t task) {
    const int64_t slice = task % p.slices, rest = task / p.slices;
    multiply(p, b.blocks, rest / p.panels, slice, rest % p.panels, count, first > 0, b.sums);
  });
}

// The gradients of all filters of one channel, from the sums.
template <class Window, class T>
void write_weights(const Plan& p, const Buffers<T>& b, int64_t channel, float* dweights) {
  const int64_t size = p.t.C * p.t.K;
  for_vectors(0, p.t.K, [&](int64_t k, int64_t count) {
    const float* sums = b.sums + channel * p.K + k;
    float* dst = dweights + channel * p.t.K + k;
    transform_2d<Window::kPoints, Window::kTaps>(
        Window::sums,
        [&](int i, int j) {
          const float* at = sums + (i * Window::kPoints + j) * p.sum_step;
          vfloat sum = load(at);
          for (int64_t chunk = 1; chunk < p.chunks; ++chunk) sum += load(at + chunk * p.sum_floats);
          return sum;
        },
        [&](int i, int j, vfloat value) {
          store_lanes(dst + (i * Window::kTaps + j) * size, value, count);
        });
  });
}

template <class Window, class T>
void run_tasks(const Plan& p, const Buffers<T>& b, float* dweights) {
  if (p.by_tiles) {
    const int64_t work = p.chunk * p.positions * p.C * p.panels * kMaxVectors;
    parallel_for_slots(p.chunks, work, b.slots, [&](int64_t chunk, int64_t slot) {
      run_chunk<Window>(p, b, chunk, b.blocks + slot * p.block_floats);
    });
  } else {
    for (int64_t first = 0; first < p.t.tiles; first += p.block) run_block<Window>(p, b, first);
  }
  parallel_for(p.t.C, p.chunks * p.positions * p.K,
               [&](int64_t c) { write_weights<Window>(p, b, c, dweights); });
}

template <class T>
void run(const KernelCall& call) {
  const Plan p = plan_of(geometry(call));
  const Buffers<T> b = buffers_of<T>(call, p);
  float* dweights = output<float>(call, 0);
  __builtin_memset(call.workspace, 0, static_cast<size_t>(zero_floats(p)) * sizeof(float));
  with_window(geometry(call), [&](auto window) { run_tasks<decltype(window)>(p, b, dweights); });
}

}  // namespace

void conv_backward_weights_winograd(const KernelCall& call) {
  with_float(call, [&](auto tag) { run<typename decltype(tag)::type>(call); });
}

int64_t conv_backward_weights_winograd_workspace(const KernelCall& call) {
  const Plan p = plan_of(geometry(call));
  const int64_t blocks = p.by_tiles ? usable_threads() : 1;
  return (fixed_floats(p) + blocks * p.block_floats) * static_cast<int64_t>(sizeof(float));
}

}  // namespace fastconv::cpu::FASTCONV_ISA
