// Elementary functions on vectors, to about 2 units in the last place over all floats; denormal
// arguments and results count as zero. Each polynomial is a minimax fit (Lawson's weighted least
// squares on Chebyshev nodes, in float64) whose relative error stands beside it.
#pragma once
#include "simd.h"

namespace fastconv::cpu::FASTCONV_ISA {

typedef double vdouble __attribute__((vector_size(8 * kLanes)));
typedef int64_t vlong __attribute__((vector_size(8 * kLanes)));

static inline vint bits(vfloat v) { return (vint)v; }
static inline vint sign_bit(vfloat v) { return bits(v) & INT32_MIN; }
static inline vfloat abs(vfloat v) { return (vfloat)(bits(v) & INT32_MAX); }
static inline vfloat copy_sign(vfloat magnitude, vfloat sign) {
  return (vfloat)(bits(abs(magnitude)) | sign_bit(sign));
}
static inline vfloat to_float(vint v) { return __builtin_convertvector(v, vfloat); }
static inline vint is_nan(vfloat v) { return v != v; }

// True in the first `count` lanes.
static inline vint first_lanes(int64_t count) {
  vint lane = {};
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return lane < (int32_t)count;
}

constexpr float kInfinity = __builtin_inff();
constexpr float kNaN = __builtin_nanf("");

// Coefficients from the constant term up.
template <int N>
static inline vfloat polynomial(vfloat x, const float (&c)[N]) {
  vfloat y = splat(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) y = y * x + c[i];
  return y;
}

template <int N>
static inline vdouble polynomial(vdouble x, const double (&c)[N]) {
  vdouble y = vdouble{} + c[N - 1];
  for (int i = N - 2; i >= 0; --i) y = y * x + c[i];
  return y;
}

static inline vfloat sqrt(vfloat x) {
#if defined(__AVX512F__)
  return (vfloat)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)x);
#elif defined(__AVX__)
  return (vfloat)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE__)
  return (vfloat)_mm_sqrt_ps((__m128)x);
#else
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// To the nearest integer, halves to even: floats above 2^23 are integers, and adding 2^23 drops
// the fraction of those below.
static inline vfloat round(vfloat x) {
  const float limit = 0x1p23f;
  const vfloat magnitude = abs(x);
  return magnitude < limit ? copy_sign(magnitude + limit - limit, x) : x;
}

static inline vfloat floor(vfloat x) {
  const vfloat nearest = round(x);
  return nearest > x ? nearest - 1.0f : nearest;
}

// 2^n for -126 <= n <= 127.
static inline vfloat power_of_two(vint n) { return (vfloat)((n + 127) << 23); }

// x = n ln2 + r with |r| <= ln2 / 2 (Cody and Waite: n times the high part is exact).
struct ExpReduction {
  vint n;
  vfloat r;
};
static inline ExpReduction reduce_exp(vfloat x) {
  const float magic = 0x1.8p23f;
  const vfloat shifted = x * 1.44269504f + magic;
  const vfloat n = shifted - magic;
  const vfloat r = x - n * 0.693359375f + n * 2.12194440e-4f;
  return {bits(shifted) - bits(splat(magic)), r};
}

// exp(r) - 1 for |r| <= ln2 / 2; error 3e-9.
static inline vfloat expm1_reduced(vfloat r) {
  const float c[] = {4.999999345e-01f, 1.666652069e-01f, 4.166838737e-02f, 8.368709843e-03f,
                     1.381461298e-03f};
  return polynomial(r, c) * (r * r) + r;
}

static inline vfloat exp(vfloat x) {
  const vfloat low = x < -104.0f ? splat(-104.0f) : x;
  const ExpReduction e = reduce_exp(low > 89.0f ? splat(89.0f) : low);
  const vint half = e.n >> 1;  // 2^n itself may be no float
  return (expm1_reduced(e.r) + 1.0f) * power_of_two(half) * power_of_two(e.n - half);
}

// exp(x) - 1 for x <= 88, exact also near 0.
static inline vfloat expm1(vfloat x) {
  const ExpReduction e = reduce_exp(x < -80.0f ? splat(-80.0f) : x);
  const vfloat scale = power_of_two(e.n);
  return expm1_reduced(e.r) * scale + (scale - 1.0f);
}

