// C[batch,m,n] = A[batch,m,k] B[batch,k,n].
//
// A is read where it lies. B is packed to panels [k][columns of the panel], unless there are too
// few rows to pay for it; then it is read where it lies, and if it is stored [n,k], or comes from
// DRAM, the operands change places.
#include "gemm.h"

#include "microkernel.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kFewRows = 4 * kLanes;  // few enough to leave B where it lies
constexpr int64_t kStreamRows = 16;  // even if it could be packed once for all: B is all traffic
constexpr int64_t kColumnRows = 4 * kMostBlockRows;
// Unless it would outgrow the first cache: then it is as near where it lies.
constexpr bool kPacksBlocks = kColumnDepth * kPanel <= 1 << 13;
constexpr int64_t kCacheFloats = 1 << 20;  // of B
constexpr int64_t kTurnedDepth = 128;      // of a block of B times which few rows are turned:
constexpr int64_t kMostTurned = 32;
constexpr int kWideVectors = 8;  // of B beside one row of A

enum class Path {
  packed,    // B packed in workspace
  in_place,  // B where it lies, but for the end of its last row
  swapped,   // B's rows times A's columns
  turned,    // B's columns times A's rows
  columns,   // A stored [k,m]
  vector,    // A is one row
};

struct Plan {
  Path path;
  int64_t rows, row_blocks;  // a task's rows of A (of B when swapped)
  int64_t panels, panels_in_task, panel_tasks;
  int64_t chunks, chunk_depth, depth;
  bool streamed;                // B comes from DRAM, once
  int64_t a_step, b_step;       // floats from one matrix of the batch to the next
  int64_t packed_step, packed;  // floats of one packed matrix, of all
  int64_t partial;              // floats of the chunks' sums
};

bool already_packed(const GemmAttrs& a) {
  return !a.transpose_b && a.n <= kPanel && a.n % kLanes == 0;
}

// Whether B comes from DRAM and A's few rows, turned, fill most lanes.
bool turns(const GemmAttrs& a) {
  const bool streamed = a.batch == 1 && a.n > kPanel && a.k * a.n > kCacheFloats;
  return streamed && a.m <= kMostTurned && padded(a.m) - a.m <= kLanes / 2;
}

Path path_of(const GemmAttrs& a, bool prepared) {
  if (prepared) return Path::packed;
  if (a.transpose_a) return Path::columns;
  if (a.m == 1 && !a.transpose_b && a.k * a.n <= kCacheFloats) return Path::vector;
  if (a.transpose_b) return a.m <= kFewRows ? Path::swapped : Path::packed;
  const bool few_rows = a.m <= kFewRows && a.n >= kLanes;
  if (few_rows && turns(a)) return Path::turned;
  return few_rows || already_packed(a) ? Path::in_place : Path::packed;
}

// The columns of the last panel, if its vectors reach over the end of a row of B: into the next
// row, which does no harm, but behind the last row is nothing. That one is packed.
int64_t tail_columns(const GemmAttrs& a) { return a.n % kLanes ? (a.n - 1) % kPanel + 1 : 0; }

void plan_packing(const GemmAttrs& a, Plan& p) {
  switch (p.path) {
    case Path::packed: p.packed_step = a.k * padded(a.n); break;
    case Path::in_place: p.packed_step = padded(tail_columns(a)); break;
    case Path::swapped: p.packed_step = a.k * padded(a.m); break;
    case Path::turned:
    case Path::columns:
    case Path::vector: p.packed_step = 0; break;
  }
  const bool shared = p.path == Path::swapped ? a.broadcast_a : a.broadcast_b;
  p.packed = p.packed_step * (shared ? 1 : a.batch);
}

// Each chunk is a task: an even number of them, of some blocks of B.
void plan_turned_chunks(const GemmAttrs& a, Plan& p) {
  constexpr int64_t kBlocks = 4, kUnit = 4, kMostPartial = 1 << 20;
  const int64_t sums = a.n * padded(a.m);
  const int64_t useful = ceil_div(a.k, 2 * kBlocks * kTurnedDepth), fit = kMostPartial / (2 * sums);
  const int64_t pairs = useful < fit ? useful : fit > 1 ? fit : 1;
  p.chunk_depth = ceil_div(a.k, 2 * pairs * kUnit) * kUnit;
  p.chunks = ceil_div(a.k, p.chunk_depth);
  p.partial = p.chunks * sums;
  p.panels_in_task = p.panels;
  p.panel_tasks = 1;
}

