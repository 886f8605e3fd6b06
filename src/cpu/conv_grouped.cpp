// Convolution with small groups: one vector holds the channels of several whole groups. Input
// channel i of every group reaches the lanes of its group by one shuffle.
#include "conv_line_weights.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// How groups of `in` read and `out` written channels share vectors; the last vector is moved
// back to end with the last group, so that it computes some groups twice.
struct Lanes {
  int64_t in, out, groups;
  int64_t groups_in_vector, vectors;
  int64_t in_used, out_used;  // lanes
};

Lanes lanes_of(const GatherProblem& p) {
  const WindowGeometry& g = *p.geometry;
  const int64_t read = (p.backward ? g.out_channels : g.in_channels) / g.groups;
  const int64_t written = (p.backward ? g.in_channels : g.out_channels) / g.groups;
  int64_t fit = kLanes / (read > written ? read : written);
  if (fit > g.groups) fit = g.groups;
  return {read, written, g.groups, fit, ceil_div(g.groups, fit), fit * read, fit * written};
}

// The lane that input channel i of a lane's group comes from.
vint source_lanes(const Lanes& l, int64_t i) {
  vint lanes = {};
  for (int k = 0; k < kLanes; ++k)
    lanes[k] = k < l.out_used ? static_cast<int32_t>(k / l.out * l.in + i) : 0;
  return lanes;
}

struct Sources {
  vint lanes[kLanes];
  explicit Sources(const Lanes& l) {
    for (int64_t i = 0; i < l.in; ++i) lanes[i] = source_lanes(l, i);
  }
};

// The first group of a vector.
int64_t first_group(const Lanes& l, int64_t v) {
  const int64_t group = v * l.groups_in_vector, last = l.groups - l.groups_in_vector;
  return group < last ? group : last;
}

// A vector's channels of `count` pixels side by side: far apart they share few lines of the cache,
// and every input channel reads them again.
class Pixels {
 public:
  template <class Address>
  void copy(int64_t count, int64_t channel, int64_t lanes, const Address& address) {
    for (int64_t i = 0; i < count; ++i) pixels_[i] = load_lanes(address(i) + channel, lanes);
  }
  const vfloat* at(int64_t i) const { return pixels_ + i; }

 private:
  vfloat pixels_[kMostWidth * kBlock];
};

// The weights are packed to [vector][T R S][in][lanes].
void pack_vector(const GatherProblem& p, const float* all, const Lanes& l, int64_t v, int64_t tap,
                 float* dst) {
  const WindowGeometry& w = *p.geometry;
  const int64_t K = w.out_channels, Cg = w.in_channels / w.groups, Kg = K / w.groups;
  const float* weights = all + tap * Cg * K + first_group(l, v) * Kg;
  for (int64_t i = 0; i < l.in * kLanes; ++i) dst[i] = 0;
  for (int64_t group = 0; group < l.groups_in_vector; ++group)
    for (int64_t i = 0; i < l.in; ++i)
      for (int64_t o = 0; o < l.out; ++o)
        dst[i * kLanes + group * l.out + o] =
            p.backward ? weights[o * K + group * Kg + i] : weights[i * K + group * Kg + o];
}

int64_t packed_floats(const GatherProblem& p) {
  const Lanes l = lanes_of(p);
  return window_taps(*p.geometry) * l.vectors * l.in * kLanes;
}

void pack_weights(const GatherProblem& p, const float* weights, const Lanes& l, float* packed) {
  const int64_t taps = window_taps(*p.geometry), floats = l.in * kLanes;
  parallel_for(l.vectors, taps * floats, [&](int64_t v) {
    for (int64_t tap = 0; tap < taps; ++tap)
      pack_vector(p, weights, l, v, tap, packed + (v * taps + tap) * floats);
  });
}

template <class T>
struct Grouped {
  Lanes lanes;
  Sources sources;
  const float* packed;
  int64_t taps;  // of the window
  FinishOf<T> finish;

  template <int kOutputs, class Shape>
  void block(const Block<T>& b) const {
    Pixels pixels;
    for (int64_t v = 0; v < lanes.vectors; ++v) {
      fetch_ahead<kOutputs>(b, first_group(lanes, v) * lanes.in);
      sum_vector<kOutputs, Shape>(b, v, pixels);
    }
  }

