// The weight gradient as a dense product over output positions:
// dweights[tap, channel][k] = sum over positions of src[position, tap][channel] *
// ddst[position][k].
#include "amx.h"
#include "conv.h"
#include "conv_widen.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kBlock = 128;  // positions between two visits of the sums
// Narrow, so that a block of ddst leaves room in L1.
constexpr int64_t kColumns = 2 * kLanes;
constexpr int64_t kFarRows = 32;                // of A that are worth copying
constexpr int64_t kSetChannels = 128;           // of the groups of a task
constexpr int64_t kTaskColumns = 8 * kColumns;  // that share what is read of src
// Rows of a run in one item of work. Of bfloat16 they are packed, from long pieces of memory.
template <class T>
constexpr int64_t kSlice = kInWord<T> == 1 ? 56 : 224;

// src N D H W C, ddst N O P Q K, dweights [taps Cg][K]. The sum over positions is cut into
// `chunks`, each with sums of its own unless there is one; the rows of dweights into `items`, of
// which a task takes `items_in_task` for one panel of the groups of a set.
struct Plan {
  Gather g;
  RunShape shape;
  int64_t C, K, Kg;
  int64_t set, sets;  // groups in a task, so that it reads whole lines of the cache
  int64_t rows_in_run, slice, slices, items, panels;
  int64_t chunks, chunk_positions, items_in_task, row_tasks;
  int64_t dweights_floats;
};

RunShape block_shape(const Gather& g) {
  for (int64_t block = kBlock; block >= kBlock / 4; block /= 2) {
    const RunShape shape = run_shape(g, block);
    if (shape.merged) return shape;
  }
  return run_shape(g, kBlock);
}

template <class T>
Plan plan_of(const WindowGeometry& w) {
  constexpr int64_t kTasks = 32, kLeastPositions = 256, kMostPartial = 1 << 20;
  Plan p = {};
  p.g = phase_of({&w, false}, 0);
  p.shape = block_shape(p.g);
  p.C = w.in_channels;
  p.K = w.out_channels;
  p.Kg = p.K / w.groups;
  p.rows_in_run = p.shape.taps_in_run * p.g.in_channels;
  p.slice = kSlice<T>;
  p.slices = ceil_div(p.rows_in_run, p.slice);
  p.items = p.shape.runs * p.slices;
  p.panels = ceil_div(p.Kg, kTaskColumns);
  const int64_t fit = p.g.in_channels <= kFarRows ? kSetChannels / p.g.in_channels : 1;
  p.set = fit < w.groups ? fit : w.groups;
  p.sets = ceil_div(w.groups, p.set);
  p.dweights_floats = p.g.taps * p.g.in_channels * p.K;

  const int64_t useful = ceil_div(p.g.positions, kLeastPositions);
  int64_t chunks = kMostPartial / p.dweights_floats;
  const int64_t wanted_chunks = ceil_div(kTasks, p.panels * p.sets);
  chunks = chunks < wanted_chunks ? chunks : wanted_chunks;
  chunks = chunks < useful ? chunks : useful;
  p.chunks = chunks > 1 ? chunks : 1;
  p.chunk_positions = ceil_div(p.g.positions, p.chunks);
  const int64_t wanted = ceil_div(kTasks, p.chunks * p.panels * p.sets);
  p.items_in_task = ceil_div(p.items, wanted);
  p.row_tasks = ceil_div(p.items, p.items_in_task);
  return p;
}

// How many of `columns` make the panel that begins with the first.
int64_t panel_columns(int64_t columns) { return columns < kColumns ? columns : kColumns; }

// dst[i] = the columns of position i, with zeros behind them to whole vectors, panel after panel.
void pack_columns(const float* src, int64_t step, int64_t count, int64_t valid, float* dst) {
  for (int64_t i = 0; i < count; ++i, src += step)
    for (int64_t column = 0; column < valid; column += kColumns) {
      const int64_t columns = panel_columns(valid - column);
      float* row = dst + column * kBlock + i * padded(columns);
      for_vectors(0, columns, [&](int64_t j, int64_t lanes) {
        store(row + j, load_lanes(src + column + j, lanes));
      });
    }
}