// k is cut where the result has too few blocks to keep the threads busy.
void plan_chunks(const GemmAttrs& a, Plan& p) {
  constexpr int64_t kTasks = 32, kLeastDepth = 512, kMostPartial = 1 << 20;
  // Whole rows of a streamed B, one after the other, come faster from DRAM than parts of them.
  const int64_t panels = p.streamed ? 1 : p.panels;
  const int64_t blocks = a.batch * p.row_blocks * panels;
  p.chunks = 1;
  if (p.path != Path::swapped && blocks < kTasks / 4) {
    const int64_t useful = a.k / kLeastDepth, fit = kMostPartial / (a.batch * a.m * a.n);
    int64_t chunks = kTasks / blocks;
    chunks = chunks < useful ? chunks : useful;
    chunks = chunks < fit ? chunks : fit;
    p.chunks = chunks > 1 ? chunks : 1;
  }
  p.chunk_depth = ceil_div(a.k, p.chunks);
  p.partial = p.chunks > 1 ? p.chunks * a.batch * a.m * a.n : 0;
  const int64_t wanted = ceil_div(kTasks, a.batch * p.row_blocks * p.chunks + 1);
  p.panels_in_task = items_per_task(p.panels, wanted);
  constexpr int64_t kWidePanels = kWideVectors / kMaxVectors;
  if (p.path == Path::vector && p.panels_in_task < kWidePanels) p.panels_in_task = kWidePanels;
  p.panel_tasks = ceil_div(p.panels, p.panels_in_task);
}

// Of a block of B that comes from DRAM. All rows' sums are visited for each block, so that many
// rows want deep ones, as far as L2 holds them.
int64_t stream_depth(const GemmAttrs& a) {
  constexpr int64_t kLeast = 16, kBlockFloats = 1 << 16;
  const int64_t fit = kBlockFloats / a.n, wanted = 4 * a.m < fit ? 4 * a.m : fit;
  return wanted > kLeast ? wanted : kLeast;
}

Plan plan_of(const GemmAttrs& a, bool prepared) {
  Plan p = {};
  p.path = path_of(a, prepared);
  const bool swapped = p.path == Path::swapped, columns = p.path == Path::columns;
  p.rows = columns ? kColumnRows : block_rows(vectors_for(swapped ? a.m : a.n));
  const int64_t rows = swapped ? a.n : a.m;
  const int64_t tile = tile_rows(vectors_for(swapped ? a.m : a.n));
  p.row_blocks = ceil_div(rows, p.rows);
  p.rows = ceil_div(ceil_div(rows, p.row_blocks), tile) * tile;  // of about one size
  p.panels = swapped ? 1 : ceil_div(a.n, kPanel);
  p.streamed = p.path == Path::in_place && p.panels > 1 && a.k * a.n > kCacheFloats;
  p.depth = columns ? kColumnDepth : p.streamed ? stream_depth(a) : kPackedDepth;
  p.a_step = a.broadcast_a ? 0 : a.m * a.k;
  p.b_step = a.broadcast_b ? 0 : a.k * a.n;
  plan_packing(a, p);
  p.path == Path::turned ? plan_turned_chunks(a, p) : plan_chunks(a, p);
  return p;
}

// dst[i][j] = B[first + i][column + j], zeros behind the valid columns.
void pack_panel(const GemmAttrs& a, const float* b, int64_t first, int64_t depth, int64_t column,
                float* dst) {
  const int64_t left = a.n - column, width = vectors_for(left) * kLanes;
  const int64_t valid = left < width ? left : width;
  if (a.transpose_b) {
    if (valid < width)
      for (int64_t i = 0; i < depth * width; ++i) dst[i] = 0;
    transpose_copy(b + column * a.k + first, a.k, dst, width, depth, valid);
    return;
  }
  for (int64_t i = 0; i < depth; ++i)
    for (int64_t j = 0; j < width; j += kLanes) {
      const float* src = b + (first + i) * a.n + column + j;
      store(dst + i * width + j,
            valid - j >= kLanes ? load(src) : load_part(src, valid > j ? valid - j : 0));
    }
}

