// Depthwise convolution along H and W, of whole packs of channels: it waits for memory. A thread
// has eight channels of a few pixels side by side; what neighbours read as well comes from L1.
#include "columns.h"
#include "conv.h"
#include "finish.h"

namespace fastconv::cuda {
namespace {

constexpr int kPixels = 4, kChannels = 8;

// Pixel i of what is written reads, by a tap, one of the other map, or none (-1).
struct Reach {
  int32_t size, stride, dilation, pad;
  Divisor steps;  // backward: the stride
  template <bool Backward>
  __device__ __forceinline__ int32_t pixel(int32_t i, int32_t tap) const {
    if constexpr (!Backward) {
      const int32_t at = i * stride - pad + tap * dilation;
      return (uint32_t)at < (uint32_t)size ? at : -1;
    } else {
      const int32_t distance = i + pad - tap * dilation;
      if (distance < 0) return -1;
      const int32_t at = steps.narrow(distance);
      return at < size && at * stride == distance ? at : -1;
    }
  }
};

Reach reach_of(const WindowGeometry& g, int axis, bool backward) {
  const int64_t size = backward ? g.output[axis] : g.input[axis];
  return {(int32_t)size, (int32_t)g.stride[axis], (int32_t)g.dilation[axis],
          (int32_t)g.pad_before[axis], Divisor(g.stride[axis])};
}

template <class T, bool Backward>
struct Depthwise {
  static constexpr int kThreads = 128, kBlocks = 4;
  const T *src, *weights;
  int32_t window[2];  // R S
  Reach down, across;
  Divisor height, width, runs, packs;  // of what is written; packs of channels
  int64_t count;                       // of threads
  bool aligned;                        // the weights
  Finish<T> finish;

  __device__ void operator()() const {
    const int64_t index = thread_index();
    if (index >= count) return;
    const int32_t line = packs.narrow((int32_t)index), row = runs.narrow(line);
    const int32_t channel = ((int32_t)index - line * (int32_t)packs.size()) * kChannels;
    const int32_t left = (line - row * (int32_t)runs.size()) * kPixels;
    const int32_t sample = height.narrow(row), h = row - sample * (int32_t)height.size();
    float sums[kPixels][1][kChannels] = {};  // a row each
    add_taps(sample, h, left, channel, sums);
    const int32_t C = (int32_t)packs.size() * kChannels;
    const auto columns = finish.columns(channel);
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      const int64_t at[] = {(row * width.size() + left + i) * C + channel};
      if (left + i < width.size()) finish.put_rows(at, columns, sums[i]);
    }
  }

  __device__ __forceinline__ void add_taps(int32_t sample, int32_t h, int32_t left, int32_t channel,
                                           float (&sums)[kPixels][1][kChannels]) const {
    const int32_t C = (int32_t)packs.size() * kChannels;
#pragma unroll 1
    for (int32_t r = 0; r < window[0]; ++r) {
      const int32_t y = down.template pixel<Backward>(h, r);
      if (y < 0) continue;
      const T* line = src + (int64_t)(sample * down.size + y) * across.size * C + channel;
#pragma unroll 1
      for (int32_t s = 0; s < window[1]; ++s) {
        float weight[kChannels], x[kPixels][kChannels] = {};
        load_weights((r * window[1] + s) * C + channel, weight);
#pragma unroll
        for (int i = 0; i < kPixels; ++i) {
          const int32_t at = across.template pixel<Backward>(left + i, s);
          if (at >= 0) load_eight(line + (int64_t)at * C, x[i]);
        }
#pragma unroll
        for (int i = 0; i < kPixels; ++i)
#pragma unroll
          for (int c = 0; c < kChannels; ++c) sums[i][0][c] += x[i][c] * weight[c];
      }
    }
  }

  __device__ __forceinline__ void load_weights(int32_t at, float (&weight)[kChannels]) const {
    if (aligned) return load_eight(weights + at, weight);
#pragma unroll
    for (int c = 0; c < kChannels; ++c) weight[c] = widen(weights[at + c]);
  }
};

template <class T, bool Backward>
void run(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const Epilogue& epilogue = attrs<ConvAttrs>(call).epilogue;
  const int64_t (&written)[3] = Backward ? g.input : g.output;
  Depthwise<T, Backward> d = {};
  d.src = input<T>(call, 0), d.weights = input<T>(call, 1);
  d.finish = finish_of<T>(call, epilogue);
  d.aligned = is_aligned(d.weights);
  if (!is_aligned(d.src) || !d.finish.aligned())  // from elsewhere
    return Backward ? conv_backward_data_direct(call) : conv_direct(call);
  for (int i = 0; i < 2; ++i) d.window[i] = (int32_t)g.kernel[1 + i];
  d.down = reach_of(g, 1, Backward), d.across = reach_of(g, 2, Backward);
  d.height = Divisor(written[1]), d.width = Divisor(written[2]);
  d.runs = Divisor(ceil_div(written[2], kPixels)), d.packs = Divisor(g.in_channels / kChannels);
  d.count = g.batch * written[0] * written[1] * d.runs.size() * d.packs.size();
  launch(call, d, ceil_div(d.count, d.kThreads));
  finish_activation<T>(call, epilogue);
}

// Sums over output pixels, of three taps at once: columns are channels, for each three taps.
template <class T>
struct TapSums {
  static constexpr int kWidth = kPack<T>, kSums = 3;
  const T *src, *ddst;
  int32_t window, taps;  // S, R S
  Reach down, across;
  Divisor height, width, channels;

