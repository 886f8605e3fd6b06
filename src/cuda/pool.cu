// Pooling, forward: a window slides over N D H W C, every channel for itself. A thread makes the
// results of a few channels; what it does with the window's elements is one small class per op.
#include "kernels.h"
#include "pool_window.h"

namespace fastconv::cuda {
namespace {

// The first NaN, else the first maximum: taps come in row-major order.
class Maximum {
 public:
  Maximum() = default;
  __device__ Maximum(const PoolAttrs&, int64_t first) : index_((int32_t)first) {}
  __device__ void add(float x, int64_t position) {
    if (x <= value_ || value_ != value_) return;
    value_ = x;
    index_ = (int32_t)position;
  }
  __device__ void end_row() {}
  __device__ float result(const PoolAttrs&, int64_t) const { return value_; }
  __device__ int32_t index() const { return index_; }

 private:
  float value_ = -INFINITY;
  int32_t index_ = 0;
};

// Rows are summed apart, which keeps the rounding of large windows small.
class Sum {
 public:
  Sum() = default;
  __device__ Sum(const PoolAttrs&, int64_t) {}
  __device__ void add(float x, int64_t) { row_ += x; }
  __device__ void end_row() {
    total_ += row_;
    row_ = 0;
  }
  __device__ int32_t index() const { return 0; }

 protected:
  float total_ = 0, row_ = 0;
};

class Average : public Sum {
 public:
  using Sum::Sum;
  __device__ float result(const PoolAttrs& a, int64_t count) const {
    const int64_t* k = a.geometry.kernel;
    const int64_t divisor = a.count_include_pad ? k[0] * k[1] * k[2] : count;
    return divisor > 0 ? total_ / (float)divisor : 0.0f;
  }
};

class AbsoluteSum : public Sum {
 public:
  using Sum::Sum;
  __device__ void add(float x, int64_t) { row_ += fabsf(x); }
  __device__ float result(const PoolAttrs&, int64_t) const { return total_; }
};

class Euclidean : public Sum {
 public:
  using Sum::Sum;
  __device__ void add(float x, int64_t) { row_ += x * x; }
  __device__ float result(const PoolAttrs&, int64_t) const { return sqrtf(total_); }
};

// |x|^p leaves the range of float soon, so the largest |x| so far is taken out of the sum: it is
// scale^p sum.
class LpNorm {
 public:
  LpNorm() = default;
  __device__ LpNorm(const PoolAttrs& a, int64_t) : p_(a.p) {}
  __device__ void add(float x, int64_t) {
    const float size = fabsf(x);
    const bool more = size > scale_;
    const float large = more ? size : scale_, small = more ? scale_ : size;
    const float weight = powf(small == large ? 1.0f : small / large, p_);
    sum_ = more ? 1.0f + sum_ * weight : sum_ + weight;
    scale_ = large;
  }
  __device__ void end_row() {}
  __device__ int32_t index() const { return 0; }
  __device__ float result(const PoolAttrs&, int64_t) const {
    return scale_ * powf(sum_, 1.0f / p_);
  }

 private:
  float p_ = 1, scale_ = 0, sum_ = 0;
};

template <class Op, class T, int W>
struct Pool {
  static constexpr int kThreads = 256, kAhead = 3;  // taps read before the first is used
  PoolAttrs a;
  MapIndex outputs;
  const T* src;
  T* dst;
  int32_t* indices;
  int64_t count;

  __device__ void operator()() const {
    if (thread_index() >= count) return;
    const WindowGeometry& g = a.geometry;
    const Place to = outputs.place(thread_index());
    const Span d = span(g, 0, to.at[0]), h = span(g, 1, to.at[1]), w = span(g, 2, to.at[2]);
    const int64_t C = g.in_channels, H = g.input[1];
    const T* map = src + to.sample * g.input[0] * H * g.input[2] * C + to.channel;
    const int64_t first = (d.first * H + h.first) * g.input[2] + w.first;
    Op ops[W];
#pragma unroll
    for (int c = 0; c < W; ++c) ops[c] = Op(a, first);
    for (int64_t t = 0; t < d.count; ++t)
      for (int64_t r = 0; r < h.count; ++r) {
        const int64_t row = (d.first + t * g.dilation[0]) * H + h.first + r * g.dilation[1];
        add_row(map, row * g.input[2] + w.first, w.count, ops);
      }
    finish(thread_index() * W, d.count * h.count * w.count, ops);
  }

