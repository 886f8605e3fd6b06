// Quantised arrays: sums of products of bytes, exact in int32, and how such a sum becomes a byte
// again. The arithmetic is the same on every instruction set, to the last bit; the build keeps
// products and sums of floats apart for it (-ffp-contract=off).
#pragma once
#include "bytes.h"
#include "kernels.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {

// Half to even, for |x| < 2^22: the last place of the sum is 1, and its bits are x's.
static inline vint round_even(vfloat x) {
  const float shift = 0x1.8p23f;
  return (vint)(x + shift) - 0x4b400000;
}

// NaN becomes `low`.
static inline vfloat clip_to(vfloat x, float low, float high) {
  return min(max(x, splat(low)), splat(high));
}

// Requantization with its operands.
struct Requantizer {
  float multiplier, add_multiplier;
  float low, high;
  int32_t add_zero_point, zero_point;
  bool real;
  const uint8_t* add;  // null: none
  uint8_t* dst;

  // Elements go to dst[at .. at + count); x is what r is in steps of dst.
  void put(vfloat x, int64_t at, int64_t count) const {
    put_case(x, at, count, add != nullptr, real);
  }
  // The same where loops know the last arguments.
  __attribute__((always_inline)) void put_case(vfloat x, int64_t at, int64_t count, bool has_add,
                                               bool is_real) const {
    if (has_add) x += to_float(load_bytes(add + at, count) - add_zero_point) * add_multiplier;
    x = clip_to(x, low, high);
    if (is_real)
      store_lanes(reinterpret_cast<float*>(dst) + at, x, count);
    else
      store_bytes(dst + at, round_even(x) + zero_point, count);
  }
};

static inline Requantizer requantizer(const KernelCall& call, const Requantization& to,
                                      int32_t add_at) {
  return {to.src.scale / to.dst.scale,
          to.add.scale / to.dst.scale,
          to.low,
          to.high,
          to.add.zero_point,
          to.dst.zero_point,
          to.real != 0,
          to.has_add ? input<uint8_t>(call, add_at) : nullptr,
          output<uint8_t>(call, 0)};
}

// quantized_conv.cpp: a dense product for each group.
const char* quantized_conv_product_declines(const KernelCall& call);
void quantized_conv_product(const KernelCall& call);
int64_t quantized_conv_product_workspace(const KernelCall& call);
int64_t quantized_conv_product_prepared(const KernelCall& call);
void quantized_conv_product_prepare(const KernelCall& call);

// quantized_depthwise.cpp: one channel to one channel, and plain loops for every geometry.
const char* quantized_conv_depthwise_declines(const KernelCall& call);
void quantized_conv_depthwise(const KernelCall& call);
int64_t quantized_conv_depthwise_workspace(const KernelCall& call);
void quantized_conv_direct(const KernelCall& call);

// quantized_pool.cpp
void quantized_average_pool(const KernelCall& call);

}  // namespace fastconv::cpu::FASTCONV_ISA
