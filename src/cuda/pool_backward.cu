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

// dsrc of W channels: the sum over the windows that cover them of what term.add(pair, read, sums)
// adds, where `read` is term.read(pair); that of a few windows comes before the first is used.
template <class Term, class T, int W>
struct Gather {
  static constexpr int kThreads = 256, kBlocks = 3, kAhead = 2;
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
        pair.out = ((here.sample * O + o) * P + p) * Q * g.in_channels + here.channel;
        pair.window[0] = o, pair.window[1] = p;
        add_row(pair, here.at[2], ow, sums);
      }
    }
    store(dsrc + thread_index() * W, sums);
  }

 private:
  // The windows [begin, end) of a row of outputs, of which pair.out is the first element.
  __device__ __forceinline__ void add_row(const Pair& row, int64_t input, const Cover& windows,
                                          float (&sums)[W]) const {
    for (int32_t q = windows.begin; q < windows.end; q += kAhead) {
      Pair pairs[kAhead];
      typename Term::Read read[kAhead] = {};
      bool covers[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        pairs[i] = row;
        pairs[i].out += (q + i) * g.in_channels;
        pairs[i].window[2] = q + i;
        covers[i] = q + i < windows.end && hits(g, 2, input, q + i);
        if (covers[i]) read[i] = term.read(pairs[i]);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i)
        if (covers[i]) term.add(pairs[i], read[i], sums);
    }
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
  struct Read {
    float dy[W];
    int32_t index[W];
  };
  __device__ __forceinline__ Read read(const Pair& pair) const {
    Read r;
    load(ddst + pair.out, r.dy);
    load(indices + pair.out, r.index);
    return r;
  }
  __device__ __forceinline__ void add(const Pair& pair, const Read& r, float (&sums)[W]) const {
#pragma unroll
    for (int c = 0; c < W; ++c) sums[c] += r.index[c] == pair.position ? r.dy[c] : 0.0f;
  }
};

template <class T, int W>
struct AverageTerm {
  const T* ddst;
  PoolAttrs a;
  struct Read {
    float dy[W];
  };
  __device__ __forceinline__ Read read(const Pair& pair) const {
    Read r;
    load(ddst + pair.out, r.dy);
    return r;
  }
  __device__ __forceinline__ void add(const Pair& pair, const Read& r, float (&sums)[W]) const {
    const WindowGeometry& g = a.geometry;
    int64_t taps = 1;
#pragma unroll
    for (int i = 0; i < 3; ++i)
      taps *= a.count_include_pad ? g.kernel[i] : span(g, i, pair.window[i]).count;
#pragma unroll
    for (int c = 0; c < W; ++c) sums[c] += r.dy[c] / (float)taps;
  }
};

// ddst (|x| / dst)^(p-1), with the sign of x; 0 where x or dst is 0.
struct NormTerm {
  const float *ddst, *src, *dst;
  float p;
  struct Read {
    float x, y, dy;
  };
  __device__ __forceinline__ Read read(const Pair& pair) const {
    return {src[pair.in], dst[pair.out], ddst[pair.out]};
  }
  __device__ __forceinline__ void add(const Pair&, const Read& r, float (&sums)[1]) const {
    const float ratio = fabsf(r.x) / r.y;
    if (r.x == 0 || r.y == 0) return;
    const float slope = p == 1 ? 1.0f : p == 2 ? ratio : powf(ratio, p - 1);
    sums[0] += r.x != r.x ? r.x : copysignf(1.0f, r.x) * r.dy * slope;
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