 private:
  __device__ __forceinline__ void add_row(const T* map, int64_t position, int64_t taps,
                                          Op (&ops)[W]) const {
    const int64_t C = a.geometry.in_channels, step = a.geometry.dilation[2];
    for (int64_t s = 0; s < taps; s += kAhead, position += kAhead * step) {
      float x[kAhead][W] = {};
#pragma unroll
      for (int i = 0; i < kAhead; ++i)
        if (s + i < taps) load(map + (position + i * step) * C, x[i]);
#pragma unroll
      for (int i = 0; i < kAhead; ++i)
#pragma unroll
        for (int c = 0; c < W; ++c)
          if (s + i < taps) ops[c].add(x[i][c], position + i * step);
    }
#pragma unroll
    for (int c = 0; c < W; ++c) ops[c].end_row();
  }
  __device__ __forceinline__ void finish(int64_t at, int64_t taps, const Op (&ops)[W]) const {
    float y[W];
    int32_t index[W];
#pragma unroll
    for (int c = 0; c < W; ++c) {
      y[c] = ops[c].result(a, taps);
      index[c] = ops[c].index();
    }
    store(dst + at, y);
    if (indices) store(indices + at, index);
  }
};

template <class Op, class T, int W>
void start_pool(const KernelCall& call) {
  const PoolAttrs& a = attrs<PoolAttrs>(call);
  const MapIndex outputs(a.geometry.output, a.geometry.in_channels, W);
  const int64_t count = elements(call.outputs[0]) / W;
  using Kernel = Pool<Op, T, W>;
  launch(call,
         Kernel{a, outputs, input<T>(call, 0), output<T>(call, 0), output<int32_t>(call, 1), count},
         ceil_div(count, Kernel::kThreads));
}

template <class Op>
void pool(const KernelCall& call) {
  with_channels(call, [&](auto tag, auto width) {
    start_pool<Op, typename decltype(tag)::type, width.value>(call);
  });
}

// One channel a thread: these compute more than they read.
template <class Op>
void pool_by_channels(const KernelCall& call) {
  with_float(call, [&](auto tag) { start_pool<Op, typename decltype(tag)::type, 1>(call); });
}

void lp_pool(const KernelCall& call) {
  const float p = attrs<PoolAttrs>(call).p;
  if (p == 2)
    pool_by_channels<Euclidean>(call);
  else if (p == 1)
    pool_by_channels<AbsoluteSum>(call);
  else
    pool_by_channels<LpNorm>(call);
}

const char* pool_declines(const KernelCall& call) {
  const WindowGeometry& g = attrs<PoolAttrs>(call).geometry;
  for (int i = 0; i < 3; ++i)
    if (g.input[i] + g.pad_before[i] + g.pad_after[i] > INT32_MAX / 2)
      return "positions do not fit 32 bits";
  return needs_float(call);
}

const char* lp_backward_declines(const KernelCall& call) {
  const char* reason = needs_float32(call);
  return reason ? reason : pool_declines(call);
}

const char* max_declines(const KernelCall& call) {
  const int64_t* input = attrs<PoolAttrs>(call).geometry.input;
  if (input[0] * input[1] * input[2] > INT32_MAX) return "positions do not fit an int32 index";
  return pool_declines(call);
}

constexpr Kernel kMax[] = {{"max_pool", max_declines, nullptr, pool<Maximum>}};
constexpr Kernel kMaxBackward[] = {{"max_pool_backward", max_declines, nullptr, max_pool_backward}};
constexpr Kernel kAverage[] = {{"average_pool", pool_declines, nullptr, pool<Average>}};
constexpr Kernel kAverageBackward[] = {
    {"average_pool_backward", pool_declines, nullptr, average_pool_backward}};
constexpr Kernel kLp[] = {{"lp_pool", pool_declines, nullptr, lp_pool}};
constexpr Kernel kLpBackward[] = {
    {"lp_pool_backward", lp_backward_declines, nullptr, lp_pool_backward}};

}  // namespace

KernelList pool_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::max_pool: return list(kMax);
    case OpKind::max_pool_backward: return list(kMaxBackward);
    case OpKind::average_pool: return list(kAverage);
    case OpKind::average_pool_backward: return list(kAverageBackward);
    case OpKind::lp_pool: return list(kLp);
    case OpKind::lp_pool_backward: return list(kLpBackward);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cuda
