// Batch normalisation over the last axis (Ioffe and Szegedy 2015), forward and inference.
#include "norm.h"
#include "norm_batch.h"
#include "statistics.h"

namespace fastconv::cuda {
namespace {

// The same, and what the pass reads that applies them.
struct Applied {
  Statistics given;
  float *mean, *scale;
  const float* gamma;
  __device__ void keep(int64_t channel, float centre, float spread) const {
    mean[channel] = centre;
    scale[channel] = gamma[channel] * given.keep(channel, centre, spread);
  }
};

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
  const Matrix x = matrix_of(call.inputs[0]);
  if (x.channels == 0) return;
  float *mean = workspace<float>(call), *scale = mean + x.channels;
  const Applied out = {statistics_of(call, attrs<BatchNormAttrs>(call).epsilon), mean, scale,
                       input<float>(call, 1)};
  with_shape(call, [&](auto tag, auto width, auto any) {
    using T = typename decltype(tag)::type;
    constexpr int W = width.value;
    join_moments(call, columns_to_join(x.rows, x.channels, W),
                 RowMoments<T, W>{input<T>(call, 0), x.channels}, x.rows, scale + x.channels, out);
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
