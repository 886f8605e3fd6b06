// Convolution of bytes as one dense product for each group: like conv_implicit.cpp, four channels
// at a time. Padding is read as bytes of src's zero point, so that what the zero point adds to a
// sum is the same everywhere, and goes into the bias.
#include "amx.h"
#include "conv.h"
#include "quantized.h"
#include "quantized_dot.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kStep = 4;  // bytes of the depth that dot4 takes

// Without vpdpbusd operands need twice the registers.
constexpr int dot_rows(int vectors) {
  if (kVnni || kAmx) return tile_rows<uint8_t>(vectors);
  if (kLanes == 16) return vectors == 1 ? 14 : vectors == 2 ? 12 : vectors == 3 ? 7 : 4;
  return vectors == 1 ? 8 : 4;
}

constexpr int dot_block_rows(int vectors) {
  return kMostBlockRows / dot_rows(vectors) * dot_rows(vectors);
}

struct Shape {
  const WindowGeometry* geometry;
  Gather g;
  RunShape runs;
  int64_t steps;      // of dot4 in a run
  int64_t run_bytes;  // that they read
  int64_t panels;
};

Shape shape_of(const WindowGeometry& w) {
  Shape s = {};
  s.geometry = &w;
  s.g = phase_of({&w, false}, 0);
  s.runs = run_shape(s.g, dot_block_rows(vectors_for(s.g.out_channels)));
  s.steps = ceil_div(s.runs.taps_in_run * s.g.in_channels, kStep);
  s.run_bytes = s.steps * kStep;
  s.panels = ceil_div(s.g.out_channels, kPanel);
  return s;
}

// A panel is one bias a column (int32), then the weights [run][step][column][4].
int64_t panel_bytes(const Shape& s, int64_t width) {
  return width * (4 + s.runs.runs * s.run_bytes);
}

// The packed weights are [group][panel].
int64_t group_bytes(const Shape& s) { return panel_bytes(s, padded(s.g.out_channels)); }

int64_t place_of(const Shape& s, int64_t group, int64_t panel) {
  return group * group_bytes(s) + panel_bytes(s, panel * kPanel);
}

// What a call has beside its operands: a run of padding, and the end of src with room behind it.
int64_t padding_bytes(const Shape& s) {
  return s.geometry->kernel[2] * s.geometry->in_channels + kStep;
}

int64_t spare_bytes(const Shape& s) {
  constexpr int64_t kLine = 64;
  return ceil_div(padding_bytes(s) + 2 * s.run_bytes, kLine) * kLine;
}

struct Packing {
  const Shape& s;
  const int8_t* weights;  // T R S C/groups K
  const int32_t* bias;
  int32_t src_zero_point;
};

void pack_column(const Packing& p, int64_t k, int64_t column, int64_t width, uint8_t* panel) {
  const int64_t C = p.s.g.in_channels, K = p.s.geometry->out_channels;
  const int64_t run_depth = p.s.runs.taps_in_run * C;
  int32_t sum = 0;
  for (int64_t i = 0; i < p.s.g.taps * C; ++i) {
    const int8_t weight = p.weights[i * K + k];
    const int64_t at = i / run_depth * p.s.run_bytes + i % run_depth;
    panel[width * (4 + at / kStep * kStep) + column * kStep + at % kStep] =
        static_cast<uint8_t>(weight);
    sum += weight;
  }
  const int32_t bias = p.bias[k] - p.src_zero_point * sum;
  __builtin_memcpy(panel + column * 4, &bias, sizeof bias);
}

void pack(const Packing& p, uint8_t* packed) {
  const int64_t groups = p.s.g.groups, K = p.s.g.out_channels;
  const int64_t work = p.s.g.taps * p.s.g.in_channels * kPanel;
  parallel_for(groups * p.s.panels, work, [&](int64_t task) {
    const int64_t group = task / p.s.panels, first = task % p.s.panels * kPanel;
    const int64_t width = vectors_for(K - first) * kLanes;
    uint8_t* panel = packed + place_of(p.s, group, task % p.s.panels);
    __builtin_memset(panel, 0, static_cast<size_t>(panel_bytes(p.s, width)));
    for (int64_t column = 0; column < width && first + column < K; ++column)
      pack_column(p, group * K + first + column, column, width, panel);
  });
}

// One tile: rows of src from a table times one panel.
struct Tile {
  const uint8_t* const* rows;  // [runs][row_step]
  const int64_t* run_at;       // [runs], depth in bytes
  int64_t row_step, runs, steps;
  const uint8_t* panel;
  int32_t* sums;  // [rows][vectors of the tile * kLanes]
};

