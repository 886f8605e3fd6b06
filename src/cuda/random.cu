// Random numbers from counters: element i follows from word i of its stream (philox.h) alone.
//
// The formulas and their order are those of src/cpu/random.cpp, and the compiler may not fuse
// multiplications with additions here (CMakeLists.txt), so that the bytes are the same on every
// device.
#include "philox.h"

namespace fastconv::cuda {
namespace {

constexpr float kTail = 0.022750132f;  // of the normal distribution below -2

// Coefficients from the constant term up.
template <int N>
__device__ __forceinline__ float polynomial(float x, const float (&c)[N]) {
  float y = c[N - 1];
#pragma unroll
  for (int i = N - 2; i >= 0; --i) y = y * x + c[i];
  return y;
}

// ln x for normal x > 0: x = 2^n m with sqrt(1/2) <= m < sqrt(2), ln m = 2 atanh((m - 1) / (m +
// 1)).
__device__ __forceinline__ float natural_log(float x) {
  const int exponent = (__float_as_int(x) - 0x3f3504f3) >> 23;
  const float m = __int_as_float(__float_as_int(x) - (exponent << 23));
  const float t = m - 1.0f, s = t / (t + 2.0f), z = s * s;
  const float c[] = {2.0f / 3.0f, 2.0f / 5.0f, 2.0f / 7.0f, 2.0f / 9.0f};
  const float small = s * 2.0f + s * (z * polynomial(z, c));
  return (float)exponent * 0.693147181f + small;
}

// The x >= 0 that a normal number exceeds with probability p, 2^-33 <= p <= 1/2.
__device__ __forceinline__ float upper_quantile(float p) {
  const float a[] = {3.3871327179f, 50.434271938f, 159.29113202f, 59.109374720f};
  const float b[] = {1.0f, 17.895169469f, 78.757757664f, 67.187563600f};
  const float c[] = {1.4234372777f, 2.7568153900f, 1.3067284816f, 0.17023821103f};
  const float d[] = {1.0f, 0.73700164250f, 0.12021132975f};
  const float q = 0.5f - p, r = 0.180625f - q * q;
  const float middle = q * (polynomial(r, a) / polynomial(r, b));
  const float t = sqrtf(-natural_log(p)) - 1.6f;
  const float tail = polynomial(t, c) / polynomial(t, d);
  return q <= 0.425f ? middle : tail;
}

// The lowest bit of the word is the sign, the others a probability between `least` and 1/2.
__device__ __forceinline__ float standard_normal(uint32_t word, float least) {
  const float scale = (0.5f - least) * 0x1p-31f;
  const float fraction = (float)(int)(word >> 1) + 0.5f;
  const float x = upper_quantile(fraction * scale + least);
  return __int_as_float(__float_as_int(x) ^ (int)(word << 31));
}

// The float next to b, towards a.
float next_to(float b, float a) { return a == b ? b : nextafterf(b, a); }

void random(const KernelCall& call) {
  const RandomAttrs& attributes = attrs<RandomAttrs>(call);
  const Stream stream{input<int64_t>(call, 0), attributes.stream};
  const int64_t count = elements(call.outputs[0]);
  const float a = attributes.a, b = attributes.b;
  const float width = (b - a) * 0x1p-24f, most = next_to(b, a);
  const uint32_t threshold = bits_below(a);
  float* dst = output<float>(call, 0);
  switch (attributes.distribution) {
    case Distribution::uniform:
      return for_words(call, stream, count, [=] __device__(int64_t i, uint32_t word) {
        const float x = (float)(int)(word >> 8) * width + a;
        dst[i] = x < most ? x : most;
      });
    case Distribution::normal:
      return for_words(call, stream, count, [=] __device__(int64_t i, uint32_t word) {
        dst[i] = standard_normal(word, 0) * b + a;
      });
    case Distribution::truncated_normal:
      return for_words(call, stream, count, [=] __device__(int64_t i, uint32_t word) {
        const float x = standard_normal(word, kTail);
        dst[i] = fmaxf(fminf(x, 2.0f), -2.0f) * b + a;
      });
    case Distribution::bernoulli:
      return for_words(call, stream, count, [=] __device__(int64_t i, uint32_t word) {
        dst[i] = word >> 8 < threshold ? 1.0f : 0.0f;
      });
  }
}

const char* float32_only(const KernelCall& call) {
  return call.outputs[0].dtype == Dtype::float32 ? nullptr : "only float32";
}

constexpr Kernel kRandom[] = {{"random", float32_only, nullptr, random}};

}  // namespace

KernelList random_kernels(OpKind kind) {
  if (kind == OpKind::random) return list(kRandom);
  return {nullptr, 0};
}

}  // namespace fastconv::cuda