// Of bfloat16, pairs of neighbouring positions.
void pack_columns(const BFloat16* src, int64_t step, int64_t count, int64_t valid, float* dst) {
  for (int64_t i = 0; i < count; i += 2)
    for (int64_t column = 0; column < valid; column += kColumns) {
      const int64_t columns = panel_columns(valid - column), width = padded(columns);
      const auto row = [=](int64_t j) { return src + (i + j) * step + column; };
      pack_pairs(count - i < 2 ? 1 : 2, columns, width, row,
                 dst + column * (kBlock / 2) + i / 2 * width);
    }
}

// What is read after some products: floats of rows of A, and the next block of B.
struct Next {
  const float* const* rows = nullptr;
  int64_t count = 0, first = 0, width = 0;
  Lines b;

  // Asks for the next `part` rows.
  void fetch_rows(int64_t part) {
    for (; part > 0 && count > 0; --part, --count, ++rows)
      for (int64_t j = 0; j < width; j += kLine) __builtin_prefetch(*rows + first + j);
  }
};
void set_rows(const RowTable& table, int64_t run, int64_t first, int64_t width, Next& next) {
  next.rows = table.rows + run * table.step;
  next.count = table.count;
  next.first = first;
  next.width = width;
}
void set_rows(const RowTableOf<BFloat16>&, int64_t, int64_t, int64_t, Next&) {}

// A slice of a run, rows of A, times the columns of a block.
struct Slice {
  int64_t run, row, rows;
  const float* b;
  int64_t columns;
  float* dst;
  int64_t dst_step;
  bool far;  // the rows are a few of the channels of a pixel
};

void add_rows(const float* const* rows, int64_t row, int64_t depth, const Slice& s, Next& next) {
  const int64_t tiles = ceil_div(s.columns, kColumns) * ceil_div(s.rows, tile_rows(2));
  const int64_t part = ceil_div(next.count, tiles);
  for (int64_t column = 0; column < s.columns; column += kColumns) {
    const int64_t columns = panel_columns(s.columns - column);
    const int vectors = vectors_for(columns);
    for_tiles(s.rows, tile_rows(vectors), [&](int64_t first, int tile) {
      next.fetch_rows(part);
      run_column_tile(tile, vectors,
                      {rows, row + first, depth, s.b + column * kBlock, vectors * kLanes,
                       s.dst + first * s.dst_step + column, s.dst_step, columns, true, Finish{},
                       next.b.take()});
    });
  }
}

// Few channels of pixels that are far apart, which share few lines of the first cache, are put side
// by side, while those of the next group are asked for.
void add_slice(const RowTable& table, const Slice& s, Next& next) {
  const float* const* from = table.rows + s.run * table.step;
  if (!s.far || s.rows > kFarRows) return add_rows(from, s.row, table.count, s, next);
  alignas(64) float packed[kBlock * kFarRows];
  const float* rows[kBlock];
  for (int64_t i = 0; i < table.count; ++i) {
    float* dst = packed + i * padded(s.rows);
    rows[i] = dst;
    for_vectors(0, s.rows, [&](int64_t j, int64_t lanes) {
      store(dst + j, load_lanes(from[i] + s.row + j, lanes));
    });
    __builtin_prefetch(from[i] + s.row + s.rows);
  }
  add_rows(rows, 0, table.count, s, next);
}

