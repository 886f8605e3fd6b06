// Convolution with small groups, depthwise among them: one vector holds the channels of several
// whole groups. Input channel i of every group reaches the lanes of its group by one shuffle;
// depthwise needs none.
#include "conv.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int kTile = kLanes == 16 ? 8 : 4;      // positions whose sums stay in registers
constexpr int kTapTile = kLanes == 16 ? 12 : 6;  // taps whose weight gradients do
constexpr int64_t kBlock = 56;

// How groups of `in` read and `out` written channels share vectors; the last vector is moved
// back to end with the last group, so that it computes some groups twice.
struct Lanes {
  int64_t in, out, groups;
  int64_t groups_in_vector, vectors;
  int64_t in_used, out_used;  // lanes
};

Lanes lanes_of(int64_t in, int64_t out, int64_t groups) {
  const int64_t widest = in > out ? in : out;
  int64_t fit = kLanes / widest;
  if (fit > groups) fit = groups;
  return {in, out, groups, fit, ceil_div(groups, fit), fit * in, fit * out};
}

Lanes lanes_of(const Gather& g) { return lanes_of(g.in_channels, g.out_channels, g.groups); }

int64_t first_group(const Lanes& l, int64_t vector) {
  const int64_t group = vector * l.groups_in_vector, last = l.groups - l.groups_in_vector;
  return group < last ? group : last;
}

// The lane that input channel i of a lane's group comes from.
vint source_lanes(const Lanes& l, int64_t i) {
  vint lanes = {};
  for (int k = 0; k < kLanes; ++k)
    lanes[k] = k < l.out_used ? static_cast<int32_t>(k / l.out * l.in + i) : 0;
  return lanes;
}

vfloat shuffle(vfloat v, vint lanes) { return __builtin_shuffle(v, lanes); }

// Reads whole vectors where that stays inside the pixel's channels.
template <bool kWhole>
vfloat load_lanes(const float* p, int64_t used) {
  return kWhole ? load(p) : load_part(p, used);
}

// Reads memory in its order, so that the hardware fetches ahead. Prefetch instructions do not set
// that off, and the order of the sums (channels inside positions inside taps) does not either.
void touch(const volatile float* p, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(float);
  for (int64_t i = 0; i < count; i += kLine) static_cast<void>(p[i]);
}

// Whether a tensor outgrows the caches that one core has to itself.
bool worth_touching(int64_t floats) { return floats >= int64_t{1} << 20; }

// Touches the pixels that no block before this one has read.
void touch_block(const Gather& g, const RowTable& table) {
  const GatherAxis &h = g.axis[1], &w = g.axis[2];
  const int64_t channels = g.in_channels * g.groups;
  const int64_t pixels = g.batch * g.axis[0].in_size * h.in_size * w.in_size;
  if (!worth_touching(pixels * channels)) return;
  for (int64_t run = 0; run < table.runs; ++run) {
    const int64_t tap = table.run_at[run], r = tap / w.taps % h.taps, s = tap % w.taps;
    if (r + h.in_step < h.taps || s + w.in_step < w.taps) continue;
    for (int64_t i = 0; i < table.count; ++i) touch(table.rows[run * table.step + i], channels);
  }
}

// The weights are packed to [phase][vector][tap][in][lanes].
void pack_vector(const GatherCall& c, const Lanes& l, int64_t vector, int64_t tap, float* dst) {
  const WindowGeometry& w = *c.problem.geometry;
  const int64_t K = w.out_channels, Cg = w.in_channels / w.groups, Kg = K / w.groups;
  const float* weights = c.weights + tap * Cg * K + first_group(l, vector) * Kg;
  for (int64_t i = 0; i < l.in * kLanes; ++i) dst[i] = 0;
  if (l.in == 1 && l.out == 1) {
    for (int64_t lane = 0; lane < l.out_used; ++lane) dst[lane] = weights[lane];
    return;
  }
  for (int64_t group = 0; group < l.groups_in_vector; ++group)
    for (int64_t i = 0; i < l.in; ++i)
      for (int64_t o = 0; o < l.out; ++o)
        dst[i * kLanes + group * l.out + o] =
            c.problem.backward ? weights[o * K + group * Kg + i] : weights[i * K + group * Kg + o];
}

int64_t packed_floats(const GatherProblem& p) {
  const Lanes l = lanes_of(phase_of(p, 0));
  return window_taps(*p.geometry) * l.vectors * l.in * kLanes;
}

