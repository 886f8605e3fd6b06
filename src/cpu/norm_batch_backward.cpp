// Batch normalisation, backward: two passes, one for the sums and one for dsrc. The derivative of
// the activation that followed is applied on the way.
#include "norm.h"
#include "norm_batch.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// The gradient before the activation, at some columns: (row, src there) -> vector. Three ways:
// there was no activation; its argument is computed again; its result is at hand, and the gradient
// is kept, for it is also that of what was added.
template <class T>
struct Plain {
  const T* ddst;
  int64_t width;
  struct At {
    const T* ddst;
    int64_t width, lanes;
    vfloat operator()(int64_t row, vfloat) const { return load_lanes(ddst + row * width, lanes); }
  };
  At columns(int64_t v, int64_t lanes) const { return {ddst + v, width, lanes}; }
};

template <class Slope, class T>
struct Again {
  const T* ddst;
  int64_t width;
  Affine affine;
  Slope slope;
  struct At {
    const T* ddst;
    int64_t width, lanes;
    AffineColumns affine;
    Slope slope;
    vfloat operator()(int64_t row, vfloat x) const {
      return slope.of_argument(load_lanes(ddst + row * width, lanes), affine(x));
    }
  };
  At columns(int64_t v, int64_t lanes) const {
    return {ddst + v, width, lanes, AffineColumns(affine, v, lanes), slope};
  }
};

template <class Slope, class T>
struct Kept {
  const T* ddst;
  int64_t width;
  const T* dst;
  T* dadd;
  Slope slope;
  struct At {
    const Kept& from;
    int64_t v, lanes;
    vfloat operator()(int64_t row, vfloat) const {
      const int64_t at = row * from.width + v;
      const vfloat dy = load_lanes(from.ddst + at, lanes), y = load_lanes(from.dst + at, lanes);
      const vfloat d = from.slope.of_result(dy, y);
      store_lanes(from.dadd + at, d, lanes);
      return d;
    }
  };
  At columns(int64_t v, int64_t lanes) const { return {*this, v, lanes}; }
};

// An activation whose derivative is the same function of its argument as of its result.
template <Activation A>
struct Threshold {
  vfloat of_result(vfloat dy, vfloat y) const { return activate_gradient<A>(0, dy, y); }
  vfloat of_argument(vfloat dy, vfloat y) const { return activate_gradient<A>(0, dy, y); }
};

struct AnySlope {
  Activation activation;
  float alpha;
  __attribute__((noinline)) vfloat of_result(vfloat dy, vfloat y) const {
    return activate_gradient(activation, alpha, dy, y);
  }
  __attribute__((noinline)) vfloat of_argument(vfloat dy, vfloat x) const {
    const bool result = activation_saves_output(activation);
    return activate_gradient(activation, alpha, dy, result ? activate(activation, alpha, x) : x);
  }
};

template <class F>
void with_slope(const Epilogue& e, const F& f) {
  switch (e.activation) {
    case Activation::relu: return f(Threshold<Activation::relu>{});
    case Activation::relu6: return f(Threshold<Activation::relu6>{});
    default: return f(AnySlope{e.activation, e.alpha});
  }
}

// Leaves the sums over rows of the gradient d in `total` and of d (src - mean) in `product`, [C].
template <class Gradient, class T>
void sum_products(const Columns& c, const Gradient& gradient, const Source<T>& src,
                  const Scratch& s, float* total, float* product) {
  const float* means = s.wide[0];
  sum_tiles(c, 4, s, [&](const Tile& t) {
    touch(c, t, src);
    touch(c, t, Part<T>{gradient.ddst + t.begin, c.width, t.begin, t.end});
    sum_rows(c, src, t, s.first + t.index * c.width, s.second + t.index * c.width,
             [&](int64_t v, int64_t lanes) {
               return
                   [=, gradient = gradient.columns(v, lanes), mean = load_lanes(means + v, lanes)](
                       int64_t row, vfloat x, vfloat& a, vfloat& b) {
                     const vfloat d = gradient(row, x);
                     a += d;
                     b += d * (x - mean);
                   };
             });
  });
  finish_sums(c, s.wide[5], total, s.first);
  finish_sums(c, s.wide[5], product, s.second);
}

// dsrc = scale (d - shift - (src - mean) slope), spread, and what is added to it, which may have
// longer rows.
template <class T>
struct Step {
  const float *mean, *scale, *shift, *slope;
  const T* sum;
  int64_t sum_step;
};