// Of bfloat16 the rows are packed to pairs too.
void add_slice(const RowTableOf<BFloat16>& table, const Slice& s, Next&) {
  alignas(64) float packed[kBlock / 2 * kSlice<BFloat16>];
  const float* rows[kBlock / 2];
  const int64_t width = padded(s.rows), depth = ceil_div(table.count, 2);
  for (int64_t i = 0; i < depth; ++i) rows[i] = packed + i * width;
  const BFloat16* const* from = table.rows + s.run * table.step;
  pack_pairs(table.count, s.rows, width, [&](int64_t i) { return from[i] + s.row; }, packed);
  for (int64_t column = 0; column < s.columns; column += kColumns) {
    const int64_t columns = panel_columns(s.columns - column);
    const int vectors = vectors_for(columns);
    for_tiles(s.rows, tile_rows<BFloat16>(vectors), [&](int64_t first, int tile) {
      run_pair_column_tile(
          tile, vectors,
          {rows, first, depth, s.b + column * (kBlock / 2), vectors * kLanes,
           s.dst + first * s.dst_step + column, s.dst_step, columns, true, Finish{}});
    });
  }
}

// Adds the products of one block of positions to rows [first_item, last_item) of a panel of the
// group whose channels begin at `channel`. While a slice is multiplied the next one is asked for.
template <class T>
void add_block(const Plan& p, const RowTableOf<T>& table, int64_t channel, const float* b,
               int64_t columns, int64_t first_item, int64_t last_item, float* dst, Next& next) {
  Slice now = {};
  for (int64_t r = 0; r < table.runs; ++r) {
    const int64_t run = table.run_at[r] / p.shape.taps_in_run;
    for (int64_t slice = 0; slice < p.slices; ++slice) {
      const int64_t item = run * p.slices + slice, row = slice * p.slice;
      if (item < first_item || item >= last_item) continue;
      const int64_t left = p.rows_in_run - row, rows = left < p.slice ? left : p.slice;
      float* at = dst + (run * p.rows_in_run + row) * p.K;
      if (p.g.groups == 1) set_rows(table, r, channel + row, rows, next);
      if (now.rows == 0)
        next.fetch_rows(next.count);
      else
        add_slice(table, now, next);
      now = {r, channel + row, rows, b, columns, at, p.K, p.g.groups > 1};
    }
  }
  if (now.rows > 0) add_slice(table, now, next);
}

void clear(const Plan& p, int64_t first_item, int64_t last_item, int64_t columns, float* dst) {
  for (int64_t item = first_item; item < last_item; ++item) {
    const int64_t row = item % p.slices * p.slice, left = p.rows_in_run - row;
    float* at = dst + (item / p.slices * p.rows_in_run + row) * p.K;
    for (int64_t i = 0; i < (left < p.slice ? left : p.slice); ++i, at += p.K)
      for (int64_t k = 0; k < columns; ++k) at[k] = 0;
  }
}

// One task: some rows of one panel of the groups of a set, over the positions of one chunk.
template <class T>
void sum_chunk(const Plan& p, const T* src, const T* ddst, const T* zeros, int64_t set,
               int64_t panel, int64_t row_task, int64_t chunk, float* sums) {
  const int64_t column = panel * kTaskColumns, left = p.Kg - column;
  const int64_t columns = left < kTaskColumns ? left : kTaskColumns;
  const int64_t first_item = row_task * p.items_in_task, end = first_item + p.items_in_task;
  const int64_t last_item = end < p.items ? end : p.items;
  const int64_t first = chunk * p.chunk_positions, stop = first + p.chunk_positions;
  const int64_t last = stop < p.g.positions ? stop : p.g.positions;
  const bool one_panel = p.K <= kColumns && p.K == padded(p.K) && p.g.groups == 1;
  const bool in_place = kInWord<T> == 1 && one_panel;
  const int64_t group = set * p.set, rest = p.g.groups - group,
                groups = rest < p.set ? rest : p.set;
  float* dst = sums + group * p.Kg + column;
  for (int64_t i = 0; i < groups; ++i) clear(p, first_item, last_item, columns, dst + i * p.Kg);

  const TileScope tiles;
  RowTableOf<T> table;
  alignas(64) float packed[kBlock / kInWord<T> * kTaskColumns];
  for (int64_t at = first; at < last; at += p.shape.block) {
    const int64_t count = last - at < p.shape.block ? last - at : p.shape.block;
    fill_table(p.g, p.shape, src + group * p.g.in_channels, zeros, at, count, table);
    for (int64_t i = 0; i < groups; ++i) {
      const T* b = ddst + at * p.K + (group + i) * p.Kg + column;
      if (!in_place) pack_columns(b, p.K, count, columns, packed);
      Next next;
      if (kInWord<T> == 1 && p.g.groups == 1 && at + count < last)
        next.b = {reinterpret_cast<const float*>(b) + count * p.K, p.K, ceil_div(columns, kLine)};
      const float* panel_of_b = in_place ? reinterpret_cast<const float*>(b) : packed;
      add_block(p, table, i * p.g.in_channels, panel_of_b, columns, first_item, last_item,
                dst + i * p.Kg, next);
    }
  }
}

