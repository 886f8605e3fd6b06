// Pooling, backward: every input position gathers from the windows that cover it, in row-major
// order, so that overlapping windows need no atomics and dsrc is written once.
#include "pool_window.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// What one vector of outputs hands to an input position: ddst to the one that was chosen.
template <class T>
class Chosen {
 public:
  struct Operands {
    const T* ddst;
    const int32_t* indices;
  };
  Chosen(const Operands& from, int64_t at, int64_t lanes)
      : ddst_(load_lanes(from.ddst + at, lanes)), index_(load_lanes(from.indices + at, lanes)) {}
  vfloat to(int32_t position, vfloat) const { return index_ == splat(position) ? ddst_ : vfloat{}; }

 private:
  vfloat ddst_;
  vint index_;
};

// The same share to each.
class Share {
 public:
  using Operands = const float*;
  Share(const float* share, int64_t at, int64_t lanes) : share_(load_lanes(share + at, lanes)) {}
  vfloat to(int32_t, vfloat) const { return share_; }

 private:
  vfloat share_;
};

static inline vfloat with_sign_of(vfloat x, vfloat value) {
  const vfloat signed_value = x < vfloat{} ? -value : value;
  return x == vfloat{} ? vfloat{} : (is_nan(x) ? x : signed_value);
}

// ddst (|x| / dst)^(p-1), with the sign of x.
class PowerShare {
 public:
  struct Operands {
    const float *ddst, *dst;
    float p;
  };
  PowerShare(const Operands& from, int64_t at, int64_t lanes)
      : ddst_(load_lanes(from.ddst + at, lanes)),
        dst_(load_lanes(from.dst + at, lanes)),
        exponent_(splat(from.p - 1)) {}
  vfloat to(int32_t, vfloat x) const {
    const vfloat share = with_sign_of(x, ddst_ * pow(abs(x) / dst_, exponent_));
    return dst_ == vfloat{} ? vfloat{} : share;
  }

 private:
  vfloat ddst_, dst_, exponent_;
};

// What else counts at an input position: nothing, or its value x in one of three ways.
struct Unchanged {
  vfloat value(int64_t, int64_t) const { return vfloat{}; }
  vfloat scaled(vfloat sum, vfloat) const { return sum; }
};
struct Source {
  const float* src;
  vfloat value(int64_t at, int64_t lanes) const { return load_lanes(src + at, lanes); }
  vfloat scaled(vfloat sum, vfloat) const { return sum; }
};
struct TimesSign : Source {
  vfloat scaled(vfloat sum, vfloat x) const { return with_sign_of(x, sum); }
};
struct TimesSource : Source {
  vfloat scaled(vfloat sum, vfloat x) const { return x == vfloat{} ? vfloat{} : sum * x; }
};

// One input position, of sample n; `covers` are the windows over it.
template <class Term, class Factor, class T>
static inline void gather_position(const WindowGeometry& g, const Cover (&covers)[3],
                                   const int64_t (&at)[3], int64_t n,
                                   const typename Term::Operands& from, const Factor& factor,
                                   bool streams, T* dsrc) {
  const int64_t O = g.output[0], P = g.output[1], Q = g.output[2], C = g.in_channels;
  const int64_t position = (at[0] * g.input[1] + at[1]) * g.input[2] + at[2];
  const int64_t here = (n * g.input[0] * g.input[1] * g.input[2] + position) * C;
  channel_vectors(C, [&](int64_t c, int64_t lanes) {
    const vfloat x = factor.value(here + c, lanes);
    vfloat sum = {};
    for (int64_t o = covers[0].begin; o < covers[0].end; ++o) {
      if (!hits(g, 0, at[0], o)) continue;
      for (int64_t p = covers[1].begin; p < covers[1].end; ++p) {
        if (!hits(g, 1, at[1], p)) continue;
        for (int64_t q = covers[2].begin; q < covers[2].end; ++q) {
          if (!hits(g, 2, at[2], q)) continue;
          const Term term(from, (((n * O + o) * P + p) * Q + q) * C + c, lanes);
          sum += term.to((int32_t)position, x);
        }
      }
    }
    const vfloat share = factor.scaled(sum, x);
    streams ? stream(dsrc + here + c, share) : store_lanes(dsrc + here + c, share, lanes);
  });
}

template <class Term, class Factor, class T>
static void gather_row(const WindowGeometry& g, int64_t row, const typename Term::Operands& from,
                       const Factor& factor, bool streams, T* dsrc) {
  const int64_t D = g.input[0], H = g.input[1], W = g.input[2];
  int64_t at[3] = {row / H % D, row % H, 0};
  Cover covers[3] = {cover(g, 0, at[0]), cover(g, 1, at[1]), {0, 0}};
  for (; at[2] < W; ++at[2]) {
    advance(covers[2], g, 2, at[2]);
    gather_position<Term>(g, covers, at, row / (D * H), from, factor, streams, dsrc);
  }
}

// Windows that do not overlap: each output of a row is read once.
static inline bool disjoint(const WindowGeometry& g) {
  for (int i = 0; i < 3; ++i)
    if (g.dilation[i] != 1 || g.stride[i] < g.kernel[i]) return false;
  return true;
}