void pack(const GemmCall& c, const Plan& p, float* packed) {
  const GemmAttrs& a = c.attrs;
  if (p.packed == 0) return;
  const int64_t matrices = p.packed / p.packed_step, blocks = ceil_div(a.k, kPackedDepth);
  if (p.path == Path::in_place) {
    for (int64_t matrix = 0; matrix < matrices && a.k > 0; ++matrix)
      pack_panel(a, c.b + matrix * p.b_step, a.k - 1, 1, (p.panels - 1) * kPanel,
                 packed + matrix * p.packed_step);
    return;
  }
  parallel_for(matrices * p.panels * blocks, kPackedDepth * kPanel, [&](int64_t task) {
    const int64_t matrix = task / blocks / p.panels, first = task % blocks * kPackedDepth;
    const int64_t column = task / blocks % p.panels * kPanel;
    const int64_t depth = a.k - first < kPackedDepth ? a.k - first : kPackedDepth;
    float* dst = packed + matrix * p.packed_step;
    if (p.path == Path::swapped) {
      const int64_t width = padded(a.m);
      for (int64_t i = first * width; i < (first + depth) * width; ++i) dst[i] = 0;
      transpose_copy(c.a + matrix * p.a_step + first, a.k, dst + first * width, width, depth, a.m);
      return;
    }
    const int64_t width = vectors_for(a.n - column) * kLanes;
    dst += column * a.k + first * width;
    pack_panel(a, c.b + matrix * p.b_step, first, depth, column, dst);
  });
}

// One task's part of the result: rows [row, row + rows) of panels [panel, last_panel), summed over
// depth [first, last).
struct Part {
  int64_t row, rows, panel, last_panel, first, last;
};

// Adds rows of A times a slab of B to a panel of the result.
struct Slab {
  const float* const* rows;
  const float* b;
  int64_t step, depth;
  bool accumulate;
  Finish finish;
  bool reads_on;                // the rows are whole, and those behind them come next
  const float* next = nullptr;  // the slab of B that comes next, if tiles are enough to ask for it
};

// As many as a row of a panel has lines of the cache.
bool enough_tiles(int64_t rows) { return rows > (kMaxVectors - 1) * tile_rows(kMaxVectors); }

void multiply_slab(const Part& part, const Slab& s, float* const* dst, int64_t column,
                   int64_t columns) {
  const int64_t b_at = 0;
  const int vectors = vectors_for(columns);
  int64_t tile = 0;
  for_tiles(part.rows, tile_rows(vectors), [&](int64_t row, int count) {
    Ahead ahead;
    if (s.reads_on) ahead = {s.rows[row] + count * s.depth, count};
    if (s.next && tile < vectors) ahead = {s.next + tile++ * kLanes, s.step};
    run_row_tile(count, vectors,
                 {s.rows + row, 0, &b_at, 1, s.depth, s.b, s.step, dst + row, column, columns,
                  s.accumulate, s.finish, ahead});
  });
}

// Reads a block of B in memory order, a line of the cache each, so that the hardware fetches ahead.
void touch_rows(const float* b, int64_t step, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    const volatile float* row = b + i * step;
    for (int64_t j = 0; j < columns; j += kLine) static_cast<void>(row[j]);
  }
}