// dst[i] = the sum of the chunks' sums, in their order.
void add_chunks(const float* sums, int64_t chunks, int64_t count, float* dst) {
  parallel_blocks(count, 1024, chunks, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) dst[i] = sums[i];
    for (int64_t chunk = 1; chunk < chunks; ++chunk)
      for (int64_t i = begin; i < end; ++i) dst[i] += sums[chunk * count + i];
  });
}

template <class T>
void run_weights(const WindowGeometry& w, const T* src, const T* ddst, float* dweights,
                 float* workspace) {
  const Plan p = plan_of<T>(w);
  T* zeros = reinterpret_cast<T*>(workspace);
  float* sums = p.chunks > 1 ? workspace + zero_floats({&w, false}) : dweights;
  __builtin_memset(zeros, 0, static_cast<size_t>(zero_floats({&w, false})) * sizeof(float));

  const int64_t tasks = p.chunks * p.sets * p.panels * p.row_tasks;
  const int64_t work = p.dweights_floats * p.g.positions / tasks / kLanes;
  parallel_for(tasks, work, [&](int64_t task) {
    const int64_t row_task = task % p.row_tasks, rest = task / p.row_tasks;
    const int64_t panel = rest % p.panels, set = rest / p.panels % p.sets;
    const int64_t chunk = rest / p.panels / p.sets;
    sum_chunk(p, src, ddst, zeros, set, panel, row_task, chunk, sums + chunk * p.dweights_floats);
  });
  if (p.chunks > 1) add_chunks(sums, p.chunks, p.dweights_floats, dweights);
}

}  // namespace

void conv_backward_weights_implicit(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  float* dweights = output<float>(call, 0);
  float* workspace = static_cast<float*>(call.workspace);
  if (is_bfloat16(call))
    return run_weights(g, input<BFloat16>(call, 0), input<BFloat16>(call, 1), dweights, workspace);
  const float *src = input<float>(call, 0), *ddst = input<float>(call, 1);
  const int64_t by = best_widening(g);
  if (by == 1) return run_weights(g, src, ddst, dweights, workspace);
  const WindowGeometry wide = widened(g, by);
  float* rest = workspace + padded(plan_of<float>(wide).dweights_floats);
  run_weights(wide, src, ddst, workspace, rest);
  gather_weights(g, by, workspace, dweights);
}

int64_t conv_backward_weights_implicit_workspace(const KernelCall& call) {
  const int64_t by = is_bfloat16(call) ? 1 : best_widening(geometry(call));
  const WindowGeometry w = widened(geometry(call), by);
  const Plan p = is_bfloat16(call) ? plan_of<BFloat16>(w) : plan_of<float>(w);
  const int64_t partial = p.chunks > 1 ? p.chunks * p.dweights_floats : 0;
  const int64_t spread = by > 1 ? padded(p.dweights_floats) : 0;
  return (zero_floats({&w, false}) + partial + spread) * static_cast<int64_t>(sizeof(float));
}

}  // namespace fastconv::cpu::FASTCONV_ISA
