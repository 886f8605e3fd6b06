// Which inputs a pooling window covers, and which windows cover an input.
#pragma once
#include "kernels.h"

namespace fastconv::cpu::FASTCONV_ISA {

// The taps of output `out` that fall inside the input, along one axis: `count` of them, from input
// index `first`, `dilation` apart.
struct Span {
  int64_t first, count;
};

static inline Span span(const WindowGeometry& g, int axis, int64_t out) {
  const int64_t origin = out * g.stride[axis] - g.pad_before[axis];
  const int64_t dilation = g.dilation[axis], input = g.input[axis];
  int64_t begin = 0, end = g.kernel[axis];
  if (origin < 0) begin = ceil_div(-origin, dilation);
  if (origin + (end - 1) * dilation >= input)
    end = origin < input ? ceil_div(input - origin, dilation) : 0;
  return {origin + begin * dilation, end > begin ? end - begin : 0};
}

struct Window {
  Span d, h, w;
  int64_t count() const { return d.count * h.count * w.count; }
};

// The outputs [begin, end) whose windows span `input` along one axis. With dilation some of them
// step over it: hits() tells.
struct Cover {
  int64_t begin, end;
};

static inline bool hits(const WindowGeometry& g, int axis, int64_t input, int64_t out) {
  if (g.dilation[axis] == 1) return true;
  return (input + g.pad_before[axis] - out * g.stride[axis]) % g.dilation[axis] == 0;
}

// Moves `cover` on from a smaller input; starts at {0, 0}.
static inline void advance(Cover& cover, const WindowGeometry& g, int axis, int64_t input) {
  const int64_t top = input + g.pad_before[axis], stride = g.stride[axis];
  const int64_t reach = (g.kernel[axis] - 1) * g.dilation[axis];
  while (cover.end < g.output[axis] && cover.end * stride <= top) ++cover.end;
  while (cover.begin < cover.end && cover.begin * stride + reach < top) ++cover.begin;
}

static inline Cover cover(const WindowGeometry& g, int axis, int64_t input) {
  const int64_t top = input + g.pad_before[axis], stride = g.stride[axis];
  if (top < 0) return {0, 0};
  const int64_t low = top - (g.kernel[axis] - 1) * g.dilation[axis];
  const int64_t end = top / stride + 1, begin = low > 0 ? ceil_div(low, stride) : 0;
  return {begin, end < g.output[axis] ? end : g.output[axis]};
}

const char* max_bytes_declines(const KernelCall& call);
void max_pool_bytes(const KernelCall& call);
void max_pool_backward(const KernelCall& call);
void average_pool_backward(const KernelCall& call);
void lp_pool_backward(const KernelCall& call);
int64_t pool_backward_workspace(const KernelCall& call);
int64_t lp_pool_backward_workspace(const KernelCall& call);

}  // namespace fastconv::cpu::FASTCONV_ISA