template <int MR, int NV>
void dot_tile(const Tile& t) {
  constexpr int64_t width = NV * kLanes;
  vint sums[MR][NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const vint bias = load(reinterpret_cast<const int32_t*>(t.panel) + v * kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) sums[m][v] = bias;
  }
  for (int64_t r = 0; r < t.runs; ++r) {
    const uint8_t* a[MR];
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) a[m] = t.rows[r * t.row_step + m];
    const uint8_t* b = t.panel + width * (4 + t.run_at[r]);
    for (int64_t i = 0; i < t.steps; ++i, b += width * kStep) {
      const auto weights = [&](int v) {
        return Weights4(load(reinterpret_cast<const int32_t*>(b) + v * kLanes));
      };
      const Weights4 row[] = {weights(0), weights(NV > 1), weights(NV > 2 ? 2 : 0),
                              weights(NV > 3 ? 3 : 0)};
#pragma GCC unroll 16
      for (int m = 0; m < MR; ++m) {
        int32_t bytes;
        __builtin_memcpy(&bytes, a[m] + i * kStep, sizeof bytes);
        const Activations4 x(bytes);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sums[m][v] = dot4(sums[m][v], x, row[v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) store(t.sums + m * width + v * kLanes, sums[m][v]);
}

template <int NV, int MR = dot_rows(NV)>
void choose_rows(int rows, const Tile& tile) {
  if constexpr (MR > 1)
    if (rows < MR) return choose_rows<NV, MR - 1>(rows, tile);
  dot_tile<MR, NV>(tile);
}

template <int NV = kMaxVectors>
void choose_vectors(int rows, int vectors, const Tile& tile) {
  if constexpr (NV > 1)
    if (vectors < NV) return choose_vectors<NV - 1>(rows, vectors, tile);
  choose_rows<NV>(rows, tile);
}

void run_tile(int rows, int vectors, const Tile& tile) {
  const int32_t* panel = reinterpret_cast<const int32_t*>(tile.panel);
  if constexpr (kAmx)
    return run_byte_tile_amx(
        rows, vectors,
        {tile.rows, tile.row_step, tile.run_at, tile.runs, tile.steps, panel, tile.sums});
  choose_vectors(rows, vectors, tile);
}

struct Product {
  Shape s;
  const uint8_t *src, *end;
  const float* scales;
  Requantizer out;
  const uint8_t *zeros, *tail, *packed;
};

// Has room behind its patch for what dot4 reads too much.
struct Table : RowTableOf<uint8_t> {
  uint8_t spare[kStep];
};

// The runs' places in bytes of depth.
void place_runs(const Shape& s, Table& table) {
  for (int64_t r = 0; r < table.runs; ++r)
    table.run_at[r] = table.run_at[r] / s.runs.taps_in_run * s.run_bytes;
}

// Where dot4 would read behind src, the copy of its end is read.
void avoid_end(const Product& p, Table& table) {
  const int64_t reach = p.s.run_bytes;
  if (reach == p.s.runs.taps_in_run * p.s.g.in_channels) return;
  for (int64_t r = 0; r < table.runs; ++r)
    for (int64_t i = 0; i < table.count; ++i) {
      const uint8_t*& row = table.rows[r * table.step + i];
      if (row >= p.src && row < p.end && row + reach > p.end) row = p.tail + reach - (p.end - row);
    }
}

// Columns [column, column + columns) of the rows of a tile.
void put_tile(const Product& p, const int32_t* sums, int rows, int64_t width, int64_t columns,
              int64_t column, const int64_t* pixel) {
  const Requantizer out = p.out;  // a copy: bytes that are written may be anything else
  for (int64_t c = 0; c < columns; c += kLanes) {
    const int64_t count = columns - c < kLanes ? columns - c : kLanes;
    const vfloat multiplier = load_lanes(p.scales + column + c, count) * out.multiplier;
    const auto put = [&](int64_t lanes, bool has_add, bool is_real) __attribute__((always_inline)) {
      for (int m = 0; m < rows; ++m)
        out.put_case(to_float(load(sums + m * width + c)) * multiplier, pixel[m] + column + c,
                     lanes, has_add, is_real);
    };
    if (count < kLanes || out.real)
      put(count, out.add != nullptr, out.real);
    else
      out.add ? put(kLanes, true, false) : put(kLanes, false, false);
  }
}

void multiply_panel(const Product& p, const Table& table, const int64_t* pixel, int64_t group,
                    int64_t panel) {
  const int64_t first = panel * kPanel, left = p.s.g.out_channels - first;
  const int vectors = vectors_for(left);
  const int64_t width = vectors * kLanes, columns = left < width ? left : width;
  const uint8_t* packed = p.packed + place_of(p.s, group, panel);
  alignas(64) int32_t sums[dot_rows(1) * kPanel];
  for_tiles(table.count, dot_rows(vectors), [&](int64_t row, int rows) {
    if (p.out.add)  // it is needed when the sums are there
      for (int m = 0; m < rows; ++m)
        __builtin_prefetch(p.out.add + pixel[row + m] + group * p.s.g.out_channels + first);
    run_tile(rows, vectors,
             {table.rows + row, table.run_at, table.step, table.runs, p.s.steps, packed, sums});
    put_tile(p, sums, rows, width, columns, group * p.s.g.out_channels + first, pixel + row);
  });
}

// How the work is cut: tasks of `blocks` blocks of positions and `panels` panels.
struct Cut {
  int64_t rows, all_blocks, blocks, panels;
};

Cut cut_work(const Shape& s) {
  constexpr int64_t kTasks = 32, kSmallTask = 1 << 22;
  Cut cut = {};
  cut.rows = s.runs.block;
  cut.all_blocks = ceil_div(s.g.positions, cut.rows);
  const int64_t work = cut.rows * s.runs.runs * s.run_bytes * padded(s.g.out_channels);
  const int64_t small = ceil_div(kSmallTask, work);
  cut.blocks = items_per_task(cut.all_blocks * s.g.groups, kTasks);
  cut.blocks = cut.blocks < small ? cut.blocks : small;
  cut.panels = items_per_task(s.panels, ceil_div(kTasks, cut.all_blocks * s.g.groups));
  return cut;
}

void multiply_block(const Product& p, const Cut& cut, int64_t block, int64_t group,
                    int64_t first_panel) {
  const int64_t first = block * cut.rows, left = p.s.g.positions - first;
  const int64_t count = left < cut.rows ? left : cut.rows;
  const int64_t K = p.s.geometry->out_channels, end = first_panel + cut.panels;
  const TileScope tiles;
  Table table;
  fill_table(p.s.g, p.s.runs, p.src + group * p.s.g.in_channels, p.zeros, first, count, table);
  place_runs(p.s, table);
  avoid_end(p, table);
  int64_t pixel[kMostBlockRows];
  for (int64_t i = 0; i < count; ++i) pixel[i] = (first + i) * K;
  for (int64_t panel = first_panel; panel < end && panel < p.s.panels; ++panel)
    multiply_panel(p, table, pixel, group, panel);
}

void multiply(const Product& p) {
  const Cut cut = cut_work(p.s);
  const int64_t groups = p.s.g.groups, panel_tasks = ceil_div(p.s.panels, cut.panels);
  const int64_t tasks = ceil_div(cut.all_blocks, cut.blocks) * groups * panel_tasks;
  const int64_t work = cut.blocks * cut.panels * cut.rows * p.s.runs.runs * p.s.steps * kMaxVectors;
  parallel_for(tasks, work, [&](int64_t task) {
    const int64_t panel = task % panel_tasks * cut.panels, group = task / panel_tasks % groups;
    const int64_t first = task / panel_tasks / groups * cut.blocks;
    for (int64_t block = first; block < first + cut.blocks && block < cut.all_blocks; ++block)
      multiply_block(p, cut, block, group, panel);
  });
}

const QuantizedConvAttrs& attributes(const KernelCall& call) {
  return attrs<QuantizedConvAttrs>(call);
}

Packing packing(const KernelCall& call, const Shape& s) {
  return {s, input<int8_t>(call, 1), input<int32_t>(call, 2), attributes(call).to.src.zero_point};
}

// Weights and bias that never change are packed once.
bool constant(const KernelCall& call) { return is_constant(call, 1) && is_constant(call, 2); }

}  // namespace

const char* quantized_conv_product_declines(const KernelCall& call) {
  return window_taps(attributes(call).geometry) > kMostRuns ? "too large a window" : nullptr;
}

int64_t quantized_conv_product_prepared(const KernelCall& call) {
  const Shape s = shape_of(attributes(call).geometry);
  return constant(call) ? s.g.groups * group_bytes(s) : 0;
}

void quantized_conv_product_prepare(const KernelCall& call) {
  const Shape s = shape_of(attributes(call).geometry);
  pack(packing(call, s), static_cast<uint8_t*>(call.prepared));
}

int64_t quantized_conv_product_workspace(const KernelCall& call) {
  const Shape s = shape_of(attributes(call).geometry);
  return spare_bytes(s) + (constant(call) ? 0 : s.g.groups * group_bytes(s));
}

void quantized_conv_product(const KernelCall& call) {
  const QuantizedConvAttrs& a = attributes(call);
  if (a.geometry.batch == 0) return;
  const Shape s = shape_of(a.geometry);
  const int64_t src_bytes = elements(call.inputs[0]);
  uint8_t *spare = static_cast<uint8_t*>(call.workspace), *tail = spare + padding_bytes(s);
  __builtin_memset(spare, a.to.src.zero_point, static_cast<size_t>(spare_bytes(s)));
  const uint8_t* src = input<uint8_t>(call, 0);
  const int64_t kept = src_bytes < s.run_bytes ? src_bytes : s.run_bytes;
  __builtin_memcpy(tail + s.run_bytes - kept, src + src_bytes - kept, static_cast<size_t>(kept));
  uint8_t* packed = static_cast<uint8_t*>(call.prepared);
  if (!packed) {
    packed = spare + spare_bytes(s);
    pack(packing(call, s), packed);
  }
  multiply({s, src, src + src_bytes, input<float>(call, 3), requantizer(call, a.to, 4), spare, tail,
            packed});
}

}  // namespace fastconv::cpu::FASTCONV_ISA
