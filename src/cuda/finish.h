// The end of an operation with an Epilogue, for every kernel that owns its output.
//
// Activations that only compare are applied while the result is in registers. The others would
// bring the code of all their functions into every product; they take a pass of their own, after
// it.
#pragma once
#include "activation.h"
#include "eight.h"
#include "map.h"
#include "pack.h"

namespace fastconv::cuda {

// The operands of an Epilogue; absent ones are null. T is what dst, `add` and `saved` hold.
template <class T = float>
struct Finish {
  const float *scale, *bias;
  const T *add, *saved;
  T* dst;
  Activation activation;
  float alpha;

  // What becomes of the sum x at dst[at], in that column.
  __device__ __forceinline__ void put(int64_t at, int64_t column, float x) const {
    if (scale) x *= scale[column];
    if (bias) x += bias[column];
    if (add) x += widen(add[at]);
    dst[at] = convert<T>(saved ? slope(x, widen(saved[at])) : value(x));
  }

  // Scale and bias of `count` columns from `first` on.
  template <int N>
  struct Columns {
    float scale[N], bias[N];
  };
  template <int N = 8>
  __device__ __forceinline__ Columns<N> columns(int64_t first, int count) const {
    Columns<N> c;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      c.scale[i] = scale && i < count ? scale[first + i] : 1.0f;
      c.bias[i] = bias && i < count ? bias[first + i] : 0.0f;
    }
    return c;
  }
  // put() for these columns of a row, from dst[at] on. `aligned`: at is a multiple of 8, and all
  // operands lie so.
  __device__ __forceinline__ void put_eight(int64_t at, const Columns<8>& c, float (&x)[8],
                                            int count, bool aligned) const {
    float other[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = x[i] * c.scale[i] + c.bias[i];
    if (add) {
      load_some(add + at, other, count, aligned);
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] += other[i];
    }
    if (saved) load_some(saved + at, other, count, aligned);
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = saved ? slope(x[i], other[i]) : value(x[i]);
    store_some(dst + at, x, count, aligned);
  }
  // The same for packs of M rows, of so many columns, as pack.h moves them; a negative row is none.
  template <int M, int N>
  __device__ __forceinline__ void put_packs(const int32_t (&rows)[M], int32_t width, int64_t first,
                                            const Columns<N>& c, float (&x)[M][N]) const {
    const auto each = [&](const auto& f) {
#pragma unroll
      for (int m = 0; m < M; ++m)
        if (rows[m] >= 0) f((int64_t)rows[m] * width + first, x[m]);
    };
    const auto combine = [&](const T* operand, const auto& f) {
      each([&](int64_t from, float (&y)[N]) {
        float other[N];
        load(operand + from, other);
#pragma unroll
        for (int i = 0; i < N; ++i) y[i] = f(y[i], other[i]);
      });
    };
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int i = 0; i < N; ++i) x[m][i] = x[m][i] * c.scale[i] + c.bias[i];
    if (add) combine(add, Add{});
    if (saved)
      combine(saved, [&](float dy, float y) { return slope(dy, y); });
    else if (activation != Activation::identity)
      bound(x);
    each([&](int64_t to, const float (&y)[N]) { store(dst + to, y); });
  }
  __host__ bool aligned() const { return is_aligned(dst) && is_aligned(add) && is_aligned(saved); }

 private:
  // value() of them all, but identity.
  template <int M, int N>
  __device__ __forceinline__ void bound(float (&x)[M][N]) const {
    const bool leaky = activation == Activation::leaky_relu;
    const float most = activation == Activation::relu6 ? 6.0f : INFINITY;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float slower = x[m][i] * alpha, below = leaky ? slower : 0.0f;
        const float y = x[m][i] < 0 ? below : x[m][i];
        x[m][i] = y > most ? most : y;
      }
  }
  __device__ __forceinline__ float value(float x) const {
    const float below = activation == Activation::leaky_relu ? x * alpha : 0.0f;
    if (activation == Activation::relu6) return clip(x, 0, 6);
    return activation != Activation::identity && x < 0 ? below : x;
  }
  __device__ __forceinline__ float slope(float dy, float y) const {
    const float below = activation == Activation::leaky_relu ? dy * alpha : 0.0f;
    if (activation == Activation::identity) return dy;
    return y > 0 && (activation != Activation::relu6 || y < 6.0f) ? dy : below;
  }
};

static inline bool only_compares(Activation activation) {
  return activation == Activation::identity || activation == Activation::relu ||
         activation == Activation::relu6 || activation == Activation::leaky_relu;
}

// For the product itself.
template <class T = float>
Finish<T> finish_of(const KernelCall& call, const Epilogue& e) {
  Finish<T> f = {};
  f.dst = output<T>(call, 0);
  f.alpha = e.alpha;
  int i = 2;
  if (e.scale) f.scale = input<float>(call, i++);
  if (e.bias) f.bias = input<float>(call, i++);
  if (e.add) f.add = input<T>(call, i++);
  if (!only_compares(e.activation)) return f;
  f.activation = e.activation;
  if (e.derivative) f.saved = input<T>(call, i);
  return f;
}

// For the pass after it, if there is one.
template <class T = float>
void finish_activation(const KernelCall& call, const Epilogue& e) {
  if (only_compares(e.activation)) return;
  T* dst = output<T>(call, 0);
  const int64_t count = elements(call.outputs[0]);
  if (e.derivative) {
    const T* saved = input<T>(call, call.n_inputs - 1);
    for_each(call, count, [=] __device__(int64_t i) {
      dst[i] = convert<T>(activate_gradient(e.activation, e.alpha, widen(dst[i]), widen(saved[i])));
    });
  } else {
    for_each(call, count, [=] __device__(int64_t i) {
      dst[i] = convert<T>(activate(e.activation, e.alpha, widen(dst[i])));
    });
  }
}

}  // namespace fastconv::cuda
