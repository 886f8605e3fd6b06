// Mean of the windows of a quantised array: summed in int32, divided and requantised.
#include "pool_window.h"
#include "quantized.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// Of `lanes` channels, what is above the zero point.
vint sum_window(const uint8_t* src, const WindowGeometry& g, const Window& win, int64_t lanes,
                int32_t zero_point) {
  vint sum = {};
  for (int64_t t = 0; t < win.d.count; ++t)
    for (int64_t r = 0; r < win.h.count; ++r)
      for (int64_t s = 0; s < win.w.count; ++s) {
        const int64_t d = win.d.first + t * g.dilation[0], h = win.h.first + r * g.dilation[1];
        const int64_t w = win.w.first + s * g.dilation[2];
        sum += load_bytes(src + ((d * g.input[1] + h) * g.input[2] + w) * g.in_channels, lanes);
      }
  return sum - splat(static_cast<int32_t>(win.count()) * zero_point);
}

}  // namespace

void quantized_average_pool(const KernelCall& call) {
  const auto& a = attrs<QuantizedPoolAttrs>(call);
  const WindowGeometry& g = a.geometry;
  const int64_t C = g.in_channels, outputs = g.output[0] * g.output[1] * g.output[2];
  const int64_t taps = g.kernel[0] * g.kernel[1] * g.kernel[2];
  const int64_t map_bytes = g.input[0] * g.input[1] * g.input[2] * C;
  const Requantizer out = requantizer(call, a.to, 1);
  parallel_for(g.batch * outputs, C * taps / kLanes + 1, [&](int64_t output) {
    const int64_t q = output % g.output[2], p = output / g.output[2] % g.output[1];
    const Window win = {span(g, 0, output % outputs / g.output[2] / g.output[1]), span(g, 1, p),
                        span(g, 2, q)};
    const float count = static_cast<float>(a.count_include_pad ? taps : win.count());
    const uint8_t* src = input<uint8_t>(call, 0) + output / outputs * map_bytes;
    channel_vectors(C, [&](int64_t c, int64_t lanes) {
      const vint sum = sum_window(src + c, g, win, lanes, a.to.src.zero_point);
      const vfloat mean = count > 0 ? to_float(sum) / count : vfloat{};
      out.put(mean * out.multiplier, output * C + c, lanes);
    });
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
