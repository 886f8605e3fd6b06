// The end of an operation with an Epilogue, for every kernel that owns its output.
//
// Activations that only compare are applied while the result is in registers. The others would
// bring the code of all their functions into every product; they take a pass of their own, after
// it.
#pragma once
#include "activation.h"
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
    if (add) x += to_float(add[at]);
    store(dst + at, saved ? slope(x, to_float(saved[at])) : value(x));
  }

  // Scale and bias of N columns from `first` on.
  template <int N>
  struct ColumnsOf {
    float scale[N], bias[N];
  };
  using Columns = ColumnsOf<8>;
  template <int N = 8>
  __device__ __forceinline__ ColumnsOf<N> columns(int64_t first) const {
    ColumnsOf<N> c;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      c.scale[i] = scale ? scale[first + i] : 1.0f;
      c.bias[i] = bias ? bias[first + i] : 0.0f;
    }
    return c;
  }
  // put() for these columns of several rows, from dst[at[row]] on, where that is not negative. All
  // operands are aligned() there.
  template <int Rows>
  __device__ __forceinline__ void put_rows(const int64_t (&at)[Rows], const Columns& c,
                                           float (&x)[Rows][8]) const {
    float added[Rows][8], y[Rows][8];
    if (add) load_rows(add, at, added);
    if (saved) load_rows(saved, at, y);
#pragma unroll
    for (int row = 0; row < Rows; ++row) apply(c, added[row], y[row], x[row]);
#pragma unroll
    for (int row = 0; row < Rows; ++row)
      if (at[row] >= 0) store(dst + at[row], x[row]);
  }
  // The same for N columns from `first` on of M rows of `width`, as pack.h moves them; none for a
  // negative row.
  template <int M, int N>
  __device__ __forceinline__ void put_packs(const int32_t (&rows)[M], int32_t width, int64_t first,
                                            const ColumnsOf<N>& c, float (&x)[M][N]) const {
#pragma unroll
    for (int m = 0; m < M; ++m) {
      if (rows[m] < 0) continue;
      const int64_t at = (int64_t)rows[m] * width + first;
      float added[N] = {}, y[N] = {};
      if (add) load(add + at, added);
      if (saved) load(saved + at, y);
      apply(c, added, y, x[m]);
      store(dst + at, x[m]);
    }
  }
  // The same for values in registers, with what `add` and `saved` have there, if they are.
  template <int N>
  __device__ __forceinline__ void apply(const ColumnsOf<N>& c, const float (&added)[N],
                                        const float (&y)[N], float (&x)[N]) const {
    if (scale || bias) each(x, [&](int i) { return x[i] * c.scale[i] + c.bias[i]; });
    if (add) each(x, [&](int i) { return x[i] + added[i]; });
    if (activation == Activation::identity) return;
    const bool leaky = activation == Activation::leaky_relu;
    const float most = activation == Activation::relu6 ? 6.0f : INFINITY;
    if (saved)
      each(x, [&](int i) {
        const float below = leaky ? x[i] * alpha : 0.0f;
        return y[i] > 0 && y[i] < most ? x[i] : below;
      });
    else
      each(x, [&](int i) {
        const float below = leaky ? x[i] * alpha : 0.0f;
        return x[i] < 0 ? below : x[i] > most ? most : x[i];
      });
  }
  __host__ bool aligned() const { return is_aligned(dst) && is_aligned(add) && is_aligned(saved); }

 private:
  template <int Rows>
  __device__ static __forceinline__ void load_rows(const T* from, const int64_t (&at)[Rows],
                                                   float (&x)[Rows][8]) {
#pragma unroll
    for (int row = 0; row < Rows; ++row) load(from + (at[row] >= 0 ? at[row] : 0), x[row]);
  }
  template <int N, class F>
  __device__ static __forceinline__ void each(float (&x)[N], const F& f) {
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = f(i);
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
  if (!is_comparison(e.activation)) return f;
  f.activation = e.activation;
  if (e.derivative) f.saved = input<T>(call, i);
  return f;
}

// For the pass after it, if there is one.
template <class T = float>
void finish_activation(const KernelCall& call, const Epilogue& e) {
  if (is_comparison(e.activation)) return;
  T* dst = output<T>(call, 0);
  const int64_t count = elements(call.outputs[0]);
  if (e.derivative) {
    const T* saved = input<T>(call, call.n_inputs - 1);
    for_each(call, count, [=] __device__(int64_t i) {
      const float dy = to_float(dst[i]), y = to_float(saved[i]);
      store(dst + i, activate_gradient(e.activation, e.alpha, dy, y));
    });
  } else {
    for_each(call, count, [=] __device__(int64_t i) {
      store(dst + i, activate(e.activation, e.alpha, to_float(dst[i])));
    });
  }
}

}  // namespace fastconv::cuda
