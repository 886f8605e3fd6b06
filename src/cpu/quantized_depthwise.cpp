// Quantised convolution without a product of matrices: depthwise, where channels are lanes, and
// plain loops for every geometry.
#include "conv.h"
#include "quantized.h"
#include "quantized_dot.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int kOutputs = 7;  // neighbours whose sums stay in registers
constexpr int64_t kMostTaps = 256;

const QuantizedConvAttrs& attributes(const KernelCall& call) {
  return attrs<QuantizedConvAttrs>(call);
}

// src N D H W C, weights T R S 1 C, dst N O P Q C.
struct Depthwise {
  const QuantizedConvAttrs& attrs;
  const uint8_t *src, *zeros;
  const int8_t* weights;
  const int32_t* bias;
  const float* scales;
  Requantizer out;
  int64_t C, taps;
};

using Pixels = const uint8_t* [kMostTaps][kOutputs];

// Of a lane one half is a byte and the other 0, or the sign of a weight: add_pairs() multiplies.
template <bool kWhole>
void sum_channels(const Depthwise& d, const Pixels& pixels, int64_t first, int64_t count, int64_t c,
                  int64_t left) {
  const int64_t lanes = kWhole ? kLanes : left;
  const Requantizer out = d.out;  // a copy: bytes that are written may be anything else
  vint sums[kOutputs], total = {};
#pragma GCC unroll 7
  for (int m = 0; m < kOutputs; ++m) sums[m] = vint{};
  for (int64_t tap = 0; tap < d.taps; ++tap) {
    const vint weight = load_bytes(d.weights + tap * d.C + c, lanes);
    total += weight;
#pragma GCC unroll 7
    for (int m = 0; m < kOutputs; ++m)
      sums[m] += add_pairs(load_bytes(pixels[tap][m] + c, lanes), weight);
  }
  const vint start = load_lanes(d.bias + c, lanes) - total * d.attrs.to.src.zero_point;
  const vfloat multiplier = load_lanes(d.scales + c, lanes) * out.multiplier;
  for (int64_t m = 0; m < count; ++m)
    out.put(to_float(sums[m] + start) * multiplier, (first + m) * d.C + c, lanes);
}

// The first pixel of each row of the window, null in the padding, for a line N O P of outputs.
void find_rows(const Depthwise& d, int64_t line, const uint8_t** rows) {
  const WindowGeometry& g = d.attrs.geometry;
  const int64_t p = line % g.output[1], o = line / g.output[1] % g.output[0];
  const int64_t n = line / g.output[1] / g.output[0];
  for (int64_t t = 0; t < g.kernel[0]; ++t)
    for (int64_t r = 0; r < g.kernel[1]; ++r) {
      const int64_t z = o * g.stride[0] + t * g.dilation[0] - g.pad_before[0];
      const int64_t y = p * g.stride[1] + r * g.dilation[1] - g.pad_before[1];
      const bool inside = z >= 0 && z < g.input[0] && y >= 0 && y < g.input[1];
      const int64_t row = (n * g.input[0] + z) * g.input[1] + y;
      *rows++ = inside ? d.src + row * g.input[2] * d.C : nullptr;
    }
}

// What each tap meets for outputs q .. q + kOutputs of a line; the last one of the line stands for
// those behind it.
void fill_pixels(const Depthwise& d, const uint8_t* const* rows, int64_t q, Pixels& pixels) {
  const WindowGeometry& g = d.attrs.geometry;
  for (int64_t tap = 0; tap < d.taps; ++tap) {
    const uint8_t* row = rows[tap / g.kernel[2]];
    const int64_t at = tap % g.kernel[2] * g.dilation[2] - g.pad_before[2];
    for (int64_t m = 0; m < kOutputs; ++m) {
      const int64_t output = q + m < g.output[2] ? q + m : g.output[2] - 1;
      const int64_t x = output * g.stride[2] + at;
      pixels[tap][m] = row && x >= 0 && x < g.input[2] ? row + x * d.C : d.zeros;
    }
  }
}

void run_line(const Depthwise& d, int64_t line) {
  const int64_t Q = d.attrs.geometry.output[2];
  const uint8_t* rows[kMostTaps];
  Pixels pixels;
  find_rows(d, line, rows);
  for (int64_t q = 0; q < Q; q += kOutputs) {
    fill_pixels(d, rows, q, pixels);
    const int64_t count = Q - q < kOutputs ? Q - q : kOutputs;
    channel_vectors(d.C, [&](int64_t c, int64_t lanes) {
      lanes == kLanes ? sum_channels<true>(d, pixels, line * Q + q, count, c, lanes)
                      : sum_channels<false>(d, pixels, line * Q + q, count, c, lanes);
    });
  }
}

}  // namespace

const char* quantized_conv_depthwise_declines(const KernelCall& call) {
  const WindowGeometry& g = attributes(call).geometry;
  if (g.groups != g.in_channels || g.groups != g.out_channels)
    return "not one channel to one channel";
  if (window_taps(g) > kMostTaps) return "too large a window";
  return nullptr;
}

int64_t quantized_conv_depthwise_workspace(const KernelCall& call) {
  return attributes(call).geometry.in_channels;
}

void quantized_conv_depthwise(const KernelCall& call) {
  const QuantizedConvAttrs& a = attributes(call);
  const WindowGeometry& g = a.geometry;
  uint8_t* zeros = static_cast<uint8_t*>(call.workspace);
  __builtin_memset(zeros, a.to.src.zero_point, static_cast<size_t>(g.in_channels));
  const Depthwise d = {a,
                       input<uint8_t>(call, 0),
                       zeros,
                       input<int8_t>(call, 1),
                       input<int32_t>(call, 2),
                       input<float>(call, 3),
                       requantizer(call, a.to, 4),
                       g.in_channels,
                       window_taps(g)};
  const int64_t lines = g.batch * g.output[0] * g.output[1];
  const int64_t work = g.output[2] * d.taps * ceil_div(d.C, kLanes);
  constexpr int64_t kTasks = 64;
  parallel_blocks(lines, items_per_task(lines, kTasks), work, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) run_line(d, line);
  });
}

void quantized_conv_direct(const KernelCall& call) {
  const QuantizedConvAttrs& a = attributes(call);
  const WindowGeometry& g = a.geometry;
  const int64_t K = g.out_channels, C = g.in_channels, taps = window_taps(g);
  const int64_t Cg = C / g.groups, Kg = K / g.groups;
  const uint8_t* src = input<uint8_t>(call, 0);
  const int8_t* weights = input<int8_t>(call, 1);
  const int32_t* bias = input<int32_t>(call, 2);
  const float* scales = input<float>(call, 3);
  const Requantizer out = requantizer(call, a.to, 4);
  const int64_t outputs = g.batch * g.output[0] * g.output[1] * g.output[2];
  parallel_for(outputs, K * Cg * taps, [&](int64_t output) {
    for (int64_t k = 0; k < K; ++k) {
      int32_t sum = bias[k];
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t pixel = input_pixel(g, output, tap);
        const uint8_t* x = src + pixel * C + k / Kg * Cg;
        for (int64_t c = 0; pixel >= 0 && c < Cg; ++c)
          sum += (x[c] - a.to.src.zero_point) * weights[(tap * Cg + c) * K + k];
      }
      const float multiplier = scales[k] * out.multiplier;
      out.put(splat(static_cast<float>(sum)) * multiplier, output * K + k, 1);
    }
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