// x = 2^e m with m in [sqrt(1/2), sqrt(2)); log(m) by its series around 1; error 8e-10.
static inline vfloat log(vfloat x) {
  const float c[] = {3.333331260e-01f,  -2.500000960e-01f, 2.000211866e-01f,
                     -1.666799584e-01f, 1.421955228e-01f,  -1.240558906e-01f,
                     1.188816297e-01f,  -1.167565122e-01f, 6.746638278e-02f};
  const vint exponent = (bits(x) - 0x3f3504f3) >> 23;
  const vfloat e = to_float(exponent);
  const vfloat f = (vfloat)(bits(x) - (exponent << 23)) - 1.0f;
  const vfloat square = f * f;
  const vfloat tail = polynomial(f, c) * square * f - e * 2.12194440e-4f - square * 0.5f;
  const vfloat y = f + tail + e * 0.693359375f;
  const vfloat edge = x == 0.0f ? splat(-kInfinity) : (x < 0.0f ? splat(kNaN) : x);
  return ((x > 0.0f) & (x < kInfinity)) ? y : edge;
}

// log(1 + u) for u >= 0: what rounding 1 + u lost is added to first order.
static inline vfloat log1p(vfloat u) {
  const vfloat w = u + 1.0f;
  const vfloat y = log(w) + (u - (w - 1.0f)) / w;
  return u < 1e20f ? y : log(u);
}

// Error of the polynomial 4e-9; above it 1 - 2 / (exp(2x) + 1), which cancels nothing there.
static inline vfloat tanh(vfloat x) {
  const float c[] = {-3.333328194e-01f, 1.333144219e-01f, -5.373971485e-02f, 2.063908657e-02f,
                     -5.704986327e-03f};
  const vfloat magnitude = abs(x);
  const vfloat z = x * x;
  const vfloat small = polynomial(z, c) * z * x + x;
  const vfloat large = 1.0f - 2.0f / (exp(magnitude * 2.0f) + 1.0f);
  return magnitude < 0.625f ? small : copy_sign(large, x);
}

static inline vfloat sigmoid(vfloat x) { return 1.0f / (1.0f + exp(-x)); }

// Below 1 a polynomial (error 1.2e-9); above it 1 - exp(log erfc(x)), where the polynomial for
// log erfc holds on [1, 4] (error of erfc 1.1e-9) and erf(4) is 1 in float.
static inline vfloat erf(vfloat x) {
  const float c[] = {1.283791657e-01f, -3.761262582e-01f, 1.128358515e-01f, -2.685381193e-02f,
                     5.188327673e-03f, -8.010193514e-04f, 7.853860984e-05f};
  const float d[] = {-3.537187893e-04f, -1.127040039e+00f, -6.382256723e-01f, -1.030373732e-01f,
                     2.180532052e-02f,  -2.939607867e-03f, 1.855740689e-04f};
  const vfloat magnitude = abs(x);
  const vfloat small = polynomial(x * x, c) * x + x;
  const vfloat large = 1.0f - exp(polynomial(magnitude > 4.0f ? splat(4.0f) : magnitude, d));
  return magnitude < 1.0f ? small : copy_sign(large, x);
}

// x = quadrant * pi/2 + r with |r| <= pi/4 (quadrant modulo 4).
struct Reduction {
  vint quadrant;
  vfloat r;
};

// For |x| >= 2^25, Payne and Hanek (1983): only 96 bits of 2/pi matter, those whose product with
// the 24-bit significand falls below 4.
static inline double reduce_huge(float x, int32_t* quadrant) {
  static const uint32_t two_over_pi[] = {0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0,
                                         0xdb629599, 0x3c439041, 0xfe5163ab};
  uint32_t word;
  __builtin_memcpy(&word, &x, 4);
  const int exponent = (int)(word >> 23 & 255) - 150;
  const uint64_t significand = (word & 0x7fffff) | 0x800000;
  const int skip = exponent - 2, at = skip / 32, shift = skip % 32;
  uint32_t window[3];
  for (int i = 0; i < 3; ++i) {
    const uint64_t pair = (uint64_t)two_over_pi[at + i] << 32 | two_over_pi[at + i + 1];
    window[i] = (uint32_t)(pair << shift >> 32);
  }
  const uint64_t high = (uint64_t)window[0] << 32 | window[1];
  const uint64_t product = significand * high + (significand * window[2] >> 32);
  const uint64_t nearest = (product + (uint64_t{1} << 61)) >> 62;
  const double r = (double)(int64_t)(product - (nearest << 62)) * 0x1.921fb54442d18p-62;
  *quadrant = x < 0 ? -(int32_t)nearest : (int32_t)nearest;
  return x < 0 ? -r : r;
}