  struct Own {
    struct Row {
      Pack<T, kWidth> ddst, src[kSums];
    };
    const TapSums& t;
    int32_t channel, tap[kSums][2];

    __device__ __forceinline__ Row read(int64_t row) const {
      Row read;
      const int32_t line = t.width.narrow((int32_t)row), sample = t.height.narrow(line);
      const int32_t p = line - sample * (int32_t)t.height.size();
      const int32_t q = (int32_t)row - line * (int32_t)t.width.size();
      load(t.ddst + row * t.channels.size() + channel, read.ddst);
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        read.src[i] = {};
        const int32_t y = t.down.template pixel<false>(p, tap[i][0]);
        const int32_t x = t.across.template pixel<false>(q, tap[i][1]);
        if (y < 0 || x < 0) continue;
        const int64_t at = (int64_t)(sample * t.down.size + y) * t.across.size + x;
        load(t.src + at * t.channels.size() + channel, read.src[i]);
      }
      return read;
    }
    __device__ __forceinline__ void add(int64_t, const Row& read,
                                        float (&sums)[kSums][kWidth]) const {
#pragma unroll
      for (int i = 0; i < kSums; ++i)
#pragma unroll
        for (int c = 0; c < kWidth; ++c) sums[i][c] += read.src[i][c] * read.ddst[c];
    }
  };
  __device__ __forceinline__ Own own(int64_t column, int64_t) const {
    const int32_t first = channels.narrow((int32_t)column);
    Own o = {*this, (int32_t)column - first * (int32_t)channels.size(), {}};
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      const int32_t tap = first * kSums + i;
      o.tap[i][0] = tap / window, o.tap[i][1] = tap % window;
    }
    return o;
  }
};

template <class T>
void backward_weights(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const int64_t C = g.in_channels;
  TapSums<T> t = {};
  t.src = input<T>(call, 0), t.ddst = input<T>(call, 1);
  if (!is_aligned(t.src) || !is_aligned(t.ddst)) return conv_backward_weights_direct(call);
  t.window = (int32_t)g.kernel[2], t.taps = (int32_t)window_taps(g);
  t.down = reach_of(g, 1, false), t.across = reach_of(g, 2, false);
  t.height = Divisor(g.output[1]), t.width = Divisor(g.output[2]), t.channels = Divisor(C);
  float* dweights = output<float>(call, 0);
  const Divisor channels(C);
  const int32_t taps = t.taps;
  sum_columns(
      call, output_pixels(g), ceil_div(taps, t.kSums) * C, 0, Add{}, t,
      [=] __device__(int64_t column, const double (&totals)[TapSums<T>::kSums]) {
        const int32_t first = channels.narrow((int32_t)column);
        const int64_t channel = column - first * channels.size();
#pragma unroll
        for (int i = 0; i < TapSums<T>::kSums; ++i) {
          const int32_t tap = first * TapSums<T>::kSums + i;
          if (tap < taps) dweights[tap * channels.size() + channel] = (float)totals[i];
        }
      },
      workspace<float>(call));
}

}  // namespace

const char* conv_depthwise_declines(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  if (g.groups != g.in_channels || g.in_channels != g.out_channels) return "not depthwise";
  if (g.in_channels % kChannels != 0) return "channels are not whole packs of 8";
  if (g.kernel[0] != 1 || g.stride[0] != 1 || g.input[0] != g.output[0] || g.pad_before[0] != 0)
    return "windows along a third axis";
  const int64_t pixels = input_pixels(g) > output_pixels(g) ? input_pixels(g) : output_pixels(g);
  if (pixels > INT32_MAX / g.in_channels * 2) return "the elements do not fit 31 bits";
  if (window_taps(g) > INT32_MAX / 4 / g.in_channels) return "the weights do not fit 31 bits";
  return conv_direct_declines(call);
}

void conv_depthwise(const KernelCall& call) {
  all_bfloat16(call) ? run<BFloat16, false>(call) : run<float, false>(call);
}
void conv_backward_data_depthwise(const KernelCall& call) {
  all_bfloat16(call) ? run<BFloat16, true>(call) : run<float, true>(call);
}
void conv_backward_weights_depthwise(const KernelCall& call) {
  all_bfloat16(call) ? backward_weights<BFloat16>(call) : backward_weights<float>(call);
}

int64_t conv_backward_weights_depthwise_workspace(const KernelCall& call) {
  const WindowGeometry& g = geometry(call);
  const int64_t sums = TapSums<float>::kSums;
  const int64_t columns = ceil_div(window_taps(g), sums) * g.in_channels;
  const int64_t bytes = columns_workspace(output_pixels(g), columns, (int)sums);
  const int64_t direct = conv_backward_weights_direct_workspace(call);
  return bytes > direct ? bytes : direct;
}

}  // namespace fastconv::cuda