  // Row after row of the window, and in it input channel after input channel.
  template <int kOutputs, class Shape>
  void sum_vector(const Block<T>& b, int64_t v, Pixels& pixels) const {
    const PixelTable<T>& table = *b.table;
    const GatherAxis& across = b.line->across;
    const int64_t group = first_group(lanes, v), tap_floats = lanes.in * kLanes;
    const float* weights = packed + (v * taps + across.tap_first) * tap_floats;
    vfloat sums[kOutputs] = {};
    for (int64_t r = 0; r < b.line->rows; ++r) {
      const T* const* pixel = table.pixel + r * table.row_step;
      pixels.copy(table.row_step, group * lanes.in, lanes.in_used,
                  [&](int64_t at) { return pixel[at]; });
      const float* row = weights + b.line->tap[r] * tap_floats;
      for (int64_t i = 0; i < lanes.in; ++i, row += kLanes) {
        const vint from = sources.lanes[i];
        sum_row<kOutputs, Shape>(
            [&](int64_t at) { return __builtin_shuffle(*pixels.at(at), from); },
            [&](int64_t tap) { return load(row + tap * across.tap_step * tap_floats); }, table,
            across.taps, sums);
      }
    }
    finish_block(finish, b, group * lanes.out, lanes.out_used, sums);
  }
};

template <class T>
void run_grouped(const GatherCallOf<T>& c) {
  const Lanes l = lanes_of(c.problem);
  const int64_t taps = window_taps(*c.problem.geometry);
  float* packed = c.workspace + zero_floats(c.problem);
  pack_weights(c.problem, c.weights, l, packed);
  const Grouped<T> sums = {l, Sources(l), packed, taps, c.finish};
  run_lines(c, l.vectors * l.in * taps, sums);
}

// The weight gradient: sums[vector][T R S][in][lanes] over positions, a chunk of items and a vector
// of channels a task.
struct WeightsPlan {
  Lanes lanes;
  int64_t taps, sums_floats;
  Chunks chunks;
};

WeightsPlan weights_plan(const WindowGeometry& g) {
  WeightsPlan p = {};
  p.lanes = lanes_of({&g, false});
  p.taps = window_taps(g);
  p.sums_floats = p.lanes.vectors * p.taps * p.lanes.in * kLanes;
  p.chunks = chunks_of(g, p.sums_floats);
  return p;
}

struct GroupedWeights {
  Lanes lanes;
  Sources sources;
  int64_t taps;
  int64_t first, last;  // vectors
  float* sums;

  template <class Shape, class T>
  void part(const Part<T>& p) const {
    Pixels pixels, ddst;
    for (int64_t v = first; v < last; ++v) {
      const int64_t group = first_group(lanes, v), tap_floats = lanes.in * kLanes;
      ddst.copy(p.count, group * lanes.out, lanes.out_used,
                [&](int64_t m) { return p.ddst + m * p.ddst_step; });
      for (int64_t r = 0; r < p.line->rows; ++r) {
        const T* const* pixel = p.table->pixel + r * p.table->row_step;
        pixels.copy(p.table->row_step, group * lanes.in, lanes.in_used,
                    [&](int64_t at) { return pixel[at]; });
        float* to = sums + (v * taps + p.line->tap[r]) * tap_floats;
        for (int64_t tap = 0; tap < p.line->across.taps; tap += TapSums<Shape>::taps)
          add_taps<Shape>(p, pixels.at(tap * p.table->tap_step), ddst, to + tap * tap_floats);
      }
    }
  }

  template <class Shape, class T>
  void add_taps(const Part<T>& p, const vfloat* pixels, const Pixels& ddst, float* to) const {
    for (int64_t i = 0; i < lanes.in; ++i, to += kLanes) {
      const vint from = sources.lanes[i];
      const TapSums<Shape> row(
          p, [&](int64_t at) { return __builtin_shuffle(pixels[at], from); },
          [&](int64_t m) { return *ddst.at(m); });
#pragma GCC unroll 8
      for (int t = 0; t < TapSums<Shape>::taps; ++t) {
        float* sum = to + t * lanes.in * kLanes;
        store(sum, load(sum) + row.total[t]);
      }
    }
  }
};