void multiply_rows(const GemmAttrs& attrs, const Plan& p, const Part& part, const float* a,
                   const float* b, const float* packed, float* c, const Finish& finish) {
  const float *rows[kMostBlockRows], *ends[kMostBlockRows];  // from here on, and the last column
  float* dst[kMostBlockRows];
  for (int64_t i = 0; i < part.rows; ++i) {
    ends[i] = a + (part.row + i + 1) * attrs.k - 1;
    dst[i] = c + (part.row + i) * attrs.n;
  }
  for (int64_t first = part.first; first == part.first || first < part.last; first += p.depth) {
    const int64_t left = part.last - first, depth = left < p.depth ? left : p.depth;
    for (int64_t i = 0; i < part.rows; ++i) rows[i] = a + (part.row + i) * attrs.k + first;
    const bool asks = p.streamed && enough_tiles(part.rows);
    if (p.streamed && (!asks || first == part.first)) {
      const int64_t column = part.panel * kPanel, end = part.last_panel * kPanel;
      touch_rows(b + first * attrs.n + column, attrs.n, depth,
                 (end < attrs.n ? end : attrs.n) - column);
    }
    for (int64_t panel = part.panel; panel < part.last_panel; ++panel) {
      const int64_t column = panel * kPanel, columns = attrs.n - column;
      const int64_t width = vectors_for(columns) * kLanes;
      const bool last = first + depth >= part.last, more = first > part.first;
      const bool reads_on = panel == part.panel && depth == attrs.k;
      const Finish now = last ? finish.at_column(column) : Finish{};
      const float* at = b + first * attrs.n + column;
      const float* next = asks && !last ? at + depth * attrs.n : nullptr;
      if (p.path == Path::packed) {
        const float* panel_at = packed + column * attrs.k + first * width;
        multiply_slab(part, {rows, panel_at, width, depth, more, now, reads_on}, dst, column,
                      columns);
      } else if (p.packed_step > 0 && panel == p.panels - 1 && depth > 0 &&
                 first + depth == attrs.k) {
        multiply_slab(part, {rows, at, attrs.n, depth - 1, more, Finish{}, false}, dst, column,
                      columns);
        multiply_slab(part, {ends, packed, width, 1, true, now, false}, dst, column, columns);
      } else {
        multiply_slab(part, {rows, at, attrs.n, depth, more, now, reads_on, next}, dst, column,
                      columns);
      }
    }
  }
}

// Columns [column, column + NV * kLanes) of the one row, of which `lanes` of the last vector count.
template <int NV>
void multiply_wide(const GemmAttrs& attrs, const Part& part, const float* a, const float* b,
                   int64_t column, int64_t lanes, float* c, const Finish& finish) {
  vfloat sums[NV] = {};
  for (int64_t i = part.first; i < part.last; ++i) {
    const float* row = b + i * attrs.n + column;
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v)
      sums[v] += load_lanes(row + v * kLanes, v < NV - 1 ? kLanes : lanes) * splat(a[i]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    const int64_t at = column + v * kLanes, count = v < NV - 1 ? kLanes : lanes;
    store_lanes(c + at, finished(finish, Shift(finish, at, count)(sums[v]), c + at, count), count);
  }
}

template <int NV = kWideVectors>
void choose_wide(const GemmAttrs& attrs, const Part& part, const float* a, const float* b,
                 int64_t column, int64_t columns, float* c, const Finish& finish) {
  if constexpr (NV > 1)
    if (columns <= (NV - 1) * kLanes)
      return choose_wide<NV - 1>(attrs, part, a, b, column, columns, c, finish);
  multiply_wide<NV>(attrs, part, a, b, column, columns - (NV - 1) * kLanes, c, finish);
}

// A is one row: its sums cover so many columns that B is read in its order.
void multiply_vector(const GemmAttrs& attrs, const Part& part, const float* a, const float* b,
                     float* c, const Finish& finish) {
  constexpr int64_t kWide = kWideVectors * kLanes;
  const int64_t end = part.last_panel * kPanel, last = end < attrs.n ? end : attrs.n;
  for (int64_t column = part.panel * kPanel; column < last; column += kWide) {
    const int64_t left = last - column;
    choose_wide(attrs, part, a, b, column, left < kWide ? left : kWide, c, finish);
  }
}

Lines panel_lines(const GemmAttrs& attrs, const float* b, int64_t first, int64_t panel) {
  const int64_t column = panel * kPanel, lines = vectors_for(attrs.n - column) * kLanes / kLine;
  return {b + first * attrs.n + column, attrs.n, lines > 0 ? lines : 1};
}

