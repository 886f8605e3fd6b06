// Batch normalisation over the last axis (Ioffe and Szegedy 2015), forward and inference.
#include "norm.h"
#include "norm_batch.h"

namespace fastconv::cuda {
namespace {

// Mean of each chunk of rows, and the sum of squares about it: partial[chunk, 2, channel].
struct Moments {
  static constexpr int kThreads = kColumnThreads;
  using Shared = ColumnShared<float, kColumnLanes>;
  int64_t rows, channels;
  Chunks chunks;
  const float* src;
  float* partial;

  __device__ void operator()(Shared& shared) const {
    const int64_t chunk = chunks.across((int64_t)blockIdx.x);
    const int64_t left = (blockIdx.x - chunk * chunks.across.size()) * kWarp;
    const int64_t channel = left + threadIdx.x % kWarp;
    const int64_t begin = chunk * chunks.rows + threadIdx.x / kWarp;
    const int64_t end = chunk * chunks.rows + rows_of(chunk);
    const bool inside = channel < channels;
    const float pivot = inside && rows > 0 ? src[channel] : 0.0f;
    float sum = 0, squares = 0;
#pragma unroll 4
    for (int64_t row = begin; inside && row < end; row += kColumnLanes)
      sum += src[row * channels + channel] - pivot;
    sum = join_column(sum, Add{}, shared);
    const float mean = rows_of(chunk) > 0 ? sum / (float)rows_of(chunk) : 0.0f;
#pragma unroll 4
    for (int64_t row = begin; inside && row < end; row += kColumnLanes) {
      const float apart = src[row * channels + channel] - pivot - mean;
      squares += apart * apart;
    }
    squares = join_column(squares, Add{}, shared);
    if (threadIdx.x >= kWarp || !inside) return;
    partial[chunk * 2 * channels + channel] = mean;
    partial[(chunk * 2 + 1) * channels + channel] = squares;
  }

  __host__ __device__ int64_t rows_of(int64_t chunk) const {
    const int64_t left = rows - chunk * chunks.rows;
    return left < chunks.rows ? left : chunks.rows;
  }
};

struct Statistics {
  float *mean, *rstd, *variance;  // null: nobody wants it
  float *kept_mean, *scale;       // for the pass that applies them
};

// Chan, Golub and LeVeque 1983: the chunks' moments joined in float64, in their order.
struct JoinMoments {
  static constexpr int kThreads = kJoinThreads;
  using Shared = ColumnShared<double, kJoinLanes>;
  Moments moments;
  const float* gamma;
  float epsilon;
  Statistics out;

  __device__ void operator()(Shared& shared) const {
    const int64_t channels = moments.channels, rows = moments.rows;
    const int64_t channel = (int64_t)blockIdx.x * kWarp + threadIdx.x % kWarp;
    const bool inside = channel < channels;
    const double count = rows > 0 ? (double)rows : 1.0;
    double mean = 0, squares = 0;
#pragma unroll 4
    for (int64_t i = threadIdx.x / kWarp; inside && i < moments.chunks.count; i += kJoinLanes)
      mean += (double)moments.rows_of(i) * moments.partial[i * 2 * channels + channel];
    mean = join_column(mean, Add{}, shared) / count;
#pragma unroll 4
    for (int64_t i = threadIdx.x / kWarp; inside && i < moments.chunks.count; i += kJoinLanes) {
      const double apart = moments.partial[i * 2 * channels + channel] - mean;
      squares += moments.partial[(i * 2 + 1) * channels + channel];
      squares += (double)moments.rows_of(i) * apart * apart;
    }
    const float variance = (float)(join_column(squares, Add{}, shared) / count);
    if (threadIdx.x >= kWarp || !inside) return;
    const float pivot = rows > 0 ? moments.src[channel] : 0.0f;
    keep(channel, (float)mean + pivot, variance, 1.0f / sqrtf(variance + epsilon));
  }

  __device__ void keep(int64_t channel, float mean, float variance, float rstd) const {
    if (out.mean) out.mean[channel] = mean;
    if (out.rstd) out.rstd[channel] = rstd;
    if (out.variance) out.variance[channel] = variance;
    out.kept_mean[channel] = mean;
    out.scale[channel] = gamma[channel] * rstd;
  }
};

// dst = activation((src - mean) scale + beta + add).
template <class Scale>
void normalise(const KernelCall& call, const Matrix& m, const float* mean, const Scale& scale,
               const float* beta, int operands) {
  const Epilogue e = attrs<BatchNormAttrs>(call).epilogue;
  const float* src = input<float>(call, 0);
  float* dst = output<float>(call, 0);
  const int64_t count = m.rows * m.channels;
  const auto y = [=] __device__(int64_t i, float x, float add) {
    const int64_t c = m.channel(i);
    return activate(e.activation, e.alpha, affine(x, mean[c], scale(c), beta[c]) + add);
  };
  if (!dst) return;
  if (e.add)
    map_at(call, dst, count, y, src, input<float>(call, operands));
  else
    map_at(call, dst, count, [=] __device__(int64_t i, float x) { return y(i, x, -0.0f); }, src);
}

}  // namespace

int64_t batch_norm_workspace(const KernelCall& call) {
  const Matrix m = matrix_of(call.inputs[0]);
  return columns_workspace(m.rows, m.channels, 2) + 8 * m.channels;
}

void batch_norm(const KernelCall& call) {
  const Matrix m = matrix_of(call.inputs[0]);
  if (m.channels == 0) return;
  const Chunks chunks = chunks_of(m.rows, m.channels);
  float *mean = workspace<float>(call), *scale = mean + m.channels;
  const Moments moments = {m.rows, m.channels, chunks, input<float>(call, 0), scale + m.channels};
  launch(call, moments, chunks.count * chunks.across.size());
  const Statistics out = {output<float>(call, 1), output<float>(call, 2), output<float>(call, 3),
                          mean, scale};
  launch(call,
         JoinMoments{moments, input<float>(call, 1), attrs<BatchNormAttrs>(call).epsilon, out},
         chunks.across.size());
  normalise(
      call, m, mean, [=] __device__(int64_t c) { return scale[c]; }, input<float>(call, 2), 3);
}

void batch_norm_inference(const KernelCall& call) {
  const float *gamma = input<float>(call, 1), *variance = input<float>(call, 4);
  const float epsilon = attrs<BatchNormAttrs>(call).epsilon;
  normalise(
      call, matrix_of(call.inputs[0]), input<float>(call, 3),
      [=] __device__(int64_t c) { return gamma[c] * (1.0f / sqrtf(variance[c] + epsilon)); },
      input<float>(call, 2), 5);
}

}  // namespace fastconv::cuda
