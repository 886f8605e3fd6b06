// Pooling, backward: every input position gathers from the windows that cover it, in row-major
// order, so that overlapping windows need no atomics and dsrc is written once.
#include "pool_window.h"

namespace fastconv::cuda {
namespace {

// An input position and the output of a window that covers it.
struct Pair {
  int64_t in, out;    // their first elements
  int32_t position;   // of the input in the channel's map
  int64_t window[3];  // of the output
};

// dsrc of W channels: the sum over the windows that cover them of what term.add(pair, sums) adds.
template <class Term, class T, int W>
struct Gather {
  static constexpr int kThreads = 256;
  WindowGeometry g;
  MapIndex inputs;
  Term term;
  T* dsrc;
  int64_t count;

  __device__ void operator()() const {
    if (thread_index() >= count) return;
    const Place here = inputs.place(thread_index());
    const int64_t O = g.output[0], P = g.output[1], Q = g.output[2];
    const Cover od = cover(g, 0, here.at[0]), oh = cover(g, 1, here.at[1]);
    const Cover ow = cover(g, 2, here.at[2]);
    Pair pair = {thread_index() * W,
                 0,
                 (int32_t)((here.at[0] * g.input[1] + here.at[1]) * g.input[2] + here.at[2]),
                 {}};
    float sums[W] = {};
    for (int32_t o = od.begin; o < od.end; ++o) {
      if (!hits(g, 0, here.at[0], o)) continue;
      for (int32_t p = oh.begin; p < oh.end; ++p) {
        if (!hits(g, 1, here.at[1], p)) continue;
        for (int32_t q = ow.begin; q < ow.end; ++q) {
          if (!hits(g, 2, here.at[2], q)) continue;
          pair.out = (((here.sample * O + o) * P + p) * Q + q) * g.in_channels + here.channel;
          pair.window[0] = o, pair.window[1] = p, pair.window[2] = q;
          term.add(pair, sums);
        }
      }
    }
    store(dsrc + thread_index() * W, sums);
  }
};

template <class T, int W, class Term>
void gather(const KernelCall& call, const Term& term) {
  const WindowGeometry& g = attrs<PoolAttrs>(call).geometry;
  const int64_t count = elements(call.outputs[0]) / W;
  using Kernel = Gather<Term, T, W>;
  launch(call, Kernel{g, MapIndex(g.input, g.in_channels, W), term, output<T>(call, 0), count},
         ceil_div(count, Kernel::kThreads));
}

template <class T, int W>
struct MaximumTerm {
  const T* ddst;
  const int32_t* indices;
  __device__ __forceinline__ void add(const Pair& pair, float (&sums)[W]) const {
    float dy[W];
    int32_t index[W];
    load(ddst + pair.out, dy);
    load(indices + pair.out, index);
#pragma unroll
    for (int c = 0; c < W; ++c) sums[c] += index[c] == pair.position ? dy[c] : 0.0f;
  }
};

template <class T, int W>
struct AverageTerm {
  const T* ddst;
  PoolAttrs a;
  __device__ __forceinline__ void add(const Pair& pair, float (&sums)[W]) const {
    const WindowGeometry& g = a.geometry;
    int64_t taps = 1;
#pragma unroll
    for (int i = 0; i < 3; ++i)
      taps *= a.count_include_pad ? g.kernel[i] : span(g, i, pair.window[i]).count;
    float dy[W];
    load(ddst + pair.out, dy);
#pragma unroll
    for (int c = 0; c < W; ++c) sums[c] += dy[c] / (float)taps;
  }
};

// ddst (|x| / dst)^(p-1), with the sign of x; 0 where x or dst is 0.
struct NormTerm {
  const float *ddst, *src, *dst;
  float p;
  __device__ __forceinline__ void add(const Pair& pair, float (&sums)[1]) const {
    const float x = src[pair.in], y = dst[pair.out], ratio = fabsf(x) / y;
    if (x == 0 || y == 0) return;
    const float slope = p == 1 ? 1.0f : p == 2 ? ratio : powf(ratio, p - 1);
    sums[0] += x != x ? x : copysignf(1.0f, x) * ddst[pair.out] * slope;
  }
};

}  // namespace

void max_pool_backward(const KernelCall& call) {
  with_channels(call, [&](auto tag, auto width) {
    using T = typename decltype(tag)::type;
    gather<T, width.value>(call,
                           MaximumTerm<T, width.value>{input<T>(call, 0), input<int32_t>(call, 1)});
  });
}

void average_pool_backward(const KernelCall& call) {
  with_channels(call, [&](auto tag, auto width) {
    using T = typename decltype(tag)::type;
    gather<T, width.value>(call,
                           AverageTerm<T, width.value>{input<T>(call, 0), attrs<PoolAttrs>(call)});
  });
}

void lp_pool_backward(const KernelCall& call) {
  gather<float, 1>(call, NormTerm{input<float>(call, 0), input<float>(call, 1),
                                  input<float>(call, 2), attrs<PoolAttrs>(call).p});
}

}  // namespace fastconv::cuda