template <class Gradient, class T>
void apply(const Columns& c, const Gradient& gradient, const Step<T>& f, const Source<T>& src,
           T* dsrc) {
  map_columns(c, src, 3, dsrc, [&](int64_t v, int64_t lanes) {
    const auto at_v = [&](const float* p) { return load_lanes(p + v, lanes); };
    return [=, gradient = gradient.columns(v, lanes), mean = at_v(f.mean), scale = at_v(f.scale),
            shift = at_v(f.shift), slope = at_v(f.slope), sum = f.sum,
            step = f.sum_step](int64_t row, vfloat x) {
      const vfloat dx = (gradient(row, x) - shift - (x - mean) * slope) * scale;
      return sum ? dx + load_lanes(sum + row * step + v, lanes) : dx;
    };
  });
}

// Those that there always are; parts of src, and what is added to dsrc, come behind them.
int operands(const KernelCall& call) {
  return attrs<BatchNormAttrs>(call).epilogue.activation == Activation::identity ? 5 : 6;
}

Columns backward_columns(const KernelCall& call) {
  return columns_of(call.inputs[0], call.n_inputs == operands(call));
}

// With d the gradient before the activation, x^ = (src - mean) rstd and means over the M rows:
// dsrc = gamma rstd (d - mean(d) - x^ mean(d x^)). `second` is the gradient for the second pass.
template <class T, class First, class Second>
void differentiate(const KernelCall& call, const Columns& c, const Scratch& s, const First& first,
                   const Second& second) {
  const int next = operands(call), behind = behind_parts(call, 1, next, c.channels);
  const Source<T> src = {call, 1, next};
  const bool adds = behind < call.n_inputs;
  const float* gamma = input<float>(call, 2);
  const float* rstd = input<float>(call, 4);
  float *total = s.wide[1], *product = s.wide[2], *narrow = s.wide[5];
  sum_products(c, first, src, s, total, product);
  for (int64_t i = 0; i < c.channels; ++i) product[i] *= rstd[i];
  copy_if_wanted(call, 1, product, c.channels);
  copy_if_wanted(call, 2, total, c.channels);
  if (!output<T>(call, 0) || c.rows == 0) return;
  for (int64_t i = 0; i < c.channels; ++i) narrow[i] = total[i] / (float)c.rows;
  spread_columns(c, narrow, s.wide[3]);
  for (int64_t i = 0; i < c.channels; ++i) narrow[i] = product[i] * rstd[i] / (float)c.rows;
  spread_columns(c, narrow, s.wide[4]);
  for (int64_t i = 0; i < c.channels; ++i) narrow[i] = gamma[i] * rstd[i];
  spread_columns(c, narrow, s.wide[1]);
  const Step<T> step = {s.wide[0],
                        s.wide[1],
                        s.wide[3],
                        s.wide[4],
                        adds ? input<T>(call, behind) : nullptr,
                        adds ? channels_of(call.inputs[behind]) : 0};
  apply(c, second, step, src, output<T>(call, 0));
}

// mean, gamma rstd and beta, spread: the first is in wide[0].
Affine affine_of(const KernelCall& call, const Columns& c, const Scratch& s) {
  const float *gamma = input<float>(call, 2), *rstd = input<float>(call, 4);
  for (int64_t i = 0; i < c.channels; ++i) s.wide[5][i] = gamma[i] * rstd[i];
  spread_columns(c, s.wide[5], s.wide[6]);
  spread_columns(c, input<float>(call, 5), s.wide[7]);
  return {s.wide[0], s.wide[6], s.wide[7]};
}

template <class T>
void run(const KernelCall& call) {
  const Columns c = backward_columns(call);
  const Scratch s = scratch(call, c, true);
  const Epilogue& e = attrs<BatchNormAttrs>(call).epilogue;
  const T* ddst = input<T>(call, 0);
  spread_columns(c, input<float>(call, 3), s.wide[0]);
  if (e.activation == Activation::identity) {
    const Plain<T> plain = {ddst, c.width};
    return differentiate<T>(call, c, s, plain, plain);
  }
  with_slope(e, [&](auto slope) {
    if (e.add) {
      T* dadd = output<T>(call, 3);
      const Kept<decltype(slope), T> kept = {ddst, c.width, input<T>(call, 5), dadd, slope};
      return differentiate<T>(call, c, s, kept, Plain<T>{dadd, c.width});
    }
    const Again<decltype(slope), T> again = {ddst, c.width, affine_of(call, c, s), slope};
    differentiate<T>(call, c, s, again, again);
  });
}

}  // namespace

int64_t batch_norm_backward_workspace(const KernelCall& call) {
  return 4 * scratch_floats(backward_columns(call), true);
}

void batch_norm_backward(const KernelCall& call) {
  with_float(call, [&](auto tag) { run<typename decltype(tag)::type>(call); });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
