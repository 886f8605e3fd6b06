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

// Per block: inputs [position][plane][tile][C], gradients [position][group][panel][plane][tile]
// [columns of the panel]. Per chunk: sums [group][plane of the window][position][C][K]; by sums,
// those of one group.
struct Plan {
  Tiling t;
  int64_t positions;  // of a tile
  int64_t set, sets;  // groups of a task's tiles, and how many such sets there are
  int64_t C, K;       // channels of a set, filters of a group, padded to whole vectors
  bool by_tiles;
  int64_t block, chunks, chunk;              // tiles of a block, number of chunks, tiles of one
  int64_t in_step, gradient_step, sum_step;  // floats from one position to the next
  int64_t panels, slices;
  int64_t block_floats, group_floats, sum_floats;
};

Plan plan_of(const WindowGeometry& g) {
  constexpr int64_t kCachedSums = 1 << 18, kScratchTiles = 24, kShared = 3 << 20;
  constexpr int64_t kMostChunks = 16, kLeastTiles = 2 * kScratchTiles;
  Plan plan = {};
  const Tiling& t = plan.t = tiling_of({&g, false});
  plan.positions = (g.kernel[1] + kTile - 1) * (g.kernel[2] + kTile - 1);
  plan.K = padded(t.K);
  const int64_t tiles = t.tiles > 0 ? t.tiles : 1, deep = t.O > 0 ? t.O : 1;
  plan.by_tiles = t.planes * plan.positions * t.C * plan.K <= kCachedSums;
  plan.set = plan.by_tiles ? groups_in_set(t) : 1;
  plan.sets = ceil_div(t.groups, plan.set);
  plan.C = padded(plan.set * t.C);
  const int64_t useful = plan.by_tiles ? ceil_div(tiles * deep, kLeastTiles) : 1;
  plan.chunks = useful < kMostChunks ? useful : kMostChunks;
  plan.chunk = ceil_div(tiles, plan.chunks);
  const int64_t floats = plan.positions * (t.D * plan.C + deep * plan.set * plan.K);
  const int64_t most = plan.by_tiles ? ceil_div(kScratchTiles, deep) : kShared / (floats + 1) + 1;
  plan.block = ceil_div(plan.chunk, ceil_div(plan.chunk, most));
  // One vector more: positions a power of two apart would share a few sets of the cache.
  plan.in_step = t.D * plan.block * plan.C + kLanes;
  plan.gradient_step = deep * plan.block * plan.set * plan.K + kLanes;
  plan.sum_step = t.C * plan.K + kLanes;
  plan.panels = ceil_div(t.K, kPanel);
  plan.slices = ceil_div(t.C, kRows);
  plan.block_floats = plan.positions * (plan.in_step + plan.gradient_step);
  plan.group_floats = t.planes * plan.positions * plan.sum_step;
  plan.sum_floats = (plan.by_tiles ? t.groups : 1) * plan.group_floats;
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

// Tiles of a block, in all planes: `count` in each, from the first one on.
struct Block {
  int64_t set, groups;  // the groups of a set
  int64_t first, count;
  float* memory;
};

Block block_of(const Plan& p, int64_t set, int64_t first, int64_t last, float* memory) {
  const int64_t groups = p.t.groups - set * p.set, count = last - first;
  return {set, groups < p.set ? groups : p.set, first, count < p.block ? count : p.block, memory};
}

// Where the gradients [plane][tile][columns] of a panel begin, of the `i`th group of a set.
float* gradients_at(const Plan& p, const Block& block, int64_t i, int64_t column) {
  return block.memory + p.positions * p.in_step + (i * p.K + column) * p.t.O * block.count;
}

// Transforms the 4x4 output gradients of a tile of plane z.
template <class Window, class T>
void transform_gradient_tile(const Plan& p, const Buffers<T>& b, const Block& block, int64_t tile,
                             int64_t z) {
  const Tiling& t = p.t;
  const TilePlace at = place_of(t, block.first + tile);
  const int64_t pixel_floats = t.K * t.groups;
  const T* pixel[kTile][kTile];
  for (int64_t i = 0; i < block.groups; ++i) {
    for (int y = 0; y < kTile; ++y)
      for (int x = 0; x < kTile; ++x) {
        const bool inside = at.y + y < t.P && at.x + x < t.Q;
        const int64_t row = ((at.n * t.O + z) * t.P + at.y + y) * t.Q + at.x + x;
        pixel[y][x] =
            inside ? b.ddst + row * pixel_floats + (block.set * p.set + i) * t.K : b.zeros;
      }
    for_vectors(0, t.K, [&](int64_t k, int64_t count) {
      const int64_t panel = k / kPanel * kPanel, width = vectors_for(t.K - panel) * kLanes;
      float* dst = gradients_at(p, block, i, panel) + (z * block.count + tile) * width + k - panel;
      transform_2d<kTile, Window::kPoints>(
          Window::gradient, [&](int y, int x) { return load_lanes(pixel[y][x] + k, count); },
          [&](int y, int x, vfloat value) {
            store(dst + (y * Window::kPoints + x) * p.gradient_step, value);
          });
    });
  }
}

// Input tile `i`, or gradient tile `i - inputs`, of all planes of a block.
template <class Window, class T>
void transform_tile(const Plan& p, const Buffers<T>& b, const Block& block, int64_t i) {
  const int64_t inputs = p.t.D * block.count;
  if (i >= inputs)
    return transform_gradient_tile<Window>(p, b, block, (i - inputs) % block.count,
                                           (i - inputs) / block.count);
  transform_input_tile<Window>(p.t, b.src + block.set * p.set * p.t.C, b.zeros,
                               block.first + i % block.count, i / block.count, block.groups * p.t.C,
                               block.memory + i * p.C, p.in_step);
}

int64_t tiles_to_transform(const Plan& p, const Block& block) {
  return (p.t.D + p.t.O) * block.count;
}

// What a product adds to: channels of a slice and columns of a panel, of the `i`th group of a set,
// at one position and plane of the window.
struct Target {
  int64_t i, tap, position, slice, panel;
  bool accumulate;
  float* sums;  // of the group
};

// Adds the products of the tiles in all planes that meet.
void multiply(const Plan& p, const Block& block, const Target& to) {
  constexpr int64_t kDepth = 128;
  const PlaneRange planes = planes_of(p.t, to.tap);
  const int64_t first = to.slice * kRows, column = to.panel * kPanel, left = p.t.C - first;
  const int64_t channel = to.i * p.t.C + first, shift = (to.tap + p.t.front) * block.count;
  const int vectors = vectors_for(p.t.K - column);
  const int64_t width = vectors * kLanes;
  const float* inputs = block.memory + to.position * p.in_step;
  const float* gradients = gradients_at(p, block, to.i, column) + to.position * p.gradient_step;
  float* dst = to.sums + (to.tap * p.positions + to.position) * p.sum_step + first * p.K + column;
  const float* rows[kDepth];
  const int64_t begin = planes.begin * block.count, end = planes.end * block.count;
  for (int64_t tile = begin; tile == begin || tile < end; tile += kDepth) {
    const int64_t rest = end > tile ? end - tile : 0, depth = rest < kDepth ? rest : kDepth;
    for (int64_t i = 0; i < depth; ++i) rows[i] = inputs + (tile + i + shift) * p.C;
    for_tiles(left < kRows ? left : kRows, tile_rows(vectors), [&](int64_t row, int height) {
      run_column_tile(height, vectors,
                      {rows, channel + row, depth, gradients + tile * width, width, dst + row * p.K,
                       p.K, width, to.accumulate || tile > begin, Finish{}});
    });
  }
}

// By tiles: one chunk of a set of groups.
template <class Window, class T>
void run_chunk(const Plan& p, const Buffers<T>& b, int64_t set, int64_t chunk, float* memory) {
  const int64_t begin = chunk * p.chunk, end = begin + p.chunk;
  const int64_t last = end < p.t.tiles ? end : p.t.tiles;
  float* sums = b.sums + chunk * p.sum_floats + set * p.set * p.group_floats;
  for (int64_t first = begin; first == begin || first < last; first += p.block) {
    const Block block = block_of(p, set, first, last > first ? last : first, memory);
    for (int64_t i = 0; i < tiles_to_transform(p, block); ++i)
      transform_tile<Window>(p, b, block, i);
    for (int64_t position = 0; position < p.positions; ++position)
      for (int64_t i = 0; i < block.groups; ++i)
        for (int64_t tap = 0; tap < p.t.planes; ++tap)
          for (int64_t panel = 0; panel < p.panels; ++panel)
            for (int64_t slice = 0; slice < p.slices; ++slice)
              multiply(p, block,
                       {i, tap, position, slice, panel, first > begin, sums + i * p.group_floats});
  }
}

// By sums: a block of one group.
template <class Window, class T>
void run_block(const Plan& p, const Buffers<T>& b, int64_t group, int64_t first) {
  const Block block = block_of(p, group, first, p.t.tiles, b.blocks);
  const int64_t work = p.positions * (p.C + p.K) / 2;
  parallel_blocks(tiles_to_transform(p, block), kTilesInTask, work,
                  [&](int64_t begin, int64_t end) {
                    for (int64_t i = begin; i < end; ++i) transform_tile<Window>(p, b, block, i);
                  });
  const int64_t products = block.count * p.t.O * kRows * kMaxVectors;
  parallel_for(p.t.planes * p.positions * p.slices * p.panels, products, [&](int64_t task) {
    const int64_t slice = task % p.slices, rest = task / p.slices, at = rest / p.panels;
    multiply(p, block,
             {0, at % p.t.planes, at / p.t.planes, slice, rest % p.panels, first > 0, b.sums});
  });
}

// The gradients of all filters of one channel of a group at one plane of the window, from the sums
// of the group.
template <class Window>
void write_weights(const Plan& p, const float* group_sums, int64_t group, int64_t plane,
                   int64_t channel, float* dweights) {
  const int64_t row = p.t.K * p.t.groups, size = p.t.C * row;
  for_vectors(0, p.t.K, [&](int64_t k, int64_t count) {
    const float* sums = group_sums + plane * p.positions * p.sum_step + channel * p.K + k;
    float* dst =
        dweights + plane * Window::kTaps * Window::kTaps * size + channel * row + group * p.t.K + k;
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

// Those of `groups` groups from the first one on, whose sums begin those that there are.
template <class Window, class T>
void write_groups(const Plan& p, const Buffers<T>& b, int64_t first, int64_t groups,
                  float* dweights) {
  const int64_t rows = p.t.planes * p.t.C;
  parallel_for(groups * rows, p.chunks * p.positions * p.K, [&](int64_t task) {
    const int64_t i = task / rows, row = task % rows;
    write_weights<Window>(p, b.sums + i * p.group_floats, first + i, row / p.t.C, row % p.t.C,
                          dweights);
  });
}

template <class Window, class T>
void run_tasks(const Plan& p, const Buffers<T>& b, float* dweights) {
  if (!p.by_tiles) {
    for (int64_t group = 0; group < p.t.groups; ++group) {
      for (int64_t first = 0; first == 0 || first < p.t.tiles; first += p.block)
        run_block<Window>(p, b, group, first);
      write_groups<Window>(p, b, group, 1, dweights);
    }
    return;
  }
  const int64_t work = p.chunk * plane_products(p.t) * p.positions * p.C * p.panels * kMaxVectors;
  parallel_for_slots(p.chunks * p.sets, work, b.slots, [&](int64_t task, int64_t slot) {
    run_chunk<Window>(p, b, task % p.sets, task / p.sets, b.blocks + slot * p.block_floats);
  });
  write_groups<Window>(p, b, 0, p.t.groups, dweights);
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
