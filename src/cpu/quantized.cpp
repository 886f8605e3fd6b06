// Between numbers and their bytes, element by element; the kernels of quantised arrays.
#include "quantized.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kBlock = 16384;  // elements a task

// Calls body(i, lanes) for the vectors of the output, on all threads.
template <class Body>
void each(const KernelCall& call, const Body& body) {
  parallel_blocks(elements(call.outputs[0]), kBlock, 4,
                  [&](int64_t begin, int64_t end) { for_vectors(begin, end, body); });
}

void quantize(const KernelCall& call) {
  const auto& a = attrs<Quantization>(call);
  const float* src = input<float>(call, 0);
  const float low = static_cast<float>(-a.zero_point);
  uint8_t* dst = output<uint8_t>(call, 0);
  each(call, [=](int64_t i, int64_t lanes) {
    const vfloat x = clip_to(load_lanes(src + i, lanes) / a.scale, low, low + 255);
    store_bytes(dst + i, round_even(x) + a.zero_point, lanes);
  });
}

void dequantize(const KernelCall& call) {
  const auto& a = attrs<Quantization>(call);
  const uint8_t* src = input<uint8_t>(call, 0);
  float* dst = output<float>(call, 0);
  each(call, [=](int64_t i, int64_t lanes) {
    store_lanes(dst + i, to_float(load_bytes(src + i, lanes) - a.zero_point) * a.scale, lanes);
  });
}

void requantize(const KernelCall& call) {
  const auto& a = attrs<Requantization>(call);
  const uint8_t* src = input<uint8_t>(call, 0);
  const Requantizer out = requantizer(call, a, 1);
  each(call, [&, src](int64_t i, int64_t lanes) {
    const vint x = load_bytes(src + i, lanes) - a.src.zero_point;
    out.put(to_float(x) * out.multiplier, i, lanes);
  });
}

constexpr Kernel kQuantize[] = {{"vector", nullptr, nullptr, quantize}};
constexpr Kernel kDequantize[] = {{"vector", nullptr, nullptr, dequantize}};
constexpr Kernel kRequantize[] = {{"vector", nullptr, nullptr, requantize}};
constexpr Kernel kAveragePool[] = {{"average_pool", nullptr, nullptr, quantized_average_pool}};
constexpr Kernel kConv[] = {
    {"depthwise", quantized_conv_depthwise_declines, quantized_conv_depthwise_workspace,
     quantized_conv_depthwise},
    {"implicit_gemm", quantized_conv_product_declines, quantized_conv_product_workspace,
     quantized_conv_product, quantized_conv_product_prepared, quantized_conv_product_prepare},
    {"direct_loop", nullptr, nullptr, quantized_conv_direct},
};

}  // namespace

KernelList quantized_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::quantize: return list(kQuantize);
    case OpKind::dequantize: return list(kDequantize);
    case OpKind::requantize: return list(kRequantize);
    case OpKind::quantized_conv: return list(kConv);
    case OpKind::quantized_average_pool: return list(kAveragePool);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