template <class Term, class Factor, class T>
static void scatter_row(const WindowGeometry& g, int64_t row, const typename Term::Operands& from,
                        const Factor& factor, bool streams, T* dsrc) {
  const int64_t H = g.input[1], W = g.input[2], Q = g.output[2], C = g.in_channels;
  const int64_t plane = row % (g.input[0] * H), n = row / (g.input[0] * H);
  const Cover o = cover(g, 0, plane / H), p = cover(g, 1, plane % H);
  const bool covered = o.begin < o.end && p.begin < p.end;
  const int64_t begin = -g.pad_before[2], end = Q * g.stride[2] - g.pad_before[2];
  const bool gaps = g.stride[2] > g.kernel[2] || begin > 0 || end < W;
  if (!covered || gaps)
    __builtin_memset(dsrc + row * W * C, 0, static_cast<size_t>(W * C) * sizeof(T));
  if (!covered) return;
  const int64_t first = ((n * g.output[0] + o.begin) * g.output[1] + p.begin) * Q;
  for (int64_t q = 0; q < Q; ++q) {
    const Span s = span(g, 2, q);
    channel_vectors(C, [&](int64_t c, int64_t lanes) {
      const Term term(from, (first + q) * C + c, lanes);
      for (int64_t w = s.first; w < s.first + s.count; ++w) {
        const int64_t here = (row * W + w) * C + c;
        const vfloat x = factor.value(here, lanes);
        const vfloat part = term.to((int32_t)(plane * W + w), x);
        const vfloat share = factor.scaled(part, x);
        streams ? stream(dsrc + here, share) : store_lanes(dsrc + here, share, lanes);
      }
    });
  }
}

template <class Term, class Factor, class T>
static void gather(const WindowGeometry& g, const typename Term::Operands& from,
                   const Factor& factor, T* dsrc) {
  const auto row_of = disjoint(g) ? scatter_row<Term, Factor, T> : gather_row<Term, Factor, T>;
  const int64_t width = g.input[2] * (g.in_channels < kLanes ? kLanes : g.in_channels);
  const int64_t rows = g.batch * g.input[0] * g.input[1];
  const bool streams =
      g.in_channels % kLanes == 0 &&
      worth_streaming(dsrc, rows * g.input[2] * g.in_channels * int64_t{sizeof(T)});
  parallel_blocks(rows, ceil_div(8192, width), 4 * width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) row_of(g, row, from, factor, streams, dsrc);
    if (streams) stream_end();
  });
}

// Calls body(at, count) for each output position: its offset, and its taps inside the input.
template <class Body>
static void for_outputs(const WindowGeometry& g, const Body& body) {
  const int64_t O = g.output[0], P = g.output[1], Q = g.output[2], C = g.in_channels;
  parallel_blocks(g.batch * O * P, ceil_div(8192, Q * C), Q * C, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t taps = span(g, 0, row / P % O).count * span(g, 1, row % P).count;
      for (int64_t q = 0; q < Q; ++q) body((row * Q + q) * C, taps * span(g, 2, q).count);
    }
  });
}

template <class T>
static void differentiate_max(const KernelCall& call) {
  const typename Chosen<T>::Operands from{input<T>(call, 0), input<int32_t>(call, 1)};
  gather<Chosen<T>>(attrs<PoolAttrs>(call).geometry, from, Unchanged{}, output<T>(call, 0));
}

template <class T>
static void differentiate_average(const KernelCall& call) {
  const PoolAttrs& a = attrs<PoolAttrs>(call);
  const WindowGeometry& g = a.geometry;
  const T* ddst = input<T>(call, 0);
  float* share = static_cast<float*>(call.workspace);
  const int64_t whole = g.kernel[0] * g.kernel[1] * g.kernel[2];
  for_outputs(g, [&](int64_t at, int64_t taps) {
    const vfloat divisor = splat((float)(a.count_include_pad || taps == 0 ? whole : taps));
    channel_vectors(g.in_channels, [&](int64_t c, int64_t lanes) {
      store_lanes(share + at + c, load_lanes(ddst + at + c, lanes) / divisor, lanes);
    });
  });
  gather<Share>(g, share, Unchanged{}, output<T>(call, 0));
}

}  // namespace

int64_t pool_backward_workspace(const KernelCall& call) {
  return elements(call.inputs[0]) * int64_t{sizeof(float)};
}

void max_pool_backward(const KernelCall& call) {
  with_float(call, [&](auto tag) { differentiate_max<typename decltype(tag)::type>(call); });
}

void average_pool_backward(const KernelCall& call) {
  with_float(call, [&](auto tag) { differentiate_average<typename decltype(tag)::type>(call); });
}

int64_t lp_pool_backward_workspace(const KernelCall& call) {
  const float p = attrs<PoolAttrs>(call).p;
  return p == 1 || p == 2 ? pool_backward_workspace(call) : 0;
}

// dsrc = sum of ddst (|x| / dst)^(p-1), with the sign of x; 0 where x or dst is 0.
void lp_pool_backward(const KernelCall& call) {
  const PoolAttrs& a = attrs<PoolAttrs>(call);
  const WindowGeometry& g = a.geometry;
  const float *ddst = input<float>(call, 0), *dst = input<float>(call, 2);
  const Source source{input<float>(call, 1)};
  float* dsrc = output<float>(call, 0);
  if (a.p != 1 && a.p != 2) return gather<PowerShare>(g, {ddst, dst, a.p}, source, dsrc);
  float* share = static_cast<float*>(call.workspace);
  for_outputs(g, [&](int64_t at, int64_t) {
    channel_vectors(g.in_channels, [&](int64_t c, int64_t lanes) {
      const vfloat y = load_lanes(dst + at + c, lanes), dy = load_lanes(ddst + at + c, lanes);
      store_lanes(share + at + c, y == vfloat{} ? vfloat{} : a.p == 1 ? dy : dy / y, lanes);
    });
  });
  if (a.p == 1)
    gather<Share>(g, share, TimesSign{source}, dsrc);
  else
    gather<Share>(g, share, TimesSource{source}, dsrc);
}

}  // namespace fastconv::cpu::FASTCONV_ISA