// Adds the chunks in their order and puts the lanes in their places.
void unpack_sums(const WeightsPlan& p, const float* sums, float* dweights) {
  const Lanes& l = p.lanes;
  const int64_t K = l.groups * l.out, rows = p.taps * l.in;
  parallel_for(l.vectors, rows * p.chunks.count, [&](int64_t v) {
    // The groups that the vector before has too are left to it.
    const int64_t first = v * l.groups_in_vector * l.out, at = first_group(l, v) * l.out;
    for (int64_t row = 0; row < rows; ++row) {
      const float* from = sums + (v * rows + row) * kLanes;
      vfloat total = load(from);
      for (int64_t chunk = 1; chunk < p.chunks.count; ++chunk)
        total += load(from + chunk * p.sums_floats);
      for (int64_t lane = first - at; lane < l.out_used; ++lane)
        dweights[row * K + at + lane] = total[lane];
    }
  });
}

template <class T>
void run_weights(const KernelCall& call) {
  constexpr int64_t kTasks = 32;
  const WindowGeometry& g = geometry(call);
  const WeightsPlan p = weights_plan(g);
  const T *src = input<T>(call, 0), *ddst = input<T>(call, 1);
  const T* zeros = static_cast<const T*>(call.workspace);
  float* all_sums = static_cast<float*>(call.workspace) + zero_floats({&g, false});
  __builtin_memset(call.workspace, 0,
                   static_cast<size_t>(zero_floats({&g, false})) * sizeof(float));
  const int64_t ranges = ceil_div(kTasks, p.chunks.count),
                vectors = ceil_div(p.lanes.vectors, ranges);
  const int64_t tasks = ceil_div(p.lanes.vectors, vectors), floats = p.taps * p.lanes.in * kLanes;
  const int64_t work = p.chunks.items_in_chunk * g.output[2] * vectors * p.taps * p.lanes.in;
  parallel_for(p.chunks.count * tasks, work, [&](int64_t task) {
    const int64_t chunk = task / tasks, first = task % tasks * vectors, end = first + vectors;
    const int64_t last = end < p.lanes.vectors ? end : p.lanes.vectors;
    float* sums = all_sums + chunk * p.sums_floats;
    for (int64_t i = first * floats; i < last * floats; ++i) sums[i] = 0;
    run_chunk(g, p.chunks, chunk, src, ddst, zeros,
              GroupedWeights{p.lanes, Sources(p.lanes), p.taps, first, last, sums});
  });
  unpack_sums(p, all_sums, output<float>(call, 0));
}

int64_t workspace(const GatherProblem& p) {
  return (zero_floats(p) + packed_floats(p)) * static_cast<int64_t>(sizeof(float));
}

}  // namespace

const char* conv_grouped_declines(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  if (const char* reason = line_declines(call)) return reason;
  if (g.groups == 1) return "one group";
  if (g.kernel[2] > kMostWidth) return "too wide a window";
  if (g.in_channels > g.groups * kLanes || g.out_channels > g.groups * kLanes)
    return "more channels in a group than a vector";
  return nullptr;
}

// There a dense product of each group has more to do with a pixel that it has read.
const char* conv_backward_weights_grouped_declines(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  if (const char* reason = conv_grouped_declines(call)) return reason;
  if (2 * g.in_channels > g.groups * kLanes || 2 * g.out_channels > g.groups * kLanes)
    return "more channels in a group than half a vector";
  return nullptr;
}

void conv_grouped(const KernelCall& call) {
  with_float(
      call, [&](auto tag) { run_grouped(gather_call<typename decltype(tag)::type>(call, false)); });
}
void conv_backward_data_grouped(const KernelCall& call) {
  with_float(call,
             [&](auto tag) { run_grouped(gather_call<typename decltype(tag)::type>(call, true)); });
}
void conv_backward_weights_grouped(const KernelCall& call) {
  with_float(call, [&](auto tag) { run_weights<typename decltype(tag)::type>(call); });
}

int64_t conv_grouped_workspace(const KernelCall& call) {
  return workspace({&geometry(call), false});
}
int64_t conv_backward_data_grouped_workspace(const KernelCall& call) {
  return workspace({&geometry(call), true});
}
int64_t conv_backward_weights_grouped_workspace(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const WeightsPlan p = weights_plan(g);
  return (zero_floats({&g, false}) + p.chunks.count * p.sums_floats) *
         static_cast<int64_t>(sizeof(float));
}

}  // namespace fastconv::cpu::FASTCONV_ISA
