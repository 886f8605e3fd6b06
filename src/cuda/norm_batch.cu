// Batch normalisation over the last axis (Ioffe and Szegedy 2015), forward and inference.
#include "norm.h"
#include "norm_batch.h"

namespace fastconv::cuda {
namespace {

// Sums of src and of its squares, about the first row of the chunk.
template <class T, int W>
struct Moments {
  static constexpr int kWidth = W, kSums = 2;
  const T* src;
  int64_t channels;
  struct Own {
    struct Row {
      Pack<T, W> x;
    };
    static constexpr int kAhead = rows_ahead<T, W>(1);
    const T* src;
    int64_t channels;
    float pivot[W];
    __device__ __forceinline__ Row read(int64_t row) const {
      Row r;
      load(src + row * channels, r.x);
      return r;
    }
    __device__ __forceinline__ void add(int64_t, const Row& r, float (&sums)[2][W]) const {
#pragma unroll
      for (int w = 0; w < W; ++w) {
        const float apart = r.x[w] - pivot[w];
        sums[0][w] += apart;
        sums[1][w] += apart * apart;
      }
    }
  };
  __device__ __forceinline__ Own own(int64_t channel, int64_t row) const {
    Own o = {src + channel, channels, {}};
    load(src + row * channels + channel, o.pivot);
    return o;
  }
};

struct Statistics {
  float *mean, *rstd, *variance;  // null: nobody wants it
  float *kept_mean, *scale;       // for the pass that applies them
  const float* gamma;
  float epsilon;

  __device__ void keep(int64_t channel, float centre, float spread) const {
    const float inverse = 1.0f / sqrtf(spread + epsilon);
    if (mean) mean[channel] = centre;
    if (rstd) rstd[channel] = inverse;
    if (variance) variance[channel] = spread;
    kept_mean[channel] = centre;
    scale[channel] = gamma[channel] * inverse;
  }
};

// What is left of a chunk: its mean, less the first row of all, and the sum of squares about it:
// partial[chunk, 2, channel]. They are joined (Chan, Golub and LeVeque 1983) in float64.
template <class T>
struct KeepMoments {
  Columns m;
  const T* src;
  float* partial;
  double share;  // 1 / rows
  Statistics out;

  __device__ void operator()(int64_t chunk, int64_t channel, const float (&sums)[2]) const {
    const float count = (float)m.rows_of(chunk), shift = sums[0] / count;
    const float first = to_float(src[channel]);
    const float mean = to_float(src[chunk * m.chunk * m.columns + channel]) - first + shift;
    const float rest = sums[1] - sums[0] * shift, squares = rest < 0 ? 0.0f : rest;
    if (m.chunks == 1) return out.keep(channel, mean + first, squares / count);
    partial[chunk * 2 * m.columns + channel] = mean;
    partial[(chunk * 2 + 1) * m.columns + channel] = squares;
  }
  __device__ void add(int64_t chunk, int64_t channel, double (&totals)[2]) const {
    const double mean = partial[chunk * 2 * m.columns + channel];
    const double sum = (double)m.rows_of(chunk) * mean;
    totals[0] += sum;
    totals[1] += (double)partial[(chunk * 2 + 1) * m.columns + channel] + sum * mean;
  }
  __device__ void finish(int64_t channel, const double (&totals)[2]) const {
    const double mean = totals[0] * share, variance = totals[1] * share - mean * mean;
    out.keep(channel, (float)mean + to_float(src[channel]), variance < 0 ? 0.0f : (float)variance);
  }
};

// Of an empty batch.
void no_moments(const KernelCall& call, int64_t channels, const Statistics& out) {
  for_each(call, channels, [=] __device__(int64_t c) { out.keep(c, 0, 0); });
}

template <class T, int W>
void moments(const KernelCall& call, const Statistics& out, float* partial) {
  const Matrix x = matrix_of(call.inputs[0]);
  const Columns m = columns_to_join(x.rows, x.channels, W);
  const T* src = input<T>(call, 0);
  if (x.rows == 0) return no_moments(call, x.channels, out);
  join_chunks(call, m, 0, Add{}, Moments<T, W>{src, x.channels},
              KeepMoments<T>{m, src, partial, 1.0 / (double)x.rows, out});
}

// dst = activation((src - mean) scale + beta + add), where scale is at hand, or gamma and the
// variance are.
template <class T, int W, bool Any>
struct Normalise {
  static constexpr int kWidth = W;
  const T *src, *add;
  T* dst;
  int64_t channels;
  const float *mean, *scale, *beta, *gamma, *variance;
  float epsilon, alpha;
  Activation activation;