// For |x| < 2^25 in float64: n times the first part of pi/2, of 28 bits, is exact.
static inline Reduction reduce_angle(vfloat x) {
  const vfloat magnitude = abs(x);
  const vint huge = (magnitude >= 0x1p25f) & (magnitude < kInfinity);
  const vdouble wide = __builtin_convertvector(magnitude < 0x1p25f ? x : x - x, vdouble);
  const double magic = 0x1.8p52;
  const vdouble shifted = wide * 0.63661977236758134 + magic;
  const vdouble n = shifted - magic;
  const vdouble r = wide - n * 0x1.921fb54p+0 - n * 0x1.10b4611a62633p-30;
  const vlong quadrant = (vlong)shifted & 3;
  Reduction result = {__builtin_convertvector(quadrant, vint), __builtin_convertvector(r, vfloat)};
  for (int i = 0; i < kLanes; ++i) {
    if (!huge[i]) continue;
    int32_t q;
    result.r[i] = (float)reduce_huge(x[i], &q);
    result.quadrant[i] = q;
  }
  return result;
}

// Of a reduced angle: sine (error 4e-9) in even quadrants, cosine (1e-10) in odd ones.
static inline vfloat sine_in_quadrant(Reduction a) {
  const float s[] = {-1.666665494e-01f, 8.332178145e-03f, -1.951729888e-04f};
  const float c[] = {4.166664568e-02f, -1.388731625e-03f, 2.443315688e-05f};
  const vfloat z = a.r * a.r;
  const vfloat sine = polynomial(z, s) * z * a.r + a.r;
  const vfloat cosine = polynomial(z, c) * (z * z) - z * 0.5f + 1.0f;
  const vfloat y = (a.quadrant & 1) != 0 ? cosine : sine;
  return (vfloat)(bits(y) ^ ((a.quadrant & 2) << 30));
}

static inline vfloat sin(vfloat x) {
  const vfloat y = sine_in_quadrant(reduce_angle(x));
  return x == 0.0f ? x : y;
}

static inline vfloat cos(vfloat x) {
  Reduction a = reduce_angle(x);
  a.quadrant += 1;
  return sine_in_quadrant(a);
}

// log2 of a positive normal x, by the series of atanh((m - 1) / (m + 1)), to 2^-40.
static inline vdouble log2(vdouble x) {
  const double c[] = {2.8853900817779268,     2.8853900817779268 / 3, 2.8853900817779268 / 5,
                      2.8853900817779268 / 7, 2.8853900817779268 / 9, 2.8853900817779268 / 11,
                      2.8853900817779268 / 13};
  const vlong exponent = ((vlong)x - 0x3fe6a09e667f3bcd) >> 52;
  const vdouble m = (vdouble)((vlong)x - (exponent << 52));
  const vdouble s = (m - 1.0) / (m + 1.0);
  return polynomial(s * s, c) * s + __builtin_convertvector(exponent, vdouble);
}

// 2^t for |t| <= 1000, by the Taylor series of exp to 2^-36.
static inline vdouble exp2(vdouble t) {
  const double c[] = {1.0,       1.0,       1.0 / 2,    1.0 / 6,     1.0 / 24,
                      1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880};
  const double magic = 0x1.8p52;
  const vdouble shifted = t + magic;
  const vdouble r = (t - (shifted - magic)) * 0.69314718055994531;
  const vlong n = (vlong)shifted - (vlong)(vdouble{} + magic);
  return polynomial(r, c) * (vdouble)((n + 1023) << 52);
}

// x^y in float64, since y log(x) needs more digits than a float holds; the edges as in C's pow.
static inline vfloat pow(vfloat x, vfloat y) {
  const vfloat magnitude = abs(x);
  const vdouble t =
      log2(__builtin_convertvector(magnitude, vdouble)) * __builtin_convertvector(y, vdouble);
  const vdouble low = t < -1000.0 ? vdouble{} - 1000.0 : t;
  const vdouble clamped = low > 1000.0 ? vdouble{} + 1000.0 : low;
  vfloat result = __builtin_convertvector(exp2(clamped), vfloat);

  const vint edge = (magnitude == 0.0f) | (magnitude == kInfinity);
  const vint grows = (magnitude == kInfinity) == (y > 0.0f);
  result = edge ? (grows ? splat(kInfinity) : splat(0.0f)) : result;
  result = magnitude == 1.0f ? splat(1.0f) : result;
  const vint integer = floor(y) == y;
  const vint odd = integer & (floor(y * 0.5f) != y * 0.5f);
  result = odd ? copy_sign(result, x) : result;
  result = ((x < 0.0f) & (magnitude < kInfinity) & ~integer) ? splat(kNaN) : result;
  result = (is_nan(x) | is_nan(y)) ? x + y : result;
  return ((y == 0.0f) | (x == 1.0f)) ? splat(1.0f) : result;
}

}  // namespace fastconv::cpu::FASTCONV_ISA
