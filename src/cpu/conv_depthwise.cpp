// Depthwise convolution: every channel has a filter of its own, so that channels are lanes in
// memory order, weights included. It waits for memory, not for products.
#include "conv_line_weights.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// src N D H W C, weights T R S 1 C, dst N O P Q C.
template <class T>
struct Depthwise {
  const float* weights;
  int64_t C;
  FinishOf<T> finish;

  template <int kOutputs, class Shape>
  void block(const Block<T>& b) const {
    channel_vectors(C, [&](int64_t c, int64_t) {
      fetch_ahead<kOutputs>(b, c);
      sum_vector<kOutputs, Shape>(b, c);
    });
  }

  template <int kOutputs, class Shape>
  void sum_vector(const Block<T>& b, int64_t c) const {
    const PixelTable<T>& table = *b.table;
    const GatherAxis& across = b.line->across;
    const int64_t step = across.tap_step * C;
    vfloat sums[kOutputs] = {};
    for (int64_t r = 0; r < b.line->rows; ++r) {
      const T* const* pixel = table.pixel + r * table.row_step;
      const float* row = weights + (b.line->tap[r] + across.tap_first) * C + c;
      sum_row<kOutputs, Shape>([&](int64_t i) { return load(pixel[i] + c); },
                               [&](int64_t tap) { return load(row + tap * step); }, table,
                               across.taps, sums);
    }
    finish_block(finish, b, c, kLanes, sums);
  }
};

template <class T>
void run_depthwise(const GatherCallOf<T>& c) {
  const WindowGeometry& g = *c.problem.geometry;
  const Depthwise<T> sums = {c.weights, g.in_channels, c.finish};
  run_lines(c, g.in_channels * window_taps(g) / kLanes, sums);
}

// The weight gradient: sums[T R S][C] over positions. A task has a chunk of items, and where there
// are few of them, a range of channels.
struct WeightsPlan {
  int64_t C, taps, sums_floats;
  Chunks chunks;
  int64_t ranges, range;  // of channels; the last one takes the rest
};

WeightsPlan weights_plan(const WindowGeometry& g) {
  constexpr int64_t kTasks = 32, kLeastRange = 128;
  WeightsPlan p = {};
  p.C = g.in_channels;
  p.taps = window_taps(g);
  p.sums_floats = padded(p.taps * p.C);
  p.chunks = chunks_of(g, p.sums_floats);
  const int64_t wanted = kTasks / p.chunks.count, most = p.C / kLeastRange;
  p.ranges = wanted < most ? wanted : most;
  if (p.ranges < 1) p.ranges = 1;
  p.range = p.C / p.ranges / kLanes * kLanes;
  return p;
}

// The sums of channels [first, last). The last vector is moved back to end with them: only its last
// lanes are new.
struct DepthwiseWeights {
  int64_t C, first, last;
  float* sums;

  template <class Shape, class T>
  void part(const Part<T>& s) const {
    for (int64_t c = first; c < last; c += kLanes) {
      const int64_t at = c + kLanes <= last ? c : last - kLanes;
      for (int64_t r = 0; r < s.line->rows; ++r)
        for (int64_t tap = 0; tap < s.line->across.taps; tap += TapSums<Shape>::taps)
          add_taps<Shape>(s, r, tap, at, at + kLanes - c);
    }
  }

  template <class Shape, class T>
  void add_taps(const Part<T>& s, int64_t r, int64_t tap, int64_t c, int64_t fresh) const {
    const T* const* pixel = s.table->pixel + r * s.table->row_step + tap * s.table->tap_step;
    const TapSums<Shape> row(
        s, [&](int64_t i) { return load(pixel[i] + c); },
        [&](int64_t m) { return load(s.ddst + m * C + c); });
    float* to = sums + (s.line->tap[r] + tap) * C + c;
#pragma GCC unroll 8
    for (int t = 0; t < TapSums<Shape>::taps; ++t, to += C) {
      const vfloat old = load(to), sum = old + row.total[t];
      store(to, fresh == kLanes ? sum : first_lanes(kLanes - fresh) ? old : sum);
    }
  }
};

// Adds the chunks in their order.
void add_chunks(const WeightsPlan& p, const float* sums, float* dweights) {
  const int64_t floats = p.taps * p.C;
  parallel_blocks(floats, 4096, p.chunks.count, [&](int64_t begin, int64_t end) {
    for_vectors(begin, end, [&](int64_t i, int64_t lanes) {
      vfloat total = load_lanes(sums + i, lanes);
      for (int64_t chunk = 1; chunk < p.chunks.count; ++chunk)
        total += load_lanes(sums + chunk * p.sums_floats + i, lanes);
      store_lanes(dweights + i, total, lanes);
    });
  });
}

template <class T>
void run_weights(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const GatherProblem problem = {&g, false};
  const WeightsPlan p = weights_plan(g);
  const T *src = input<T>(call, 0), *ddst = input<T>(call, 1);
  const T* zeros = static_cast<const T*>(call.workspace);
  float* all_sums = static_cast<float*>(call.workspace) + zero_floats(problem);
  __builtin_memset(call.workspace, 0, static_cast<size_t>(zero_floats(problem)) * sizeof(float));
  const int64_t work = p.chunks.items_in_chunk * g.output[2] * p.taps * p.range / kLanes;
  parallel_for(p.chunks.count * p.ranges, work, [&](int64_t task) {
    const int64_t chunk = task / p.ranges, range = task % p.ranges, first = range * p.range;
    const int64_t last = range + 1 < p.ranges ? first + p.range : p.C;
    const DepthwiseWeights sums = {p.C, first, last, all_sums + chunk * p.sums_floats};
    for (int64_t tap = 0; tap < p.taps; ++tap)
      for (int64_t c = first; c < last; ++c) sums.sums[tap * p.C + c] = 0;
    run_chunk(g, p.chunks, chunk, src, ddst, zeros, sums);
  });
  add_chunks(p, all_sums, output<float>(call, 0));
}

int64_t workspace(const GatherProblem& p) {
  return zero_floats(p) * static_cast<int64_t>(sizeof(float));
}

}  // namespace

const char* conv_depthwise_declines(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  if (const char* reason = line_declines(call)) return reason;
  if (g.groups != g.in_channels || g.groups != g.out_channels)
    return "not one channel to one channel";
  if (g.in_channels < kLanes) return "fewer channels than a vector";
  return nullptr;
}

void conv_depthwise(const KernelCall& call) {
  with_float(call, [&](auto tag) {
    run_depthwise(gather_call<typename decltype(tag)::type>(call, false));
  });
}
void conv_backward_data_depthwise(const KernelCall& call) {
  with_float(call, [&](auto tag) {
    run_depthwise(gather_call<typename decltype(tag)::type>(call, true));
  });
}
void conv_backward_weights_depthwise(const KernelCall& call) {
  with_float(call, [&](auto tag) { run_weights<typename decltype(tag)::type>(call); });
}

int64_t conv_depthwise_workspace(const KernelCall& call) {
  return workspace({&geometry(call), false});
}
int64_t conv_backward_data_depthwise_workspace(const KernelCall& call) {
  return workspace({&geometry(call), true});
}
int64_t conv_backward_weights_depthwise_workspace(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const WeightsPlan p = weights_plan(g);
  return workspace({&g, false}) +
         p.chunks.count * p.sums_floats * static_cast<int64_t>(sizeof(float));
}

}  // namespace fastconv::cpu::FASTCONV_ISA
