// Sine and cosine, as in src/cpu/vector_math.h: CUDA's own keep an array in local memory.
#pragma once
#include "convert.h"
#include "device.h"

namespace fastconv::cuda {

// x = quadrant * pi/2 + r with |r| <= pi/4 (quadrant modulo 4).
struct Angle {
  int32_t quadrant;
  float r;
};

// 2/pi from bit 32 i on.
__device__ __forceinline__ uint32_t two_over_pi(int i) {
  switch (i) {
    case 0: return 0xa2f9836e;
    case 1: return 0x4e441529;
    case 2: return 0xfc2757d1;
    case 3: return 0xf534ddc0;
    case 4: return 0xdb629599;
    case 5: return 0x3c439041;
    default: return 0xfe5163ab;
  }
}

// For |x| >= 2^25, Payne and Hanek (1983): only 96 bits of 2/pi matter, those whose product with
// the 24-bit significand falls below 4.
__device__ __forceinline__ Angle reduce_huge(float x) {
  const uint32_t word = (uint32_t)__float_as_int(x);
  const int skip = (int)(word >> 23 & 255) - 152, at = skip / 32, shift = skip % 32;
  const uint64_t significand = (word & 0x7fffff) | 0x800000;
  const auto window = [&](int i) {
    const uint64_t pair = (uint64_t)two_over_pi(at + i) << 32 | two_over_pi(at + i + 1);
    return pair << shift >> 32 & 0xffffffff;
  };
  const uint64_t high = window(0) << 32 | window(1);
  const uint64_t product = significand * high + (significand * window(2) >> 32);
  const uint64_t nearest = (product + (uint64_t{1} << 61)) >> 62;
  const float r = (float)((double)(int64_t)(product - (nearest << 62)) * 0x1.921fb54442d18p-62);
  const int32_t quadrant = (int32_t)nearest;
  return x < 0 ? Angle{-quadrant, -r} : Angle{quadrant, r};
}

// For |x| < 2^25 in float64: n times the first part of pi/2, of 28 bits, is exact.
__device__ __forceinline__ Angle reduce_angle(float x) {
  if (fabsf(x) >= 0x1p25f && fabsf(x) < INFINITY) return reduce_huge(x);
  const double magic = 0x1.8p52, wide = fabsf(x) < 0x1p25f ? (double)x : (double)(x - x);
  const double n = (wide * 0.63661977236758134 + magic) - magic;
  const double r = wide - n * 0x1.921fb54p+0 - n * 0x1.10b4611a62633p-30;
  return {n == n ? (int32_t)n : 0, (float)r};
}

// Of a reduced angle: sine (error 4e-9) in even quadrants, cosine (1e-10) in odd ones.
__device__ __forceinline__ float sine_in_quadrant(const Angle& a) {
  const float z = a.r * a.r;
  const float sine =
      ((-1.951729888e-04f * z + 8.332178145e-03f) * z - 1.666665494e-01f) * z * a.r + a.r;
  const float cosine =
      ((2.443315688e-05f * z - 1.388731625e-03f) * z + 4.166664568e-02f) * (z * z) - z * 0.5f +
      1.0f;
  const float y = a.quadrant & 1 ? cosine : sine;
  return a.quadrant & 2 ? -y : y;
}

__device__ __forceinline__ float sine(float x) {
  return x == 0 ? x : sine_in_quadrant(reduce_angle(x));
}
__device__ __forceinline__ float cosine(float x) {
  Angle a = reduce_angle(x);
  a.quadrant += 1;
  return sine_in_quadrant(a);
}

}  // namespace fastconv::cuda