float* packed_phase(const Gather& g, const Lanes& l, float* packed) {
  return packed + g.tap_base * l.vectors * l.in * kLanes;
}

void pack_weights(const GatherCall& c, float* packed) {
  for (int64_t phase = 0; phase < phase_count(c.problem); ++phase) {
    const Gather g = gather_phase(c.problem, phase);
    const Lanes l = lanes_of(g);
    float* dst = packed_phase(g, l, packed);
    for (int64_t v = 0; v < l.vectors; ++v)
      for_taps(g, c.problem.geometry->kernel, [&](int64_t i, int64_t tap) {
        pack_vector(c, l, v, tap, dst + (v * g.taps + i) * l.in * kLanes);
      });
  }
}

// One vector of channels of a block of positions.
struct VectorCall {
  const Lanes* lanes;
  const vint* from;  // [in]: source_lanes
  const RowTable* table;
  int64_t in_channel, out_channel;  // the vector's first ones
  const float* weights;
  float* const* dst;
  Finish finish;
};

// Positions [row, row + kRows) of the block; kWhole: whole vectors may be read and written.
template <int kRows, bool kWhole, bool kShuffle>
void sum_rows(const VectorCall& c, int64_t row) {
  const Lanes& l = *c.lanes;
  vfloat sums[kRows] = {};
  for (int64_t r = 0; r < c.table->runs; ++r) {
    const float* const* rows = c.table->rows + r * c.table->step + row;
    const float* w = c.weights + c.table->run_at[r] * l.in * kLanes;
    vfloat x[kRows];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) x[m] = load_lanes<kWhole>(rows[m] + c.in_channel, l.in_used);
    for (int64_t i = 0; i < (kShuffle ? l.in : 1); ++i) {
      const vfloat tap = load(w + i * kLanes);
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) sums[m] += (kShuffle ? shuffle(x[m], c.from[i]) : x[m]) * tap;
    }
  }
  const float* bias = c.finish.bias;
  const vfloat shift = bias ? load_lanes<kWhole>(bias + c.out_channel, l.out_used) : vfloat{};
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
    float* dst = c.dst[row + m] + c.out_channel;
    const vfloat out = finished(c.finish, sums[m] + shift, dst, l.out_used);
    if (kWhole && l.out_used == kLanes)
      store(dst, out);
    else
      store_part(dst, out, l.out_used);
  }
}

template <int kRows, bool kWhole>
void sum_rows(const VectorCall& c, int64_t row) {
  if (c.lanes->in == 1 && c.lanes->out == 1)
    sum_rows<kRows, kWhole, false>(c, row);
  else
    sum_rows<kRows, kWhole, true>(c, row);
}

// Whether a vector that starts at this group may be read whole on both sides.
bool whole(const Lanes& l, int64_t group) {
  return group * l.in + kLanes <= l.groups * l.in && group * l.out + kLanes <= l.groups * l.out;
}

template <int kRows>
void sum_all_vectors(const Gather& g, VectorCall c, const float* packed, int64_t row) {
  const Lanes& l = *c.lanes;
  for (int64_t v = 0; v < l.vectors; ++v) {
    const int64_t group = first_group(l, v);
    c.in_channel = group * l.in;
    c.out_channel = group * l.out;
    c.weights = packed + v * g.taps * l.in * kLanes;
    if (whole(l, group))
      sum_rows<kRows, true>(c, row);
    else
      sum_rows<kRows, false>(c, row);
  }
}

void sum_blocks(const GatherCall& call, const Gather& g, const float* zeros, const float* packed,
                int64_t first, int64_t last) {
  const Lanes l = lanes_of(g);
  const RunShape shape = run_shape(g, kBlock);
  RowTable table;
  float* dst[kBlock];
  vint from[kLanes];
  for (int64_t i = 0; i < l.in; ++i) from[i] = source_lanes(l, i);
  const VectorCall c = {&l, from, &table, 0, 0, nullptr, dst, call.finish};
  for (; first < last; first += shape.block) {
    const int64_t count = last - first < shape.block ? last - first : shape.block;
    fill_table(g, shape, call.in, zeros, first, count, table);
    touch_block(g, table);
    fill_outputs(g, call.out, l.groups * l.out, first, count, dst);
    int64_t row = 0;
    for (; row + kTile <= count; row += kTile) sum_all_vectors<kTile>(g, c, packed, row);
    for (; row < count; ++row) sum_all_vectors<1>(g, c, packed, row);
  }
}

