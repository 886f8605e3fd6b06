// The activations on vectors, for the activation kernels and for every epilogue.
//
// Either call activate(kind, alpha, x), which branches on the kind, or take the branch out of the
// loop: with_activation(kind, [&](auto tag) { ... activate<tag.value>(alpha, x) ... }).
#pragma once
#include "fastconv/op.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {

// Klambauer et al. 2017, "Self-normalizing neural networks".
constexpr float kSeluScale = 1.05070098735548f;
constexpr float kSeluAlpha = 1.67326324235438f;
constexpr float kSqrtHalf = 0.707106781186548f;
constexpr float kSqrtTwoOverPi = 0.797884560802865f;
constexpr float kGeluCubic = 0.044715f;  // Hendrycks and Gimpel 2016

template <Activation A>
struct ActivationTag {
  static constexpr Activation value = A;
};

// clip(x, low, high); NaN stays.
static inline vfloat clip(vfloat x, float low, float high) {
  const vfloat above = x < low ? splat(low) : x;
  return above > high ? splat(high) : above;
}

static inline vfloat sign(vfloat x) {
  const vfloat low = x < 0.0f ? splat(-1.0f) : x;
  return x > 0.0f ? splat(1.0f) : low;
}

static inline vfloat softplus(vfloat x) {
  const vfloat positive = x < 0.0f ? splat(0.0f) : x;
  return positive + log1p(exp(-abs(x)));
}

// The argument of the tanh in the approximate GELU.
static inline vfloat gelu_argument(vfloat x) {
  return (x * x * kGeluCubic + 1.0f) * x * kSqrtTwoOverPi;
}

// Every activation hands NaN on.
template <Activation A>
static inline vfloat activate([[maybe_unused]] float alpha, vfloat x) {
  if constexpr (A == Activation::relu)
    return x < 0.0f ? splat(0.0f) : x;
  else if constexpr (A == Activation::relu6)
    return clip(x, 0.0f, 6.0f);
  else if constexpr (A == Activation::leaky_relu)
    return x < 0.0f ? x * alpha : x;
  else if constexpr (A == Activation::elu)
    return x < 0.0f ? expm1(x) * alpha : x;
  else if constexpr (A == Activation::selu)
    return (x < 0.0f ? expm1(x) * kSeluAlpha : x) * kSeluScale;
  else if constexpr (A == Activation::sigmoid)
    return sigmoid(x);
  else if constexpr (A == Activation::tanh)
    return tanh(x);
  else if constexpr (A == Activation::hard_sigmoid)
    return clip(x + 3.0f, 0.0f, 6.0f) / 6.0f;
  else if constexpr (A == Activation::hard_tanh)
    return clip(x, -1.0f, 1.0f);
  else if constexpr (A == Activation::gaussian)
    return exp(-x * x);
  else if constexpr (A == Activation::softplus)
    return softplus(x);
  else if constexpr (A == Activation::softsign)
    return x / (abs(x) + 1.0f);
  else if constexpr (A == Activation::swish)
    return x * sigmoid(x);
  else if constexpr (A == Activation::gelu)
    return x * 0.5f * (erf(x * kSqrtHalf) + 1.0f);
  else if constexpr (A == Activation::gelu_tanh)
    return x * 0.5f * (tanh(gelu_argument(x)) + 1.0f);
  else if constexpr (A == Activation::threshold)
    return x >= 0.0f ? splat(1.0f) : (x < 0.0f ? splat(0.0f) : x);
  else if constexpr (A == Activation::sign)
    return sign(x);
  else
    return x;
}

static inline vfloat swish_slope(vfloat x) {
  const vfloat s = sigmoid(x);
  return s + x * s * (1.0f - s);
}

// Phi(x) + x phi(x), of the normal distribution.
static inline vfloat gelu_slope(vfloat x) {
  const vfloat density = exp(x * x * -0.5f) * (kSqrtTwoOverPi * 0.5f);
  return (erf(x * kSqrtHalf) + 1.0f) * 0.5f + x * density;
}

