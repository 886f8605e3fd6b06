// Max pooling of quantised arrays: the largest byte stands for the largest number.
#include "pool_window.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kBytes = 4 * kLanes;
typedef uint8_t vbytes __attribute__((vector_size(kBytes)));
typedef uint8_t vbytes_any __attribute__((vector_size(kBytes), aligned(1), may_alias));

vbytes load_bytes(const uint8_t* p, int64_t count) {
  if (count == kBytes) return *reinterpret_cast<const vbytes_any*>(p);
  vbytes v = {};
  __builtin_memcpy(&v, p, static_cast<size_t>(count));
  return v;
}

// `count` channels of one window.
vbytes largest(const uint8_t* src, const WindowGeometry& g, const Window& win, int64_t count) {
  vbytes best = {};
  for (int64_t t = 0; t < win.d.count; ++t)
    for (int64_t r = 0; r < win.h.count; ++r)
      for (int64_t s = 0; s < win.w.count; ++s) {
        const int64_t d = win.d.first + t * g.dilation[0], h = win.h.first + r * g.dilation[1];
        const int64_t w = win.w.first + s * g.dilation[2];
        const int64_t pixel = (d * g.input[1] + h) * g.input[2] + w;
        const vbytes x = load_bytes(src + pixel * g.in_channels, count);
        best = x > best ? x : best;
      }
  return best;
}

}  // namespace

const char* max_bytes_declines(const KernelCall& call) {
  if (call.inputs[0].dtype != Dtype::uint8) return "only uint8";
  if (call.outputs[1].rank > 0) return "somebody reads the indices";
  return nullptr;
}

void max_pool_bytes(const KernelCall& call) {
  const WindowGeometry& g = attrs<PoolAttrs>(call).geometry;
  const int64_t C = g.in_channels, lines = g.batch * g.output[0] * g.output[1];
  const int64_t taps = g.kernel[0] * g.kernel[1] * g.kernel[2];
  const int64_t map_bytes = g.input[0] * g.input[1] * g.input[2] * C;
  parallel_for(lines, g.output[2] * taps * ceil_div(C, kBytes), [&](int64_t line) {
    const int64_t p = line % g.output[1], o = line / g.output[1] % g.output[0];
    const uint8_t* src = input<uint8_t>(call, 0) + line / g.output[1] / g.output[0] * map_bytes;
    Window win = {span(g, 0, o), span(g, 1, p), {}};
    uint8_t* dst = output<uint8_t>(call, 0) + line * g.output[2] * C;
    for (int64_t q = 0; q < g.output[2]; ++q, dst += C) {
      win.w = span(g, 2, q);
      for (int64_t c = 0; c < C; c += kBytes) {
        const int64_t count = C - c < kBytes ? C - c : kBytes;
        const vbytes best = largest(src + c, g, win, count);
        __builtin_memcpy(dst + c, &best, static_cast<size_t>(count));
      }
    }
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