void run_grouped(const GatherCall& c) {
  const WindowGeometry& w = *c.problem.geometry;
  if (w.batch == 0) return;
  constexpr int64_t kTasks = 64;
  float* zeros = c.workspace;
  float* packed = zeros + zero_floats(c.problem);
  __builtin_memset(zeros, 0, static_cast<size_t>(zero_floats(c.problem)) * sizeof(float));
  pack_weights(c, packed);

  const Gather largest = phase_of(c.problem, 0);
  const Lanes l = lanes_of(largest);
  const int64_t phases = phase_count(c.problem), blocks = ceil_div(largest.positions, kBlock);
  const int64_t rows = items_per_task(blocks * phases, kTasks) * kBlock;
  const int64_t tasks = ceil_div(largest.positions, rows);
  const int64_t work = rows * l.vectors * l.in * window_taps(w) / phases;
  parallel_for(tasks * phases, work, [&](int64_t task) {
    const Gather g = gather_phase(c.problem, task / tasks);
    const int64_t first = task % tasks * rows, end = first + rows;
    sum_blocks(c, g, zeros, packed_phase(g, l, packed), first,
               end < g.positions ? end : g.positions);
  });
}

// The weight gradient: sums[vector][tap][in][lanes] over the positions of a block.
struct TapCall {
  const Lanes* lanes;
  const vint* from;
  const RowTable* table;
  int64_t in_channel, out_channel;
  const float* ddst;  // of the block's first position
  int64_t ddst_step;
  float* sums;  // of the vector's first tap
};

// Runs [run, run + kTaps) of the table, input channel i of each group.
template <int kTaps, bool kWhole, bool kShuffle>
void sum_taps(const TapCall& c, int64_t run, int64_t i) {
  const Lanes& l = *c.lanes;
  const int64_t step = c.table->step;
  const float* const* rows = c.table->rows + run * step;
  const float* dy = c.ddst + c.out_channel;
  vfloat sums[kTaps] = {};
  for (int64_t p = 0; p < c.table->count; ++p, dy += c.ddst_step) {
    const vfloat y = load_lanes<kWhole>(dy, l.out_used);
#pragma GCC unroll 12
    for (int t = 0; t < kTaps; ++t) {
      const vfloat x = load_lanes<kWhole>(rows[t * step + p] + c.in_channel, l.in_used);
      sums[t] += (kShuffle ? shuffle(x, c.from[i]) : x) * y;
    }
  }
  for (int t = 0; t < kTaps; ++t) {
    float* at = c.sums + (c.table->run_at[run + t] * l.in + i) * kLanes;
    store(at, load(at) + sums[t]);
  }
}

template <int kTaps>
void choose_taps(const TapCall& c, int taps, bool whole, int64_t run, int64_t i) {
  if constexpr (kTaps > 1)
    if (taps < kTaps) return choose_taps<kTaps - 1>(c, taps, whole, run, i);
  if (c.lanes->in == 1 && c.lanes->out == 1)
    whole ? sum_taps<kTaps, true, false>(c, run, i) : sum_taps<kTaps, false, false>(c, run, i);
  else
    whole ? sum_taps<kTaps, true, true>(c, run, i) : sum_taps<kTaps, false, true>(c, run, i);
}

// How the weight gradient is cut: chunks of positions, each with sums of its own.
struct WeightsPlan {
  Gather g;
  Lanes l;
  int64_t chunks, chunk_positions, sums_floats;
};

WeightsPlan weights_plan(const WindowGeometry& w) {
  constexpr int64_t kTasks = 32, kMostPartial = 1 << 20, kLeastPositions = 128;
  WeightsPlan p = {};
  p.g = phase_of({&w, false}, 0);
  p.l = lanes_of(p.g);
  p.sums_floats = p.l.vectors * p.g.taps * p.l.in * kLanes;
  const int64_t useful = ceil_div(p.g.positions, kLeastPositions);
  int64_t chunks = kMostPartial / p.sums_floats;
  chunks = chunks < kTasks ? chunks : kTasks;
  chunks = chunks < useful ? chunks : useful;
  p.chunks = chunks > 1 ? chunks : 1;
  p.chunk_positions = ceil_div(p.g.positions, p.chunks);
  return p;
}