// A is stored [k,m]; the task packs its own blocks of B. While a panel is multiplied the next block
// of A and the next panel of B are asked for, as far as there are tiles to do so.
void multiply_columns(const GemmAttrs& attrs, const Plan& p, const Part& part, const float* a,
                      const float* b, float* c, const Finish& finish) {
  const float* rows[kColumnDepth];
  alignas(64) float packed[kColumnDepth * kPanel];
  for (int64_t first = part.first; first == part.first || first < part.last; first += p.depth) {
    const int64_t left = part.last - first, depth = left < p.depth ? left : p.depth;
    for (int64_t i = 0; i < depth; ++i) rows[i] = a + (first + i) * attrs.m;
    for (int64_t panel = part.panel; panel < part.last_panel; ++panel) {
      const int64_t column = panel * kPanel, columns = attrs.n - column;
      const int vectors = vectors_for(columns);
      const int64_t width = vectors * kLanes;
      const bool lies = attrs.n == width || !kPacksBlocks;
      const bool in_place = !attrs.transpose_b && columns >= width && lies;
      if (!in_place) pack_panel(attrs, b, first, depth, column, packed);
      const bool last = first + depth >= part.last, reads_on = !last && panel == part.panel;
      const Finish now = last ? finish.at_column(column) : Finish{};
      const bool ends = panel + 1 == part.last_panel;
      Lines next_a, next_b;
      if (reads_on) next_a = {rows[0] + depth * attrs.m + part.row, attrs.m, part.rows / kLine + 1};
      if (!attrs.transpose_b && !(last && ends))
        next_b = ends ? panel_lines(attrs, b, first + depth, part.panel)
                      : panel_lines(attrs, b, first, panel + 1);
      if (next_a.count + next_b.count > ceil_div(part.rows, tile_rows(vectors))) next_b = {};
      for_tiles(part.rows, tile_rows(vectors), [&](int64_t row, int count) {
        float* dst = c + (part.row + row) * attrs.n + column;
        const Ahead ahead = next_a.count > 0 ? next_a.take() : next_b.take();
        run_column_tile(
            count, vectors,
            {rows, part.row + row, depth, in_place ? b + first * attrs.n + column : packed,
             in_place ? attrs.n : width, dst, attrs.n, columns, first > part.first, now, ahead});
      });
    }
  }
}

// B comes from DRAM: its columns, in its order, times a few rows of A. Sums are [n][padded(m)].
void multiply_turned(const GemmAttrs& attrs, const Part& part, const float* a, const float* b,
                     float* sums) {
  const int64_t n = attrs.n, width = padded(attrs.m);
  const int vectors = vectors_for(width);
  const float* rows[kTurnedDepth];
  alignas(64) float turned[kTurnedDepth * kMostTurned] = {};
  for (int64_t first = part.first, depth; first < part.last; first += depth) {
    const int64_t left = part.last - first;
    depth = ceil_div(left, ceil_div(left, kTurnedDepth));
    transpose_copy(a + first, attrs.k, turned, width, depth, attrs.m);
    for (int64_t i = 0; i < depth; ++i) rows[i] = b + (first + i) * n;
    const float* next = rows[0] + depth * n;
    for_tiles(n, tile_rows(vectors), [&](int64_t column, int count) {
      for (int64_t at = 0; at < width; at += kPanel) {
        Ahead ahead;
        if (at == 0) ahead = {next + column * depth, count};
        float* dst = sums + column * width + at;
        run_column_tile(count, vectors_for(width - at),
                        {rows, column, depth, turned + at, width, dst, width, width - at,
                         first > part.first, Finish{}, ahead});
      }
    });
  }
}

// B is stored [n,k] and m is small: rows of B times the columns of A, turned when complete.
void multiply_swapped(const GemmAttrs& attrs, const Plan& p, const Part& part, const float* b,
                      const float* packed, float* c, const Finish& finish) {
  const int64_t width = padded(attrs.m), b_at = 0;
  const float* rows[kMostBlockRows];
  float* dst[kMostBlockRows];
  alignas(64) float sums[kMostBlockRows * kFewRows];
  alignas(64) float turned[kFewRows * kMostBlockRows];
  for (int64_t i = 0; i < part.rows; ++i) dst[i] = sums + i * width;
  for (int64_t first = 0; first == 0 || first < attrs.k; first += p.depth) {
    const int64_t left = attrs.k - first, depth = left < p.depth ? left : p.depth;
    for (int64_t i = 0; i < part.rows; ++i) rows[i] = b + (part.row + i) * attrs.k + first;
    for (int64_t column = 0; column < width; column += kPanel) {
      const int64_t columns = width - column;
      const bool reads_on = column == 0 && depth == attrs.k;
      for_tiles(part.rows, tile_rows(vectors_for(columns)), [&](int64_t row, int count) {
        Ahead ahead;
        if (reads_on) ahead = {rows[row] + count * depth, count};
        run_row_tile(count, vectors_for(columns),
                     {rows + row, 0, &b_at, 1, depth, packed + first * width + column, width,
                      dst + row, column, columns, first > 0, Finish{}, ahead});
      });
    }
  }
  transpose_copy(sums, width, turned, kMostBlockRows, attrs.m, part.rows);
  const Finish now = finish.at_column(part.row);
  for (int64_t i = 0; i < attrs.m; ++i)
    finish_row(now, turned + i * kMostBlockRows, part.rows, c + i * attrs.n + part.row);
}