  struct Own {
    struct Row {
      Pack<T, W> x, add;
    };
    static constexpr int kAhead = rows_ahead<T, W>(2);
    const Normalise& n;
    int64_t channel;
    float mean[W], scale[W], beta[W];
    __device__ __forceinline__ Row read(int64_t row) const {
      Row r = {};
      load(n.src + row * n.channels + channel, r.x);
      if (n.add) load(n.add + row * n.channels + channel, r.add);
      return r;
    }
    __device__ __forceinline__ void write(int64_t row, const Row& r) const {
      float y[W];
#pragma unroll
      for (int w = 0; w < W; ++w) {
        const float z = affine(r.x[w], mean[w], scale[w], beta[w]);
        y[w] = activate_as<Any>(n.activation, n.alpha, n.add ? z + r.add[w] : z);
      }
      store(n.dst + row * n.channels + channel, y);
    }
  };
  __device__ __forceinline__ Own own(int64_t channel) const {
    Own o = {*this, channel, {}, {}, {}};
    load(mean + channel, o.mean);
    load(beta + channel, o.beta);
    if (scale) {
      load(scale + channel, o.scale);
      return o;
    }
#pragma unroll
    for (int w = 0; w < W; ++w)
      o.scale[w] = gamma[channel + w] * (1.0f / sqrtf(variance[channel + w] + epsilon));
    return o;
  }
};

// `operands`: the input that is added, if there is one.
template <class T, int W, bool Any>
void normalise(const KernelCall& call, int operands, const float* mean, const float* scale,
               const float* variance) {
  const auto& a = attrs<BatchNormAttrs>(call);
  const Epilogue& e = a.epilogue;
  const Matrix x = matrix_of(call.inputs[0]);
  T* dst = output<T>(call, 0);
  if (!dst) return;
  map_columns(
      call, x.rows, x.channels,
      Normalise<T, W, Any>{input<T>(call, 0), e.add ? input<T>(call, operands) : nullptr, dst,
                           x.channels, mean, scale, input<float>(call, 2), input<float>(call, 1),
                           variance, a.epsilon, e.alpha, e.activation});
}

}  // namespace

int64_t batch_norm_workspace(const KernelCall& call) {
  const Matrix m = matrix_of(call.inputs[0]);
  return columns_workspace(m.rows, m.channels, 2) + 8 * m.channels;
}

void batch_norm(const KernelCall& call) {
  const int64_t channels = matrix_of(call.inputs[0]).channels;
  if (channels == 0) return;
  float *mean = workspace<float>(call), *scale = mean + channels;
  const Statistics out = {output<float>(call, 1),
                          output<float>(call, 2),
                          output<float>(call, 3),
                          mean,
                          scale,
                          input<float>(call, 1),
                          attrs<BatchNormAttrs>(call).epsilon};
  with_shape(call, [&](auto tag, auto width, auto any) {
    using T = typename decltype(tag)::type;
    moments<T, width.value>(call, out, scale + channels);
    normalise<T, width.value, any.value>(call, 3, mean, scale, nullptr);
  });
}

void batch_norm_inference(const KernelCall& call) {
  with_shape(call, [&](auto tag, auto width, auto any) {
    normalise<typename decltype(tag)::type, width.value, any.value>(call, 5, input<float>(call, 3),
                                                                    nullptr, input<float>(call, 4));
  });
}

}  // namespace fastconv::cuda
