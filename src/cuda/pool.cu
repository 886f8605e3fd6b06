// Pooling, forward: a window slides over N D H W C, every channel for itself. A thread makes one
// result; what it does with the window's elements is one small class per op.
#include "kernels.h"
#include "pool_window.h"

namespace fastconv::cuda {
namespace {

// The first NaN, else the first maximum: taps come in row-major order.
class Maximum {
 public:
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
  int32_t index_;
};

// Rows are summed apart, which keeps the rounding of large windows small.
class Sum {
 public:
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
  float p_, scale_ = 0, sum_ = 0;
};

template <class Op>
void pool(const KernelCall& call) {
  const PoolAttrs a = attrs<PoolAttrs>(call);
  const MapIndex outputs(a.geometry.output, a.geometry.in_channels);
  const float* src = input<float>(call, 0);
  float* dst = output<float>(call, 0);
  int32_t* indices = output<int32_t>(call, 1);
  for_each(call, elements(call.outputs[0]), [=] __device__(int64_t i) {
    const WindowGeometry& g = a.geometry;
    const Place to = outputs.place(i);
    const Span d = span(g, 0, to.at[0]), h = span(g, 1, to.at[1]), w = span(g, 2, to.at[2]);
    const int64_t C = g.in_channels;
    const float* map = src + to.sample * g.input[0] * g.input[1] * g.input[2] * C + to.channel;
    Op op(a, (d.first * g.input[1] + h.first) * g.input[2] + w.first);
    for (int64_t t = 0; t < d.count; ++t) {
      for (int64_t r = 0; r < h.count; ++r) {
        const int64_t row =
            (d.first + t * g.dilation[0]) * g.input[1] + h.first + r * g.dilation[1];
        for (int64_t s = 0; s < w.count; ++s) {
          const int64_t position = row * g.input[2] + w.first + s * g.dilation[2];
          op.add(map[position * C], position);
        }
        op.end_row();
      }
    }
    dst[i] = op.result(a, d.count * h.count * w.count);
    if (indices) indices[i] = op.index();
  });
}

void lp_pool(const KernelCall& call) {
  const float p = attrs<PoolAttrs>(call).p;
  if (p == 2)
    pool<Euclidean>(call);
  else if (p == 1)
    pool<AbsoluteSum>(call);
  else
    pool<LpNorm>(call);
}

const char* pool_declines(const KernelCall& call) {
  const WindowGeometry& g = attrs<PoolAttrs>(call).geometry;
  for (int i = 0; i < 3; ++i)
    if (g.input[i] + g.pad_before[i] + g.pad_after[i] > INT32_MAX / 2)
      return "positions do not fit 32 bits";
  return needs_float32(call);
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
constexpr Kernel kLpBackward[] = {{"lp_pool_backward", pool_declines, nullptr, lp_pool_backward}};

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
