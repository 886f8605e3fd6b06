// The end of an operation with an Epilogue, for every kernel that owns its output.
//
// Activations that only compare are applied while the result is in registers. The others would
// bring the code of all their functions into every product; they take a pass of their own, after
// it.
#pragma once
#include "activation.h"
#include "map.h"

namespace fastconv::cuda {

// The operands of an Epilogue; absent ones are null.
struct Finish {
  const float *scale, *bias, *add, *saved;
  float* dst;
  Activation activation;
  float alpha;

  // What becomes of the sum x at dst[at], in that column.
  __device__ __forceinline__ void put(int64_t at, int64_t column, float x) const {
    if (scale) x *= scale[column];
    if (bias) x += bias[column];
    if (add) x += add[at];
    dst[at] = saved ? slope(x, saved[at]) : value(x);
  }

 private:
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
static inline Finish finish_of(const KernelCall& call, const Epilogue& e) {
  Finish f = {};
  f.dst = output<float>(call, 0);
  f.alpha = e.alpha;
  int i = 2;
  if (e.scale) f.scale = input<float>(call, i++);
  if (e.bias) f.bias = input<float>(call, i++);
  if (e.add) f.add = input<float>(call, i++);
  if (!only_compares(e.activation)) return f;
  f.activation = e.activation;
  if (e.derivative) f.saved = input<float>(call, i);
  return f;
}

// For the pass after it, if there is one.
static inline void finish_activation(const KernelCall& call, const Epilogue& e) {
  if (only_compares(e.activation)) return;
  float* dst = output<float>(call, 0);
  const int64_t count = elements(call.outputs[0]);
  if (e.derivative)
    map(
        call, dst, count,
        [=] __device__(float dy, float y) {
          return activate_gradient(e.activation, e.alpha, dy, y);
        },
        dst, input<float>(call, call.n_inputs - 1));
  else
    map(
        call, dst, count, [=] __device__(float x) { return activate(e.activation, e.alpha, x); },
        dst);
}

}  // namespace fastconv::cuda
