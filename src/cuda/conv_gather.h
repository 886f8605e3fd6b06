// Where a convolution reads: an output pixel and a tap of its window with a channel give an element
// of src, or padding; an input pixel and a tap with a filter give an element of ddst, or nothing.
#pragma once
#include "conv.h"
#include "pack.h"

namespace fastconv::cuda {

// Sizes fit 32 bits a piece (conv_implicit_declines); offsets of elements may not.
struct Pixel {
  int64_t sample;  // offset of its first element
  int32_t at[3];
};
struct Tap {
  int32_t at[3], channel;
};

// An index of N O P Q, or of taps and channels, taken apart.
class Split {
 public:
  __host__ Split(const int64_t (&size)[3], int64_t inner)
      : inner_(inner), size_{Divisor(size[0]), Divisor(size[1]), Divisor(size[2])} {}
  struct Parts {
    int64_t outer;
    int32_t at[3], inner;
  };
  __device__ __forceinline__ Parts operator()(int64_t i) const {
    const int64_t position = inner_(i), row = size_[2](position), plane = size_[1](row);
    const int64_t outer = size_[0](plane);
    return {outer,
            {(int32_t)(plane - outer * size_[0].size()), (int32_t)(row - plane * size_[1].size()),
             (int32_t)(position - row * size_[2].size())},
            (int32_t)(i - position * inner_.size())};
  }

 private:
  Divisor inner_, size_[3];
};

// src by output pixel and (tap, channel of the group).
template <class T>
class Windows {
 public:
  __host__ Windows(const WindowGeometry& g, const T* src)
      : src_(src),
        pixels_(g.output, 1),
        taps_(g.kernel, g.in_channels / g.groups),
        channels_(g.in_channels),
        group_(g.in_channels / g.groups),
        sample_(g.input[0] * g.input[1] * g.input[2] * g.in_channels) {
    for (int i = 0; i < 3; ++i) {
      size_[i] = (int32_t)g.input[i];
      output_[i] = (int32_t)g.output[i];
      stride_[i] = (int32_t)g.stride[i];
      pad_[i] = (int32_t)g.pad_before[i];
      dilation_[i] = (int32_t)g.dilation[i];
    }
  }

  // An output pixel that moves on without divisions.
  struct Counter {
    int64_t sample;
    int32_t at[3];
  };
  __device__ __forceinline__ Counter counter(int64_t i) const {
    const Split::Parts p = pixels_(i);
    return {p.outer * sample_, {p.at[0], p.at[1], p.at[2]}};
  }
  __device__ __forceinline__ void advance(Counter& c, int step) const {
    c.at[2] += step;
    while (c.at[2] >= output_[2]) {
      c.at[2] -= output_[2];
      if (++c.at[1] < output_[1]) continue;
      c.at[1] = 0;
      if (++c.at[0] < output_[0]) continue;
      c.at[0] = 0;
      c.sample += sample_;
    }
  }

  __device__ __forceinline__ Pixel pixel(const Counter& c) const {
    return {c.sample,
            {c.at[0] * stride_[0] - pad_[0], c.at[1] * stride_[1] - pad_[1],
             c.at[2] * stride_[2] - pad_[2]}};
  }
  __device__ __forceinline__ Pixel pixel(int64_t i, int64_t slice) const {
    Pixel p = pixel(counter(i));
    p.sample += slice * group_;
    return p;
  }
  __device__ __forceinline__ Tap tap(int64_t i, int64_t slice = 0) const {
    const Split::Parts t = taps_(i);
    return {{t.at[0] * dilation_[0], t.at[1] * dilation_[1], t.at[2] * dilation_[2]},
            t.inner + (int32_t)(slice * group_)};
  }
  __device__ __forceinline__ float value(const Pixel& p, const Tap& t) const {
    const int32_t d = p.at[0] + t.at[0], h = p.at[1] + t.at[1], w = p.at[2] + t.at[2];
    if ((uint32_t)d >= (uint32_t)size_[0] || (uint32_t)h >= (uint32_t)size_[1] ||
        (uint32_t)w >= (uint32_t)size_[2])
      return 0.0f;
    const int64_t position = ((int64_t)d * size_[1] + h) * size_[2] + w;
    return to_float(src_[p.sample + position * channels_ + t.channel]);
  }

 private:
  const T* src_;
  Split pixels_, taps_;
  int64_t channels_, group_, sample_;  // elements of a pixel, a group, a sample
  int32_t size_[3], output_[3], stride_[3], pad_[3], dilation_[3];
};

// ddst by input pixel and (tap, filter of the group).
template <class T>
class Covers {
 public:
  __host__ Covers(const WindowGeometry& g, const T* ddst)
      : ddst_(ddst),
        pixels_(g.input, 1),
        taps_(g.kernel, g.out_channels / g.groups),
        filters_(g.out_channels),
        group_(g.out_channels / g.groups) {
    for (int i = 0; i < 3; ++i) {
      size_[i] = (int32_t)g.output[i];
      stride_[i] = (int32_t)g.stride[i];
      pad_[i] = (int32_t)g.pad_before[i];
      dilation_[i] = (int32_t)g.dilation[i];
    }
  }
  __device__ __forceinline__ Pixel pixel(int64_t i, int64_t slice) const {
    const Split::Parts p = pixels_(i);
    const int64_t sample = p.outer * size_[0] * size_[1] * size_[2] * filters_ + slice * group_;
    return {sample, {p.at[0] + pad_[0], p.at[1] + pad_[1], p.at[2] + pad_[2]}};
  }
  __device__ __forceinline__ Tap tap(int64_t i) const {
    const Split::Parts t = taps_(i);
    return {{t.at[0] * dilation_[0], t.at[1] * dilation_[1], t.at[2] * dilation_[2]}, t.inner};
  }
  __device__ __forceinline__ float value(const Pixel& p, const Tap& t) const {
    int64_t position = 0;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      const int32_t distance = p.at[i] - t.at[i];
      if (distance < 0) return 0.0f;
      const int32_t out = stride_[i] == 1 ? distance : distance / stride_[i];
      if (out >= size_[i] || out * stride_[i] != distance) return 0.0f;
      position = position * size_[i] + out;
    }
    return to_float(ddst_[p.sample + position * filters_ + t.channel]);
  }

 private:
  const T* ddst_;
  Split pixels_, taps_;
  int64_t filters_, group_;
  int32_t size_[3], stride_[3], pad_[3], dilation_[3];
};

}  // namespace fastconv::cuda