// Adds the chunks' sums in their order.
void add_chunks(const GemmCall& c, const Plan& p, const float* sums) {
  const int64_t n = c.attrs.n, rows = c.attrs.batch * c.attrs.m;
  parallel_for(rows, n * p.chunks, [&](int64_t row) {
    float* dst = c.c + row * n;
    for (int64_t j = 0; j < n; ++j) dst[j] = sums[row * n + j];
    for (int64_t chunk = 1; chunk < p.chunks; ++chunk)
      for (int64_t j = 0; j < n; ++j) dst[j] += sums[(chunk * rows + row) * n + j];
    finish_row(c.finish, dst, n, dst);
  });
}

// The same for sums that are turned.
void add_turned_chunks(const GemmCall& c, const Plan& p, const float* sums) {
  const int64_t m = c.attrs.m, n = c.attrs.n, width = padded(m);
  parallel_blocks(n, kPanel, width * p.chunks, [&](int64_t begin, int64_t end) {
    alignas(64) float sum[kPanel * kMostTurned], turned[kMostTurned * kPanel];
    for (int64_t i = 0; i < (end - begin) * width; i += kLanes) {
      const float* src = sums + begin * width + i;
      vfloat v = load(src);
      for (int64_t chunk = 1; chunk < p.chunks; ++chunk) v += load(src + chunk * n * width);
      store(sum + i, v);
    }
    transpose_copy(sum, width, turned, kPanel, m, end - begin);
    const Finish now = c.finish.at_column(begin);
    for (int64_t i = 0; i < m; ++i)
      finish_row(now, turned + i * kPanel, end - begin, c.c + i * n + begin);
  });
}

const char* declines(const KernelCall& call) { return needs_float32(call); }

int64_t prepared(const KernelCall& call) {
  return is_constant(call, 1) ? gemm_prepared(attrs<GemmAttrs>(call)) : 0;
}

int64_t workspace(const KernelCall& call) {
  return gemm_workspace(attrs<GemmAttrs>(call), prepared(call) > 0);
}

GemmCall gemm_call(const KernelCall& call) {
  const GemmAttrs& a = attrs<GemmAttrs>(call);
  return {a,
          input<float>(call, 0),
          input<float>(call, 1),
          finish_of(call, a.epilogue),
          output<float>(call, 0),
          static_cast<float*>(call.workspace),
          static_cast<float*>(call.prepared)};
}

void prepare(const KernelCall& call) { gemm_prepare(gemm_call(call)); }

void run(const KernelCall& call) { gemm(gemm_call(call)); }

// Plain loops, a vector of columns at a time.
void run_direct(const KernelCall& call) {
  const GemmCall c = gemm_call(call);
  const GemmAttrs& a = c.attrs;
  const int64_t a_row = a.transpose_a ? 1 : a.k, a_column = a.transpose_a ? a.m : 1;
  const int64_t b_row = a.transpose_b ? 1 : a.n, b_column = a.transpose_b ? a.k : 1;
  parallel_for(a.batch * a.m, a.n * a.k, [&](int64_t row) {
    const int64_t matrix = row / a.m;
    const float* x = c.a + (a.broadcast_a ? 0 : matrix * a.m * a.k) + row % a.m * a_row;
    const float* b = c.b + (a.broadcast_b ? 0 : matrix * a.k * a.n);
    float* dst = c.c + row * a.n;
    for (int64_t j = 0; j < a.n; ++j) dst[j] = 0;
    for (int64_t i = 0; i < a.k; ++i)
      for (int64_t j = 0; j < a.n; ++j) dst[j] += x[i * a_column] * b[i * b_row + j * b_column];
    finish_row(c.finish, dst, a.n, dst);
  });
}