static inline vfloat gelu_tanh_slope(vfloat x) {
  const vfloat t = tanh(gelu_argument(x));
  const vfloat inner = (x * x * (3.0f * kGeluCubic) + 1.0f) * kSqrtTwoOverPi;
  return (t + 1.0f) * 0.5f + x * 0.5f * (1.0f - t * t) * inner;
}

// dsrc. `y` is src or dst, as activation_saves_output(A) says; alpha >= 0 for leaky_relu and elu.
// The two steps have the straight-through gradient of Hubara et al. 2016, "Binarized neural
// networks": dy where |x| <= 1.
template <Activation A>
static inline vfloat activate_gradient([[maybe_unused]] float alpha, vfloat dy,
                                       [[maybe_unused]] vfloat y) {
  const vfloat zero = {};
  if constexpr (A == Activation::relu)
    return y > 0.0f ? dy : zero;
  else if constexpr (A == Activation::relu6)
    return ((y > 0.0f) & (y < 6.0f)) ? dy : zero;
  else if constexpr (A == Activation::leaky_relu)
    return y > 0.0f ? dy : dy * alpha;
  else if constexpr (A == Activation::elu)
    return y > 0.0f ? dy : dy * (y + alpha);
  else if constexpr (A == Activation::selu)
    return dy * (y > 0.0f ? splat(kSeluScale) : y + kSeluScale * kSeluAlpha);
  else if constexpr (A == Activation::sigmoid)
    return dy * (y * (1.0f - y));
  else if constexpr (A == Activation::tanh)
    return dy * (1.0f - y * y);
  else if constexpr (A == Activation::hard_sigmoid)
    return ((y > 0.0f) & (y < 1.0f)) ? dy / 6.0f : zero;
  else if constexpr (A == Activation::hard_tanh)
    return ((y > -1.0f) & (y < 1.0f)) ? dy : zero;
  else if constexpr (A == Activation::gaussian)
    return dy * (y * -2.0f) * exp(-y * y);
  else if constexpr (A == Activation::softplus)
    return dy * -expm1(-y);
  else if constexpr (A == Activation::softsign) {
    const vfloat rest = 1.0f - abs(y);
    return dy * (rest * rest);
  } else if constexpr (A == Activation::swish)
    return dy * swish_slope(y);
  else if constexpr (A == Activation::gelu)
    return dy * gelu_slope(y);
  else if constexpr (A == Activation::gelu_tanh)
    return dy * gelu_tanh_slope(y);
  else if constexpr (A == Activation::threshold || A == Activation::sign)
    return abs(y) <= 1.0f ? dy : zero;
  else
    return dy;
}

// Calls f with the ActivationTag of a kind known only at run time.
template <class F>
static inline auto with_activation(Activation kind, const F& f) {
  using enum Activation;
  switch (kind) {
    case relu: return f(ActivationTag<relu>{});
    case relu6: return f(ActivationTag<relu6>{});
    case leaky_relu: return f(ActivationTag<leaky_relu>{});
    case elu: return f(ActivationTag<elu>{});
    case selu: return f(ActivationTag<selu>{});
    case sigmoid: return f(ActivationTag<sigmoid>{});
    case tanh: return f(ActivationTag<tanh>{});
    case hard_sigmoid: return f(ActivationTag<hard_sigmoid>{});
    case hard_tanh: return f(ActivationTag<hard_tanh>{});
    case gaussian: return f(ActivationTag<gaussian>{});
    case softplus: return f(ActivationTag<softplus>{});
    case softsign: return f(ActivationTag<softsign>{});
    case swish: return f(ActivationTag<swish>{});
    case gelu: return f(ActivationTag<gelu>{});
    case gelu_tanh: return f(ActivationTag<gelu_tanh>{});
    case threshold: return f(ActivationTag<threshold>{});
    case sign: return f(ActivationTag<sign>{});
    case identity: break;
  }
  return f(ActivationTag<identity>{});
}

static inline vfloat activate(Activation kind, float alpha, vfloat x) {
  return with_activation(kind, [&](auto tag) { return activate<tag.value>(alpha, x); });
}

static inline vfloat activate_gradient(Activation kind, float alpha, vfloat dy, vfloat saved) {
  return with_activation(kind,
                         [&](auto tag) { return activate_gradient<tag.value>(alpha, dy, saved); });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
