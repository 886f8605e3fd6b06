// Few output channels fill a vector badly. Widening takes `by` neighbouring outputs of a line as
// one output with `by` times the channels, whose window is their windows' union: the arrays keep
// their bytes, only the weights are spread out, with zeros where one of the windows does not reach.
#pragma once
#include "conv.h"

namespace fastconv::cpu::FASTCONV_ISA {

static inline WindowGeometry widened(WindowGeometry g, int64_t by) {
  g.kernel[2] += (by - 1) * g.stride[2];
  g.stride[2] *= by;
  g.output[2] /= by;
  g.out_channels *= by;
  return g;
}

// The widening with the fewest products, 1 if none is clearly better than the convolution itself.
static inline int64_t best_widening(const WindowGeometry& g) {
  constexpr int64_t kMost = 8, kMultiple = 840;  // of 1 .. kMost
  if (g.groups != 1 || g.dilation[2] != 1 || g.out_channels >= kLanes) return 1;
  const auto cost = [&](int64_t by) {
    const WindowGeometry w = widened(g, by);
    return padded(w.out_channels) * w.kernel[2] * kMultiple / by;
  };
  int64_t best = 1;
  for (int64_t by = 2; by <= kMost && by * g.out_channels <= kPanel; ++by)
    if (g.output[2] % by == 0 && window_taps(widened(g, by)) <= kMostRuns &&
        cost(by) * 10 < cost(best) * 9)
      best = by;
  return best;
}

// Calls body(place in the weights, place in the spread weights) for the first filter of each pair.
template <class Body>
static inline void for_spread(const WindowGeometry& g, int64_t by, const Body& body) {
  const int64_t lines = g.kernel[0] * g.kernel[1], C = g.in_channels, K = g.out_channels;
  const int64_t S = g.kernel[2], wide_S = widened(g, by).kernel[2];
  for (int64_t line = 0; line < lines; ++line)
    for (int64_t s = 0; s < S; ++s)
      for (int64_t c = 0; c < C; ++c)
        for (int64_t j = 0; j < by; ++j) {
          const int64_t wide_row = (line * wide_S + s + j * g.stride[2]) * C + c;
          body(((line * S + s) * C + c) * K, (wide_row * by + j) * K);
        }
}

static inline void spread_weights(const WindowGeometry& g, int64_t by, const float* weights,
                                  float* spread) {
  const WindowGeometry wide = widened(g, by);
  const int64_t K = g.out_channels, count = window_taps(wide) * g.in_channels * wide.out_channels;
  for (int64_t i = 0; i < count; ++i) spread[i] = 0;
  for_spread(g, by, [&](int64_t from, int64_t to) {
    for (int64_t k = 0; k < K; ++k) spread[to + k] = weights[from + k];
  });
}

// The gradient of the weights from that of the spread weights.
static inline void gather_weights(const WindowGeometry& g, int64_t by, const float* spread,
                                  float* dweights) {
  const int64_t K = g.out_channels, count = window_taps(g) * g.in_channels * K;
  for (int64_t i = 0; i < count; ++i) dweights[i] = 0;
  for_spread(g, by, [&](int64_t at, int64_t from) {
    for (int64_t k = 0; k < K; ++k) dweights[at + k] += spread[from + k];
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
