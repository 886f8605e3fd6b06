// Which inputs a pooling window covers, and which windows cover an input. A thread has a few
// neighbouring channels of one position.
#pragma once
#include "kernels.h"
#include "pack.h"

namespace fastconv::cuda {

// A position of N D H W C, and the first channel of a thread.
struct Place {
  int64_t sample, at[3], channel;
};

class MapIndex {
 public:
  // `width` channels a thread.
  __host__ MapIndex(const int64_t (&size)[3], int64_t channels, int width)
      : width_(width),
        packs_(channels / width),
        size_{Divisor(size[0]), Divisor(size[1]), Divisor(size[2])} {}
  __device__ __forceinline__ Place place(int64_t i) const {
    const int64_t position = packs_(i), row = size_[2](position), plane = size_[1](row);
    const int64_t sample = size_[0](plane);
    return {sample,
            {plane - sample * size_[0].size(), row - plane * size_[1].size(),
             position - row * size_[2].size()},
            (i - position * packs_.size()) * width_};
  }

 private:
  int width_;
  Divisor packs_, size_[3];
};

// Calls f with the element type and the channels of a thread: a pack of them where all is aligned.
template <class F>
static inline void with_channels(const KernelCall& call, const F& f) {
  const int64_t channels = attrs<PoolAttrs>(call).geometry.in_channels;
  bool aligned = true;
  for (int i = 0; i < call.n_inputs; ++i) aligned = aligned && is_aligned(call.inputs[i].data);
  for (int i = 0; i < call.n_outputs; ++i) aligned = aligned && is_aligned(call.outputs[i].data);
  with_float(call, [&](auto tag) {
    constexpr int width = kPack<typename decltype(tag)::type>;
    if (aligned && channels % width == 0)
      f(tag, Constant<width>{});
    else
      f(tag, Constant<1>{});
  });
}

// The taps of output `out` that fall inside the input, along one axis: `count` of them, from input
// index `first`, `dilation` apart. Positions along an axis fit 32 bits (pool_declines).
struct Span {
  int64_t first, count;
};

// Of a >= 0; b is 1 or 2 in most networks.
__device__ __forceinline__ int32_t quotient(int32_t a, int32_t b) {
  if (b == 1) return a;
  return b == 2 ? a >> 1 : a / b;
}
__device__ __forceinline__ int32_t ceil_quotient(int32_t a, int32_t b) {
  return quotient(a + b - 1, b);
}

__device__ __forceinline__ Span span(const WindowGeometry& g, int axis, int64_t out) {
  const int32_t stride = (int32_t)g.stride[axis], dilation = (int32_t)g.dilation[axis];
  const int32_t origin = (int32_t)out * stride - (int32_t)g.pad_before[axis];
  const int32_t input = (int32_t)g.input[axis];
  int32_t begin = 0, end = (int32_t)g.kernel[axis];
  if (origin < 0) begin = ceil_quotient(-origin, dilation);
  if (origin + (end - 1) * dilation >= input)
    end = origin < input ? ceil_quotient(input - origin, dilation) : 0;
  return {origin + begin * dilation, end > begin ? end - begin : 0};
}

// The outputs [begin, end) whose windows span `input` along one axis. With dilation some of them
// step over it: hits() tells.
struct Cover {
  int32_t begin, end;
};

__device__ __forceinline__ bool hits(const WindowGeometry& g, int axis, int64_t input,
                                     int32_t out) {
  const int32_t dilation = (int32_t)g.dilation[axis];
  if (dilation == 1) return true;
  const int32_t top = (int32_t)input + (int32_t)g.pad_before[axis];
  return (top - out * (int32_t)g.stride[axis]) % dilation == 0;
}

__device__ __forceinline__ Cover cover(const WindowGeometry& g, int axis, int64_t input) {
  const int32_t top = (int32_t)input + (int32_t)g.pad_before[axis];
  const int32_t stride = (int32_t)g.stride[axis], output = (int32_t)g.output[axis];
  if (top < 0) return {0, 0};
  const int32_t low = top - (int32_t)((g.kernel[axis] - 1) * g.dilation[axis]);
  const int32_t end = quotient(top, stride) + 1, begin = low > 0 ? ceil_quotient(low, stride) : 0;
  return {begin, end < output ? end : output};
}

void max_pool_backward(const KernelCall& call);
void average_pool_backward(const KernelCall& call);
void lp_pool_backward(const KernelCall& call);

}  // namespace fastconv::cuda
