// Convolution and its data gradient for few channels by Winograd's minimal filtering, with kLanes
// images side by side. What conv_winograd.cpp does with vectors of channels is done here with
// vectors of images: a product with one transformed weight serves them all.
#include "conv_batch_lanes.h"
#include "conv_winograd.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kMostChannels = 48;  // of the result

// A task has a block of kLanes images and a band of output lines. Its memory: the input lines
// [lines][W][C], the values of a tile [positions][C], their sums [positions][columns + 1], and the
// output lines of a row of tiles [kTile][Q][K], all of them vectors. Without the one vector more
// the sums of a channel would share a few sets of the cache.
struct Plan {
  Tiling t;
  int64_t taps, positions;
  int64_t blocks, bands, lines;  // output lines of a band
  int64_t columns;               // channels of the result that are summed together
  int64_t in_vectors, value_vectors, sum_vectors, out_vectors;
  int64_t turned, weights;  // floats of the turned, of the transformed weights
  int64_t slot_floats() const {
    return (in_vectors + value_vectors + sum_vectors + out_vectors) * kLanes;
  }
  int64_t fixed_floats() const { return t.C * kLanes + turned + weights; }
};

int64_t input_vectors(const Tiling& t, int64_t kernel, int64_t lines) {
  const int64_t read = lines - 1 + kernel;
  return (read < t.H ? read : t.H) * t.W * t.C;
}

Plan plan_of(const GatherProblem& problem) {
  constexpr int64_t kTasks = 16;
  const WindowGeometry& g = *problem.geometry;
  Plan p = {};
  p.t = tiling_of(problem);
  p.taps = g.kernel[1] * g.kernel[2];
  p.positions = (g.kernel[1] + kTile - 1) * (g.kernel[2] + kTile - 1);
  p.blocks = ceil_div(p.t.batch, kLanes);
  const int64_t wanted = ceil_div(kTasks, p.blocks > 0 ? p.blocks : 1);
  int64_t rows = p.t.tile_lines > wanted ? ceil_div(p.t.tile_lines, wanted) : 1;
  while (rows > 1 && input_vectors(p.t, g.kernel[1], rows * kTile) * kLanes > kLaneScratch) --rows;
  p.lines = rows * kTile;
  p.bands = ceil_div(p.t.P, p.lines);
  p.columns = p.t.K < kTileChannels ? p.t.K : kTileChannels;
  p.in_vectors = input_vectors(p.t, g.kernel[1], p.lines);
  p.value_vectors = p.positions * p.t.C;
  p.sum_vectors = p.positions * (p.columns + 1);
  p.out_vectors = kTile * p.t.Q * p.t.K + kLanes;  // `from_lanes` reads whole blocks
  p.turned = problem.backward ? padded(p.taps * p.t.C * p.t.K) : 0;
  p.weights = padded(p.positions * p.t.C * p.t.K);
  return p;
}

// dst[position][C][K] from the weights [taps][C][K].
template <class Window>
void transform_weights(const Plan& p, const float* weights, float* dst) {
  const int64_t size = p.t.C * p.t.K;
  parallel_blocks(ceil_div(size, kLanes), 1, p.positions * kLanes, [&](int64_t begin, int64_t end) {
    for_vectors(begin * kLanes, end * kLanes < size ? end * kLanes : size,
                [&](int64_t i, int64_t count) {
                  transform_2d<Window::kTaps, Window::kPoints>(
                      Window::filter,
                      [&](int r, int s) {
                        return load_lanes(weights + (r * Window::kTaps + s) * size + i, count);
                      },
                      [&](int r, int s, vfloat value) {
                        store_lanes(dst + (r * Window::kPoints + s) * size + i, value, count);
                      });
                });
  });
}

// What a task has in memory.
struct Slot {
  int64_t first, lines;  // input lines there
  float *in, *values, *sums, *out;
};

// The values of the tile whose first output is (y, x).
template <class Window>
void transform_tile(const Plan& p, const Slot& slot, const float* zeros, int64_t y, int64_t x) {
  constexpr int kPoints = Window::kPoints;
  const Tiling& t = p.t;
  const float* pixel[kPoints][kPoints];
  for (int i = 0; i < kPoints; ++i)
    for (int j = 0; j < kPoints; ++j) {
      const int64_t line = y + t.top + i - slot.first, column = x + t.left + j;
      const bool inside = line >= 0 && line < slot.lines && column >= 0 && column < t.W;
      pixel[i][j] = inside ? slot.in + (line * t.W + column) * t.C * kLanes : zeros;
    }
  for (int64_t c = 0; c < t.C; ++c)
    transform_2d<kPoints, kPoints>(
        Window::input, [&](int i, int j) { return load(pixel[i][j] + c * kLanes); },
        [&](int i, int j, vfloat value) {
          store(slot.values + ((i * kPoints + j) * t.C + c) * kLanes, value);
        });
}

