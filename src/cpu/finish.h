// The end of an operation with an Epilogue, for every kernel that owns its output.
#pragma once
#include "activation.h"
#include "kernels.h"

namespace fastconv::cpu::FASTCONV_ISA {

// The operands of an Epilogue; absent ones are null. The places within `add` and `saved` are those
// within `dst`. Finish{} leaves a sum as it is.
template <class T>
struct FinishOf {
  const float *scale, *bias;  // of the first column of what is finished
  const T *add, *saved;
  const T* dst;
  Activation activation;
  float alpha;
  // The output is better written past the caches. Kernels that do so call stream_end() after a
  // task.
  bool stream;

  // Whether the activation is clip(x, 0, top()).
  bool clips() const {
    return !saved && (activation == Activation::relu || activation == Activation::relu6);
  }
  float top() const { return activation == Activation::relu ? kInfinity : 6.0f; }
  // Whether it is long enough for a call.
  bool calls() const { return saved || (!clips() && activation != Activation::identity); }

  FinishOf at_column(int64_t column) const {
    FinishOf f = *this;
    if (f.scale) f.scale += column;
    if (f.bias) f.bias += column;
    return f;
  }
};
using Finish = FinishOf<float>;

// Whole vectors, and more of them than the caches hold.
static inline bool streams(const Tensor& t) {
  return t.rank > 0 && t.dims[t.rank - 1] % kLanes == 0 && worth_streaming(t.data, bytes(t));
}

template <class T = float>
static inline FinishOf<T> finish_of(const KernelCall& call, const Epilogue& e) {
  FinishOf<T> f = {};
  f.dst = output<T>(call, 0);
  f.activation = e.activation;
  f.alpha = e.alpha;
  f.stream = streams(call.outputs[0]);
  int i = 2;
  if (e.scale) f.scale = input<float>(call, i++);
  if (e.bias) f.bias = input<float>(call, i++);
  if (e.add) f.add = input<T>(call, i++);
  if (e.derivative) f.saved = input<T>(call, i);
  return f;
}

// The vectors of a row that goes to `dst`, of which `columns` floats count.
template <int NV, class T>
__attribute__((noinline)) static void activate_row(const FinishOf<T>& f, const T* dst,
                                                   int64_t columns, vfloat (&row)[NV]) {
  const T* saved = f.saved ? f.saved + (dst - f.dst) : nullptr;
  with_activation(f.activation, [&](auto tag) {
    for (int v = 0; v < NV && v * kLanes < columns; ++v) {
      const int64_t left = columns - v * kLanes, lanes = left < kLanes ? left : kLanes;
      row[v] = saved ? activate_gradient<tag.value>(f.alpha, row[v],
                                                    load_lanes(saved + v * kLanes, lanes))
                     : activate<tag.value>(f.alpha, row[v]);
    }
  });
}

// x * scale + bias, at some columns; `lanes` of them may be read.
struct Shift {
  vfloat scale, bias;
  template <class T>
  Shift(const FinishOf<T>& f, int64_t column, int64_t lanes)
      : scale(f.scale ? load_lanes(f.scale + column, lanes) : splat(1.0f)),
        bias(f.bias ? load_lanes(f.bias + column, lanes) : vfloat{}) {}
  vfloat operator()(vfloat x) const { return x * scale + bias; }
};

template <class T>
__attribute__((noinline)) static vfloat finished_long(const FinishOf<T>& f, vfloat x, const T* dst,
                                                      int64_t lanes) {
  vfloat row[1] = {x};
  if (f.add) row[0] += load_lanes(f.add + (dst - f.dst), lanes);
  if (f.clips()) row[0] = clip(row[0], 0, f.top());
  if (f.calls()) activate_row(f, dst, lanes, row);
  return row[0];
}

// What becomes of the sum x, already shifted, before it goes to dst[0 .. lanes).
template <class T>
static inline vfloat finished(const FinishOf<T>& f, vfloat x, const T* dst, int64_t lanes) {
  if (f.add || f.calls()) return finished_long(f, x, dst, lanes);
  return f.clips() ? clip(x, 0, f.top()) : x;
}

// dst[i] from sums[i], for i < count; they may be the same.
static inline void finish_row(const Finish& f, const float* sums, int64_t count, float* dst) {
  for_vectors(0, count, [&](int64_t i, int64_t lanes) {
    const vfloat x = Shift(f, i, lanes)(load_lanes(sums + i, lanes));
    store_lanes(dst + i, finished(f, x, dst + i, lanes), lanes);
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
