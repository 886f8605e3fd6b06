// The activations, for the activation kernels and for every epilogue; the formulas are those of
// src/cpu/activation.h. The kind is the same in all threads, so that branching on it costs little.
#pragma once
#include "device.h"
#include "fastconv/op.h"

namespace fastconv::cuda {

// Klambauer et al. 2017, "Self-normalizing neural networks".
constexpr float kSeluScale = 1.05070098735548f;
constexpr float kSeluAlpha = 1.67326324235438f;
constexpr float kSqrtHalf = 0.707106781186548f;
constexpr float kSqrtTwoOverPi = 0.797884560802865f;
constexpr float kGeluCubic = 0.044715f;  // Hendrycks and Gimpel 2016

// clip(x, low, high); NaN stays.
__device__ __forceinline__ float clip(float x, float low, float high) {
  const float above = x < low ? low : x;
  return above > high ? high : above;
}
__device__ __forceinline__ float sign(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x; }
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float softplus(float x) {
  return (x < 0 ? 0.0f : x) + log1pf(expf(-fabsf(x)));
}
// The argument of the tanh in the approximate GELU.
__device__ __forceinline__ float gelu_argument(float x) {
  return (x * x * kGeluCubic + 1.0f) * x * kSqrtTwoOverPi;
}

// Every activation hands NaN on.
__device__ inline float activate(Activation kind, float alpha, float x) {
  switch (kind) {
    case Activation::identity: return x;
    case Activation::relu: return x < 0 ? 0.0f : x;
    case Activation::relu6: return clip(x, 0, 6);
    case Activation::leaky_relu: return x < 0 ? x * alpha : x;
    case Activation::elu: return x < 0 ? expm1f(x) * alpha : x;
    case Activation::selu: return (x < 0 ? expm1f(x) * kSeluAlpha : x) * kSeluScale;
    case Activation::sigmoid: return sigmoid(x);
    case Activation::tanh: return tanhf(x);
    case Activation::hard_sigmoid: return clip(x + 3.0f, 0, 6) / 6.0f;
    case Activation::hard_tanh: return clip(x, -1, 1);
    case Activation::gaussian: return expf(-x * x);
    case Activation::softplus: return softplus(x);
    case Activation::softsign: return x / (fabsf(x) + 1.0f);
    case Activation::swish: return x * sigmoid(x);
    case Activation::gelu: return x * 0.5f * (erff(x * kSqrtHalf) + 1.0f);
    case Activation::gelu_tanh: return x * 0.5f * (tanhf(gelu_argument(x)) + 1.0f);
    case Activation::threshold: return x >= 0 ? 1.0f : x < 0 ? 0.0f : x;
    case Activation::sign: return sign(x);
  }
  return x;
}

__device__ __forceinline__ float swish_slope(float x) {
  const float s = sigmoid(x);
  return s + x * s * (1.0f - s);
}
// Phi(x) + x phi(x), of the normal distribution.
__device__ __forceinline__ float gelu_slope(float x) {
  const float density = expf(x * x * -0.5f) * (kSqrtTwoOverPi * 0.5f);
  return (erff(x * kSqrtHalf) + 1.0f) * 0.5f + x * density;
}
__device__ __forceinline__ float gelu_tanh_slope(float x) {
  const float t = tanhf(gelu_argument(x));
  const float inner = (x * x * (3.0f * kGeluCubic) + 1.0f) * kSqrtTwoOverPi;
  return (t + 1.0f) * 0.5f + x * 0.5f * (1.0f - t * t) * inner;
}

// dsrc. `y` is src or dst, as activation_saves_output() says; alpha >= 0 for leaky_relu and elu.
// The two steps have the straight-through gradient of Hubara et al. 2016, "Binarized neural
// networks": dy where |x| <= 1.
__device__ inline float activate_gradient(Activation kind, float alpha, float dy, float y) {
  switch (kind) {
    case Activation::identity: return dy;
    case Activation::relu: return y > 0 ? dy : 0.0f;
    case Activation::relu6: return y > 0 && y < 6.0f ? dy : 0.0f;
    case Activation::leaky_relu: return y > 0 ? dy : dy * alpha;
    case Activation::elu: return y > 0 ? dy : dy * (y + alpha);
    case Activation::selu: return dy * (y > 0 ? kSeluScale : y + kSeluScale * kSeluAlpha);
    case Activation::sigmoid: return dy * (y * (1.0f - y));
    case Activation::tanh: return dy * (1.0f - y * y);
    case Activation::hard_sigmoid: return y > 0 && y < 1.0f ? dy / 6.0f : 0.0f;
    case Activation::hard_tanh: return y > -1.0f && y < 1.0f ? dy : 0.0f;
    case Activation::gaussian: return dy * (y * -2.0f) * expf(-y * y);
    case Activation::softplus: return dy * -expm1f(-y);
    case Activation::softsign: return dy * ((1.0f - fabsf(y)) * (1.0f - fabsf(y)));
    case Activation::swish: return dy * swish_slope(y);
    case Activation::gelu: return dy * gelu_slope(y);
    case Activation::gelu_tanh: return dy * gelu_tanh_slope(y);
    case Activation::threshold:
    case Activation::sign: return fabsf(y) <= 1.0f ? dy : 0.0f;
  }
  return dy;
}

// Activations that only compare take no room in a kernel, and their derivative is the same function
// of src as of dst.
static inline bool is_comparison(Activation kind) {
  return kind == Activation::identity || kind == Activation::relu || kind == Activation::relu6 ||
         kind == Activation::leaky_relu;
}

// Of the activations that only compare, or of any.
template <bool Any>
__device__ __forceinline__ float activate_as(Activation kind, float alpha, float x) {
  if constexpr (Any) return activate(kind, alpha, x);
  const float below = kind == Activation::leaky_relu ? x * alpha : 0.0f;
  if (kind == Activation::relu6) return clip(x, 0, 6);
  return kind != Activation::identity && x < 0 ? below : x;
}
template <bool Any>
__device__ __forceinline__ float gradient_as(Activation kind, float alpha, float dy, float y) {
  if constexpr (Any) return activate_gradient(kind, alpha, dy, y);
  const float below = kind == Activation::leaky_relu ? dy * alpha : 0.0f;
  if (kind == Activation::identity) return dy;
  return y > 0 && (kind != Activation::relu6 || y < 6.0f) ? dy : below;
}

}  // namespace fastconv::cuda
