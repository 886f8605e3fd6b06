// Random numbers from counters: element i follows from word i of its stream (philox.h) alone.
//
// A normal number is the normal distribution's quantile of its word, by Wichura's algorithm AS 241
// (PPND7, Applied Statistics 37, 1988). Every operation below is one that IEEE 754 rounds, in one
// order and without fused multiply-adds, so that the bytes are the same on every device.
#pragma GCC optimize("fp-contract=off")
#include "kernels.h"
#include "philox.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kBlock = 256 * kGroup;
constexpr float kTail = 0.022750132f;  // of the normal distribution below -2

// ln x for normal x > 0: x = 2^n m with sqrt(1/2) <= m < sqrt(2), ln m = 2 atanh((m - 1) / (m +
// 1)).
static inline vfloat natural_log(vfloat x) {
  const vint exponent = (bits(x) - 0x3f3504f3) >> 23;
  const vfloat m = (vfloat)(bits(x) - (exponent << 23));
  const vfloat t = m - 1.0f, s = t / (t + 2.0f), z = s * s;
  const float c[] = {2.0f / 3.0f, 2.0f / 5.0f, 2.0f / 7.0f, 2.0f / 9.0f};
  const vfloat small = s * 2.0f + s * (z * polynomial(z, c));
  return to_float(exponent) * 0.693147181f + small;
}

// The x >= 0 that a normal number exceeds with probability p, 2^-33 <= p <= 1/2.
static inline vfloat upper_quantile(vfloat p) {
  const float a[] = {3.3871327179f, 50.434271938f, 159.29113202f, 59.109374720f};
  const float b[] = {1.0f, 17.895169469f, 78.757757664f, 67.187563600f};
  const float c[] = {1.4234372777f, 2.7568153900f, 1.3067284816f, 0.17023821103f};
  const float d[] = {1.0f, 0.73700164250f, 0.12021132975f};
  const vfloat q = 0.5f - p, r = 0.180625f - q * q;
  const vfloat middle = q * (polynomial(r, a) / polynomial(r, b));
  const vfloat t = sqrt(-natural_log(p)) - 1.6f;
  const vfloat tail = polynomial(t, c) / polynomial(t, d);
  return q <= 0.425f ? middle : tail;
}

// The lowest bit of the word is the sign, the others a probability between `least` and 1/2.
static inline vfloat standard_normal(vint word, float least) {
  const float scale = (0.5f - least) * 0x1p-31f;
  const vfloat fraction = to_float((word >> 1) & INT32_MAX) + 0.5f;
  const vfloat x = upper_quantile(fraction * scale + least);
  return (vfloat)(bits(x) ^ (word << 31));
}

// The float next to b, towards a.
float next_to(float b, float a) {
  if (a == b) return b;
  int32_t bits = 0;
  __builtin_memcpy(&bits, &b, sizeof bits);
  const bool outwards = (a > b) == (b > 0);
  bits = b == 0 ? (a > b ? 1 : INT32_MIN + 1) : bits + (outwards ? 1 : -1);
  __builtin_memcpy(&b, &bits, sizeof bits);
  return b;
}

// dst[i] = f(word of i)
template <class F>
void generate(const KernelCall& call, int64_t work, const F& f) {
  const int64_t* random = input<int64_t>(call, 0);
  const Stream s{(uint64_t)random[0], (uint32_t)random[1], attrs<RandomAttrs>(call).stream};
  float* dst = output<float>(call, 0);
  parallel_blocks(elements(call.outputs[0]), kBlock, work, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kGroup) {
      vint words[kVectors];
      draw(s, first, words);
      for (int v = 0; v < kVectors; ++v) {
        const int64_t i = first + v * kLanes, left = end - i;
        if (left <= 0) break;
        store_lanes(dst + i, f(words[v]), left < kLanes ? left : kLanes);
      }
    }
  });
}

void random(const KernelCall& call) {
  const RandomAttrs& attributes = attrs<RandomAttrs>(call);
  const float a = attributes.a, b = attributes.b;
  const float width = (b - a) * 0x1p-24f, most = next_to(b, a);
  const int32_t threshold = bits_below(a);
  switch (attributes.distribution) {
    case Distribution::uniform:
      return generate(call, 8, [=](vint word) {
        return min(to_float(upper_bits(word)) * width + a, splat(most));
      });
    case Distribution::normal:
      return generate(call, 40, [=](vint word) { return standard_normal(word, 0) * b + a; });
    case Distribution::truncated_normal:
      return generate(call, 40, [=](vint word) {
        const vfloat x = standard_normal(word, kTail);
        return max(min(x, splat(2.0f)), splat(-2.0f)) * b + a;
      });
    case Distribution::bernoulli:
      return generate(
          call, 8, [=](vint word) { return to_float((upper_bits(word) < splat(threshold)) & 1); });
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

}  // namespace fastconv::cpu::FASTCONV_ISA