void sum_chunk(const WeightsPlan& p, const float* src, const float* ddst, const float* zeros,
               int64_t chunk, float* sums) {
  const Lanes& l = p.l;
  const int64_t K = l.groups * l.out, first = chunk * p.chunk_positions;
  const int64_t end = first + p.chunk_positions, last = end < p.g.positions ? end : p.g.positions;
  const RunShape shape = run_shape(p.g, kBlock);
  RowTable table;
  vint from[kLanes];
  for (int64_t i = 0; i < l.in; ++i) from[i] = source_lanes(l, i);
  for (int64_t i = 0; i < p.sums_floats; ++i) sums[i] = 0;
  for (int64_t at = first; at < last; at += shape.block) {
    const int64_t count = last - at < shape.block ? last - at : shape.block;
    fill_table(p.g, shape, src, zeros, at, count, table);
    touch_block(p.g, table);
    if (worth_touching(p.g.positions * K)) touch(ddst + at * K, count * K);
    for (int64_t v = 0; v < l.vectors; ++v) {
      const int64_t group = first_group(l, v);
      const TapCall c = {&l,
                         from,
                         &table,
                         group * l.in,
                         group * l.out,
                         ddst + at * K,
                         K,
                         sums + v * p.g.taps * l.in * kLanes};
      for_tiles(table.runs, kTapTile, [&](int64_t run, int taps) {
        for (int64_t i = 0; i < l.in; ++i) choose_taps<kTapTile>(c, taps, whole(l, group), run, i);
      });
    }
  }
}

// Adds the chunks in their order and puts the lanes in their places.
void unpack_sums(const WeightsPlan& p, const float* sums, float* dweights) {
  const Lanes& l = p.l;
  const int64_t K = l.groups * l.out;
  for (int64_t v = 0; v < l.vectors; ++v)
    for (int64_t row = 0; row < p.g.taps * l.in; ++row) {
      const float* from = sums + (v * p.g.taps * l.in + row) * kLanes;
      vfloat total = load(from);
      for (int64_t chunk = 1; chunk < p.chunks; ++chunk)
        total += load(from + chunk * p.sums_floats);
      store_part(dweights + row * K + first_group(l, v) * l.out, total, l.out_used);
    }
}

int64_t workspace(const GatherProblem& p) {
  return (zero_floats(p) + packed_floats(p)) * static_cast<int64_t>(sizeof(float));
}

}  // namespace

const char* conv_grouped_declines(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  if (const char* reason = needs_float32(call)) return reason;
  if (g.groups == 1) return "one group";
  if (g.in_channels > g.groups * kLanes / 2 || g.out_channels > g.groups * kLanes / 2)
    return "more channels in a group than half a vector";
  if (window_taps(g) > kMostRuns) return "too large a window";
  return nullptr;
}

void conv_grouped(const KernelCall& call) { run_grouped(gather_call(call, false)); }
void conv_backward_data_grouped(const KernelCall& call) { run_grouped(gather_call(call, true)); }

void conv_backward_weights_grouped(const KernelCall& call) {
  const WindowGeometry& w = geometry(call);
  const WeightsPlan p = weights_plan(w);
  const float *src = input<float>(call, 0), *ddst = input<float>(call, 1);
  float* zeros = static_cast<float*>(call.workspace);
  float* sums = zeros + zero_floats({&w, false});
  __builtin_memset(zeros, 0, static_cast<size_t>(zero_floats({&w, false})) * sizeof(float));
  const int64_t work = p.chunk_positions * p.sums_floats / kLanes;
  parallel_for(p.chunks, work, [&](int64_t chunk) {
    sum_chunk(p, src, ddst, zeros, chunk, sums + chunk * p.sums_floats);
  });
  unpack_sums(p, sums, output<float>(call, 0));
}

int64_t conv_grouped_workspace(const KernelCall& call) {
  return workspace({&geometry(call), false});
}
int64_t conv_backward_data_grouped_workspace(const KernelCall& call) {
  return workspace({&geometry(call), true});
}
int64_t conv_backward_weights_grouped_workspace(const KernelCall& call) {
  const WindowGeometry& w = geometry(call);
  const WeightsPlan p = weights_plan(w);
  return (zero_floats({&w, false}) + p.chunks * p.sums_floats) *
         static_cast<int64_t>(sizeof(float));
}

}  // namespace fastconv::cpu::FASTCONV_ISA