constexpr Kernel kGemm[] = {
    {"packed_tiles", declines, workspace, run, prepared, prepare},
    {"bfloat16", gemm_bfloat16_declines, gemm_bfloat16_workspace, gemm_bfloat16,
     gemm_bfloat16_prepared, gemm_bfloat16_prepare},
    {"direct_loop", declines, nullptr, run_direct},
};

}  // namespace

void gemm(const GemmCall& call) {
  const GemmAttrs& a = call.attrs;
  if (a.batch * a.m * a.n == 0) return;
  if (gemm_is_thin(a)) return gemm_thin(call);
  const Plan p = plan_of(a, call.prepared);
  float* packed = call.prepared ? call.prepared : call.workspace;
  float* sums = call.workspace + (call.prepared ? 0 : p.packed);
  if (!call.prepared) pack(call, p, packed);

  const int64_t tasks = a.batch * p.row_blocks * p.panel_tasks * p.chunks;
  const int64_t packed_step = p.packed > p.packed_step ? p.packed_step : 0;
  parallel_for(tasks, a.batch * a.m * a.n * a.k / tasks / kLanes, [&](int64_t task) {
    const int64_t panel = task % p.panel_tasks * p.panels_in_task, rest = task / p.panel_tasks;
    const int64_t row = rest % p.row_blocks * p.rows, chunk = rest / p.row_blocks % p.chunks;
    const int64_t matrix = rest / p.row_blocks / p.chunks;
    const int64_t left = (p.path == Path::swapped ? a.n : a.m) - row;
    const int64_t end = panel + p.panels_in_task, stop = (chunk + 1) * p.chunk_depth;
    const Part part = {row,
                       left < p.rows ? left : p.rows,
                       panel,
                       end < p.panels ? end : p.panels,
                       chunk * p.chunk_depth,
                       stop < a.k ? stop : a.k};
    const float *x = call.a + matrix * p.a_step, *b = call.b + matrix * p.b_step;
    if (p.path == Path::turned)
      return multiply_turned(a, part, x, b, sums + chunk * a.n * padded(a.m));
    float* c = (p.chunks > 1 ? sums + chunk * a.batch * a.m * a.n : call.c) + matrix * a.m * a.n;
    const Finish now = p.chunks > 1 ? Finish{} : call.finish;
    const float* panels = packed + matrix * packed_step;
    if (p.path == Path::vector) return multiply_vector(a, part, x, b, c, now);
    if (p.path == Path::columns) return multiply_columns(a, p, part, x, b, c, now);
    if (p.path == Path::swapped) return multiply_swapped(a, p, part, b, panels, c, now);
    multiply_rows(a, p, part, x, b, panels, c, now);
    if (now.stream) stream_end();
  });
  if (p.path == Path::turned) return add_turned_chunks(call, p, sums);
  if (p.chunks > 1) add_chunks(call, p, sums);
}

int64_t gemm_workspace(const GemmAttrs& attrs, bool prepared) {
  if (attrs.batch * attrs.m * attrs.n == 0) return 0;
  if (gemm_is_thin(attrs)) return gemm_thin_workspace(attrs);
  const Plan p = plan_of(attrs, prepared);
  return ((prepared ? 0 : p.packed) + p.partial) * static_cast<int64_t>(sizeof(float));
}

int64_t gemm_prepared(const GemmAttrs& a) {
  const bool useful = a.m > kStreamRows && !a.transpose_a && !already_packed(a) && !gemm_is_thin(a);
  if (!useful || a.batch * a.m * a.n * a.k == 0) return 0;
  return plan_of(a, true).packed * static_cast<int64_t>(sizeof(float));
}

void gemm_prepare(const GemmCall& call) { pack(call, plan_of(call.attrs, true), call.prepared); }

KernelList gemm_kernels(OpKind kind) {
  return kind == OpKind::gemm ? list(kGemm) : KernelList{nullptr, 0};
}

}  // namespace fastconv::cpu::FASTCONV_ISA
