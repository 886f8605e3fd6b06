// Batch normalisation, backward: two passes, one for the sums and one for dsrc. The derivative of
// the activation that followed is applied on the way.
#include "norm.h"
#include "norm_batch.h"

namespace fastconv::cuda {
namespace {

// The gradient d before the activation. The activation's argument is computed again from beta, or
// its result is at hand; then d is kept, for it is also the gradient of what was added.
template <class T>
struct Gradient {
  const T *ddst, *src;
  const float *gamma, *mean, *rstd;
  const float* beta;  // null: not at hand
  const T* dst;       // the same
  T* dadd;
  int64_t channels;
  bool saves_output;
  Activation activation;
  float alpha;
};

template <class T>
Gradient<T> gradient_of(const KernelCall& call) {
  const Epilogue& e = attrs<BatchNormAttrs>(call).epilogue;
  const bool active = e.activation != Activation::identity;
  return {input<T>(call, 0),
          input<T>(call, 1),
          input<float>(call, 2),
          input<float>(call, 3),
          input<float>(call, 4),
          active && !e.add ? input<float>(call, 5) : nullptr,
          active && e.add ? input<T>(call, 5) : nullptr,
          active && e.add ? output<T>(call, 3) : nullptr,
          matrix_of(call.inputs[0]).channels,
          activation_saves_output(e.activation),
          e.activation,
          e.alpha};
}

// Of W channels: their parameters, and what a pass reads in a row of them.
template <class T, int W, bool Any>
struct Own {
  struct Row {
    Pack<T, W> dy, x;
  };
  static constexpr int kAhead = rows_ahead<T, W>(2);
  const Gradient<T>& g;
  const T* from;  // ddst, or d that was kept
  int64_t channel;
  float mean[W], scale[W], beta[W];

  __device__ __forceinline__ Own(const Gradient<T>& gradient, const T* d, int64_t first)
      : g(gradient), from(d), channel(first), beta{} {
    load(g.mean + channel, mean);
#pragma unroll
    for (int w = 0; w < W; ++w) scale[w] = g.gamma[channel + w] * g.rstd[channel + w];
    if (g.beta) load(g.beta + channel, beta);
  }
  __device__ __forceinline__ int64_t at(int64_t row) const { return row * g.channels + channel; }
  __device__ __forceinline__ Row read(int64_t row) const {
    Row r;
    load(from + at(row), r.dy);
    load(g.src + at(row), r.x);
    return r;
  }
  // d of channel w.
  __device__ __forceinline__ float gradient(const Row& r, int w) const {
    if (!g.beta) return r.dy[w];
    const float z = affine(r.x[w], mean[w], scale[w], beta[w]);
    const float saved = Any && g.saves_output ? activate_as<Any>(g.activation, g.alpha, z) : z;
    return gradient_as<Any>(g.activation, g.alpha, r.dy[w], saved);
  }
};

// Sums of d and of d (src - mean).
template <class T, int W, bool Any>
struct Sums {
  static constexpr int kWidth = W, kSums = 2;
  Gradient<T> g;
  struct Summed : Own<T, W, Any> {
    using Base = Own<T, W, Any>;
    struct Row : Base::Row {
      Pack<T, W> y;
    };
    using Base::Base;
    __device__ __forceinline__ Row read(int64_t row) const {
      Row r = {Base::read(row), {}};
      if (this->g.dst) load(this->g.dst + this->at(row), r.y);
      return r;
    }
    __device__ __forceinline__ void add(int64_t row, const Row& r, float (&sums)[2][W]) const {
      float d[W];
#pragma unroll
      for (int w = 0; w < W; ++w) {
        d[w] = this->g.dst ? gradient_as<Any>(this->g.activation, this->g.alpha, r.dy[w], r.y[w])
                           : this->gradient(r, w);
        sums[0][w] += d[w];
        sums[1][w] += d[w] * (r.x[w] - this->mean[w]);
      }
      if (this->g.dadd) store(this->g.dadd + this->at(row), d);
    }
  };
  __device__ __forceinline__ Summed own(int64_t channel, int64_t) const {
    return Summed(g, g.ddst, channel);
  }
};

// dsrc = gamma rstd (d - shift - (src - mean) slope).
template <class T, int W, bool Any>
struct Apply {
  static constexpr int kWidth = W;
  Gradient<T> g;
  const float *shift, *slope;
  T* dsrc;
  struct Applied : Own<T, W, Any> {
    using Row = typename Own<T, W, Any>::Row;
    T* dsrc;
    float shift[W], slope[W];
    __device__ __forceinline__ Applied(const Apply& a, int64_t channel)
        : Own<T, W, Any>(a.g, a.g.dadd ? a.g.dadd : a.g.ddst, channel), dsrc(a.dsrc) {
      load(a.shift + channel, shift);
      load(a.slope + channel, slope);
    }
    __device__ __forceinline__ void write(int64_t row, const Row& r) const {
      float dx[W];
#pragma unroll
      for (int w = 0; w < W; ++w) {
        const float rest = this->gradient(r, w) - shift[w] - (r.x[w] - this->mean[w]) * slope[w];
        dx[w] = rest * this->scale[w];
      }
      store(dsrc + this->at(row), dx);
    }
  };
  __device__ __forceinline__ Applied own(int64_t channel) const { return Applied(*this, channel); }
};

// With x^ = (src - mean) rstd and means over the M rows:
// dsrc = gamma rstd (d - mean(d) - x^ mean(d x^)), dgamma = sum(d x^), dbeta = sum(d).
template <class T, int W, bool Any>
void differentiate(const KernelCall& call) {
  const Matrix m = matrix_of(call.inputs[0]);
  const Gradient<T> g = gradient_of<T>(call);
  float *shift = workspace<float>(call), *slope = shift + m.channels;
  float *dgamma = output<float>(call, 1), *dbeta = output<float>(call, 2);
  const double share = m.rows > 0 ? 1.0 / (double)m.rows : 0.0;
  sum_columns(
      call, m.rows, m.channels, 0, Add{}, Sums<T, W, Any>{g},
      [=] __device__(int64_t c, const double* totals) {
        const double product = totals[1] * g.rstd[c];
        shift[c] = (float)(totals[0] * share);
        slope[c] = (float)(product * g.rstd[c] * share);
        if (dgamma) dgamma[c] = (float)product;
        if (dbeta) dbeta[c] = (float)totals[0];
      },
      slope + m.channels);
  if (T* dsrc = output<T>(call, 0))
    map_columns(call, m.rows, m.channels, Apply<T, W, Any>{g, shift, slope, dsrc});
}

}  // namespace

int64_t batch_norm_backward_workspace(const KernelCall& call) {
  const Matrix m = matrix_of(call.inputs[0]);
  return columns_workspace(m.rows, m.channels, 2) + 8 * m.channels;
}

void batch_norm_backward(const KernelCall& call) {
  with_shape(call, [&](auto tag, auto width, auto any) {
    differentiate<typename decltype(tag)::type, width.value, any.value>(call);
  });
}

}  // namespace fastconv::cuda
