// The operands of convolutions on tensor cores, and the forward direction.
#include "conv_tensor.h"
#include "tensor_product.h"

namespace fastconv::cuda {
namespace {

// Values in whole chunks of such elements.
int64_t whole_chunks(int64_t values, int64_t element) {
  const int64_t each = kPackBytes / element;
  return ceil_div(values, each) * each;
}

int32_t gcd(int32_t a, int32_t b) { return b == 0 ? a : gcd(b, a % b); }

// dst[i] = the four values there, of src or zeros.
template <class T>
void pad_elements(const KernelCall& call, const T* src, const Padding& p, T* dst) {
  constexpr int kEach = 4;
  struct alignas(kEach * sizeof(T)) Four {
    T values[kEach];
  };
  const Divisor across(p.to[2] / kEach), rows(p.to[1]), columns(p.to[0]);
  const int64_t count = p.outer * p.to[0] * p.to[1] * (p.to[2] / kEach);
  for_each(call, count, [=] __device__(int64_t i) {
    const int64_t row = across(i), column = rows(row), outer = columns(column);
    const int64_t c = (i - row * across.size()) * kEach, b = row - column * rows.size();
    const int64_t a = column - outer * columns.size() - p.before;
    const bool inside = a >= 0 && a < p.from[0] && b < p.from[1];
    const T* from = src + ((outer * p.from[0] + a) * p.from[1] + b) * p.from[2] + c;
    Four four = {};
#pragma unroll
    for (int k = 0; k < kEach; ++k)
      if (inside && c + k < p.from[2]) four.values[k] = from[k];
    reinterpret_cast<Four*>(dst)[i] = four;
  });
}

// The elements of a map between neighbours along its axes, in a Correlation.
void set_distances(Correlation& c, int64_t pixel) {
  c.distance[2] = (int32_t)pixel;
  c.distance[1] = c.size[2] * c.distance[2];
  c.distance[0] = c.size[1] * c.distance[1];
  c.sample = c.size[0] * c.distance[0];
}

TensorSize forward_size(const WindowGeometry& g, const TensorShape& s) {
  const int64_t taps = window_taps(g) / (s.line ? g.kernel[2] : 1);
  return {output_pixels(g), g.out_channels / g.groups, taps * s.channels, g.groups};
}

// Few channels in steps that are whole chunks of pixels of four values; of floats each is one.
bool has_lines(const WindowGeometry& g, int64_t element) {
  return element == 2 && g.in_channels <= 4 && g.groups == 1 && g.stride[2] % 2 == 0 &&
         g.dilation[2] == 1 && g.pad_before[2] >= 0 && g.kernel[2] > 1;
}

}  // namespace

bool Padding::needed() const {
  return from[0] != to[0] || from[1] != to[1] || from[2] != to[2] || before != 0;
}
int64_t Padding::bytes() const {
  return needed() ? ceil_div(outer * to[0] * to[1] * to[2] * element, 64) * 64 : 0;
}

TensorShape tensor_shape(const WindowGeometry& g, int64_t element, bool lines) {
  const int64_t filters = whole_chunks(g.out_channels / g.groups, element);
  if (!lines || !has_lines(g, element))
    return {whole_chunks(g.in_channels / g.groups, element), filters, 0, 0, element};
  const int64_t line = ceil_div(g.kernel[2], 2) * 2;
  return {line * 4, filters, line, (g.output[2] - 1) * g.stride[2] + line, element};
}

Padding pad_map(const WindowGeometry& g, const TensorShape& s) {
  if (s.line)
    return {input_pixels(g) / g.input[2],
            {g.input[2], 1, g.in_channels},
            {s.width, 1, s.pixel()},
            g.pad_before[2],
            s.element};
  return {input_pixels(g),
          {1, g.groups, g.in_channels / g.groups},
          {1, g.groups, s.channels},
          0,
          s.element};
}

Padding pad_result(const WindowGeometry& g, const TensorShape& s) {
  return {output_pixels(g),
          {1, g.groups, g.out_channels / g.groups},
          {1, g.groups, s.filters},
          0,
          s.element};
}

Padding pad_weights(const WindowGeometry& g, const TensorShape& s) {
  if (s.line)
    return {g.kernel[0] * g.kernel[1],
            {g.kernel[2], g.in_channels, g.out_channels},
            {s.line, s.pixel(), s.filters},
            0,
            s.element};
  return {window_taps(g),
          {g.in_channels / g.groups, g.groups, g.out_channels / g.groups},
          {s.channels, g.groups, s.filters},
          0,
          s.element};
}

void pad(const KernelCall& call, const void* from, const Padding& padding, void* to) {
  const auto copy = [&](auto type) {
    using T = typename decltype(type)::type;
    pad_elements(call, static_cast<const T*>(from), padding, static_cast<T*>(to));
  };
  padding.element == 2 ? copy(TypeTag<uint16_t>{}) : copy(TypeTag<uint32_t>{});
}

Correlation windows_of(const WindowGeometry& g, const TensorShape& s) {
  Correlation c = {};
  c.phases = Divisor(1);
  for (int a = 0; a < 3; ++a) {
    c.rows[a] = Divisor(g.output[a]);
    c.count[a] = 1;
    c.axis[a][0] = {Divisor(g.kernel[a]), 0, (int32_t)-g.pad_before[a], 0};
    c.size[a] = (int32_t)g.input[a];
    c.result[a] = (int32_t)g.output[a];
    c.stride[a] = (int32_t)g.stride[a];
    c.step[a] = (int32_t)g.dilation[a];
    c.tap_step[a] = 1;
    c.window[a] = (int32_t)g.kernel[a];
  }
  if (s.line) {
    c.axis[2][0] = {Divisor(1), 0, 0, 0};
    c.size[2] = (int32_t)s.width;
  }
  c.depth = Divisor(s.channels);
  c.group = (int32_t)s.channels;
  set_distances(c, g.groups * s.pixel());
  return c;
}

// An input pixel at h meets output pixel q by tap r if h + pad = q * stride + r * dilation. In a
// phase, h + pad and so r * dilation leave the same rest `b` when divided by the stride.
Correlation covers_of(const WindowGeometry& g, const TensorShape& s) {
  Correlation c = {};
  c.phases = Divisor(g.stride[0] * g.stride[1] * g.stride[2]);
  for (int a = 0; a < 3; ++a) {
    const int32_t stride = (int32_t)g.stride[a], dilation = (int32_t)g.dilation[a];
    const int32_t kernel = (int32_t)g.kernel[a], pad = (int32_t)g.pad_before[a];
    const int32_t tap_step = stride / gcd(stride, dilation);
    c.rows[a] = Divisor(ceil_div(g.input[a], stride));
    c.count[a] = stride;
    c.size[a] = (int32_t)g.output[a];
    c.result[a] = (int32_t)g.input[a];
    c.stride[a] = 1;
    c.step[a] = -(dilation * tap_step / stride);
    c.tap_step[a] = tap_step;
    c.window[a] = kernel;
    for (int32_t b = 0; b < stride; ++b) {
      const int32_t first = ((b - pad) % stride + stride) % stride;
      int32_t tap = 0;
      while (tap < tap_step && (tap * dilation - b) % stride != 0) ++tap;
      const bool meets = tap < tap_step && tap < kernel;
      c.axis[a][b] = {Divisor(meets ? (kernel - tap + tap_step - 1) / tap_step : 0), tap,
                      (first + pad - b) / stride - (tap * dilation - b) / stride, first};
    }
  }
  c.depth = Divisor(s.filters);
  c.group = (int32_t)s.filters;
  set_distances(c, g.groups * s.filters);
  return c;
}

const char* tensor_sizes_decline(const WindowGeometry& g) {
  constexpr int64_t kMost = INT32_MAX / 2;
  const int64_t C = whole_chunks(g.in_channels / g.groups, 2) * g.groups;
  const int64_t K = whole_chunks(g.out_channels / g.groups, 2) * g.groups;
  if (g.kernel[0] + g.kernel[1] + g.kernel[2] > kMostTaps) return "too large a window";
  if (C > kMost / window_taps(g) / K) return "the weights do not fit 31 bits";
  int64_t src = C, dst = K;
  for (int i = 0; i < 3; ++i) {
    const int64_t padded = g.input[i] + g.pad_before[i] + g.pad_after[i];
    if (padded > kMost / src || g.input[i] > kMost / src || g.output[i] > kMost / dst)
      return "a sample does not fit 31 bits";
    src *= padded > g.input[i] ? padded : g.input[i];
    dst *= g.output[i];
  }
  if (input_pixels(g) > kMost || output_pixels(g) > kMost) return "pixels do not fit 31 bits";
  return nullptr;
}

const char* tensor_types_decline(const KernelCall& call, bool tf32) {
  if (all_half(call)) return nullptr;
  if (needs_float32(call)) return "only float32, or bfloat16 or float16 alone";
  return tf32 ? nullptr : "float32 that is not to be rounded";
}

const char* conv_tensor_declines(const KernelCall& call) {
  if (const char* reason = tensor_types_decline(call, attrs<ConvAttrs>(call).tf32)) return reason;
  return tensor_sizes_decline(geometry(call));
}

void tensor_forward(const KernelCall& call, const WindowGeometry& g, const Epilogue& epilogue,
                    float* moments) {
  with_float(call, [&](auto type) {
    using T = typename decltype(type)::type;
    const TensorShape s = tensor_shape(g, sizeof(T), true);
    char* work = workspace<char>(call);
    const T* src = padded<T>(call, 0, pad_map(g, s), work);
    const T* weights = padded<T>(call, 1, pad_weights(g, s), work);
    const Correlation c = windows_of(g, s);
    const int64_t filters = g.out_channels / g.groups;
    const auto run = [&](auto keeps) {
      run_tensor_product<keeps.value>(
          call, WindowRows<T>{c, src},
          MatrixRows<T>{weights, (int32_t)(g.groups * s.filters), (int32_t)s.filters},
          PixelResult{c, (int32_t)g.out_channels, (int32_t)filters}, forward_size(g, s),
          finish_of<T>(call, epilogue), reinterpret_cast<float*>(work), moments);
    };
    moments ? run(Constant<true>{}) : run(Constant<false>{});
    finish_activation<T>(call, epilogue);
  });
}

int64_t tensor_forward_workspace(const KernelCall& call, const WindowGeometry& g) {
  const TensorShape s = tensor_shape(g, size_of(call.inputs[0].dtype), true);
  return pad_map(g, s).bytes() + pad_weights(g, s).bytes() +
         tensor_workspace(call, forward_size(g, s), s.element);
}

int64_t tensor_forward_part(const KernelCall& call, const WindowGeometry& g) {
  const TensorShape s = tensor_shape(g, size_of(call.inputs[0].dtype), true);
  return tensor_part(call, forward_size(g, s), s.element);
}
bool tensor_forward_tiles(const KernelCall& call, const WindowGeometry& g) {
  const TensorShape s = tensor_shape(g, size_of(call.inputs[0].dtype), true);
  return tensor_tiles(call, forward_size(g, s), s.element);
}

}  // namespace fastconv::cuda