// The sums of CH channels, of all positions, from the values of a tile.
template <int CH>
void multiply_tile(const Plan& p, const float* values, const float* weights, float* sums) {
  for (int64_t position = 0; position < p.positions; ++position, sums += (CH + 1) * kLanes) {
    vfloat sum[CH] = {};
    for (int64_t c = 0; c < p.t.C; ++c, values += kLanes, weights += p.t.K) {
      const vfloat x = load(values);
#pragma GCC unroll 16
      for (int k = 0; k < CH; ++k) sum[k] += x * splat(weights[k]);
    }
#pragma GCC unroll 16
    for (int k = 0; k < CH; ++k) store(sums + k * kLanes, sum[k]);
  }
}

template <int CH = kTileChannels>
void multiply_tile(int channels, const Plan& p, const float* values, const float* weights,
                   float* sums) {
  if constexpr (CH > 1)
    if (channels < CH) return multiply_tile<CH - 1>(channels, p, values, weights, sums);
  multiply_tile<CH>(p, values, weights, sums);
}

// Channels [first, first + count) of the tile's outputs. `pools`: only the maxima of 2x2 of them.
template <class Window>
void write_tile(const Plan& p, const Slot& slot, const Finish& finish, bool pools, int64_t y,
                int64_t x, int64_t first, int count) {
  constexpr int kPoints = Window::kPoints;
  const int64_t step = pools ? 2 : 1, Q = p.t.Q / step, K = p.t.K;
  const int64_t lines = (p.t.P - y) / step, columns = Q - x / step;
  const bool relu = finish.activation == Activation::relu && !reads_memory(finish);
  const vfloat low = splat(relu ? 0.0f : -kInfinity);
  const auto put = [&](int i, int j, int c, vfloat value) {
    if (i >= lines || j >= columns) return;
    store(slot.out + ((i * Q + x / step + j) * K + first + c) * kLanes, value < low ? low : value);
  };
  for (int c = 0; c < count; ++c) {
    const ChannelShift shift(finish.scale, finish.bias, first + c);
    vfloat out[kTile][kTile];
    transform_2d<kPoints, kTile>(
        Window::output,
        [&](int i, int j) {
          return load(slot.sums + ((i * kPoints + j) * (count + 1) + c) * kLanes);
        },
        [&](int i, int j, vfloat value) { out[i][j] = value; });
#pragma GCC unroll 4
    for (int i = 0; i < kTile; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < kTile; ++j) {
        if (!pools) put(i, j, c, shift(out[i][j]));
        if (pools && i % 2 == 1 && j % 2 == 1)
          put(i / 2, j / 2, c,
              shift.largest_of(out[i - 1][j - 1], out[i - 1][j], out[i][j - 1], out[i][j]));
      }
  }
}

template <class Window>
void run_tile_row(const GatherCall& c, const Plan& p, const Slot& slot, const float* weights,
                  int64_t y) {
  for (int64_t x = 0; x < p.t.Q; x += kTile) {
    transform_tile<Window>(p, slot, c.workspace, y, x);
    for_tiles(p.t.K, kTileChannels, [&](int64_t first, int count) {
      multiply_tile(count, p, slot.values, weights + first, slot.sums);
      write_tile<Window>(p, slot, c.finish, pools_sums(c), y, x, first, count);
    });
  }
}

int64_t clamp(int64_t x, int64_t size) { return x < 0 ? 0 : x > size ? size : x; }

template <class Window>
void run_band(const GatherCall& c, const Plan& p, const float* weights, int64_t block, int64_t band,
              float* memory) {
  const Tiling& t = p.t;
  const int64_t n = block * kLanes, left = t.batch - n, images = left < kLanes ? left : kLanes;
  const int64_t first = band * p.lines, end = first + p.lines, last = end < t.P ? end : t.P;
  const int64_t line = t.W * t.C, out_line = t.Q * t.K, floats = t.Q / c.pool * t.K;
  const int64_t image = t.P / c.pool * floats;
  Slot slot = {};
  slot.first = clamp(first + t.top, t.H);
  slot.lines = clamp(end - 1 + t.top + Window::kTaps, t.H) - slot.first;
  slot.in = memory;
  slot.values = slot.in + p.in_vectors * kLanes;
  slot.sums = slot.values + p.value_vectors * kLanes;
  slot.out = slot.sums + p.sum_vectors * kLanes;
  to_lanes({t.H * line, images, slot.lines * line}, c.in + (n * t.H + slot.first) * line, slot.in);
  for (int64_t y = first; y < last; y += kTile) {
    run_tile_row<Window>(c, p, slot, weights, y);
    for (int64_t i = 0; i < kTile && y + i + c.pool <= last; i += c.pool) {
      float* out = slot.out + (pools_sums(c) ? i / 2 * floats : i * out_line) * kLanes;
      float* dst = c.out + n * image + (y + i) / c.pool * floats;
      if (!reads_memory(c.finish)) activate_line(c.finish, c.pool * out_line, out);
      if (c.pool > 1 && !pools_sums(c)) pool_lines(t.Q, t.K, out);
      from_lanes({image, images, floats}, out, dst);
      if (reads_memory(c.finish)) finish_lines(c.finish, image, images, floats, dst);
    }
  }
}

template <class Window>
void run(const GatherCall& c, const Plan& p, float* weights, int64_t slots) {
  transform_weights<Window>(p, c.weights, weights);
  const int64_t work = p.lines * p.t.Q * p.positions * p.t.C * p.t.K / (kTile * kTile);
  parallel_for_slots(p.blocks * p.bands, work, slots, [&](int64_t task, int64_t slot) {
    run_band<Window>(c, p, weights, task / p.bands, task % p.bands,
                     weights + p.weights + slot * p.slot_floats());
  });
}

void run(const KernelCall& call, bool backward) {
  GatherCall c = gather_call(call, backward);
  const WindowGeometry& g = geometry(call);
  const Plan p = plan_of(c.problem);
  for (int64_t i = 0; i < p.t.C * kLanes; ++i) c.workspace[i] = 0;
  float* turned = c.workspace + p.t.C * kLanes;
  if (backward) {
    for_taps(phase_of(c.problem, 0), g.kernel, [&](int64_t i, int64_t tap) {
      transpose_copy(c.weights + tap * p.t.C * p.t.K, p.t.C, turned + i * p.t.C * p.t.K, p.t.K,
                     p.t.C, p.t.K);
    });
    c.weights = turned;
  }
  const int64_t floats = call.workspace_bytes / static_cast<int64_t>(sizeof(float));
  const int64_t slots = (floats - p.fixed_floats()) / p.slot_floats();
  with_window(g, [&](auto window) { run<decltype(window)>(c, p, turned + p.turned, slots); });
}

int64_t workspace(const KernelCall& call, bool backward) {
  const Plan p = plan_of({&geometry(call), backward});
  return (p.fixed_floats() + usable_threads() * p.slot_floats()) *
         static_cast<int64_t>(sizeof(float));
}

// Whether the transforms cost less than they save, in multiply-adds of one lane. Products with the
// padding are left out where there are no transforms.
bool pays(const Plan& p) {
  constexpr int64_t kInput = 9, kOutput = 6;  // of one value
  const Tiling& t = p.t;
  const int64_t products = t.C * t.K, outputs = t.P * t.Q, inputs = t.H * t.W;
  const int64_t direct = p.taps * (outputs < inputs ? outputs : inputs) * products;
  const int64_t tile = p.positions * (products + kInput * t.C + kOutput * t.K);
  return t.tile_lines * t.tile_columns * tile * 8 < direct * 7;
}

const char* declines(const KernelCall& call, bool backward) {
  const WindowGeometry& g = geometry(call);
  if (const char* reason = needs_float32(call)) return reason;
  if (const char* reason = not_winograd(g)) return reason;
  if (g.groups != 1) return "groups > 1";
  if (g.kernel[0] * g.input[0] != 1) return "more than one plane";
  const Plan p = plan_of({&g, backward});
  if (const char* reason = batch_lanes_decline(g, p.t.K, kMostChannels)) return reason;
  if (p.in_vectors * kLanes > kLaneScratch || p.out_vectors * kLanes > kLaneScratch ||
      p.value_vectors * kLanes > kLaneScratch)
    return "too long a line";
  return pays(p) ? nullptr : "the transforms cost more than they save";
}

}  // namespace

const char* conv_winograd_lanes_declines(const KernelCall& call) { return declines(call, false); }
const char* conv_backward_data_winograd_lanes_declines(const KernelCall& call) {
  return declines(call, true);
}

void conv_winograd_lanes(const KernelCall& call) { run(call, false); }
void conv_backward_data_winograd_lanes(const KernelCall& call) { run(call, true); }

int64_t conv_winograd_lanes_workspace(const KernelCall& call) { return workspace(call, false); }
int64_t conv_backward_data_winograd_lanes_workspace(const KernelCall& call) {
  return workspace(call, true);
}

}  // namespace fastconv::cpu::FASTCONV_ISA
