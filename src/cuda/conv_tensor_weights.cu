// The gradient of a convolution's weights on tensor cores: a sum over pixels, in float32.
#include "conv_tensor.h"
#include "tensor_product.h"

namespace fastconv::cuda {
namespace {

TensorSize size_of(const WindowGeometry& g, const TensorShape& s) {
  const int64_t taps = window_taps(g) / (s.line ? g.kernel[2] : 1);
  return {taps * s.channels, g.out_channels / g.groups, output_pixels(g), g.groups};
}

}  // namespace

void tensor_backward_weights(const KernelCall& call, const WindowGeometry& g) {
  with_float(call, [&](auto type) {
    using T = typename decltype(type)::type;
    const TensorShape s = tensor_shape(g, sizeof(T), true);
    char* work = workspace<char>(call);
    const T* src = padded<T>(call, 0, pad_map(g, s), work);
    const T* ddst = padded<T>(call, 1, pad_result(g, s), work);
    const FilterResult result = {Divisor(s.channels),
                                 Divisor(s.pixel()),
                                 (int32_t)(s.line ? g.kernel[2] : 1),
                                 (int32_t)(g.in_channels / g.groups),
                                 (int32_t)g.out_channels,
                                 (int32_t)(g.out_channels / g.groups)};
    run_tensor_product(call, WindowColumns<T>{windows_of(g, s), src, (int32_t)output_pixels(g)},
                       MatrixRows<T>{ddst, (int32_t)(g.groups * s.filters), (int32_t)s.filters},
                       result, size_of(g, s), finish_of<float>(call, Epilogue{}),
                       reinterpret_cast<float*>(work));
  });
}

int64_t tensor_backward_weights_workspace(const KernelCall& call, const WindowGeometry& g) {
  const TensorShape s = tensor_shape(g, size_of(call.inputs[0].dtype), true);
  return pad_map(g, s).bytes() + pad_result(g, s).bytes() +
         tensor_workspace(call, size_of(g, s), s.element);
}
bool tensor_backward_weights_tiles(const KernelCall& call, const WindowGeometry& g) {
  const TensorShape s = tensor_shape(g, size_of(call.inputs[0].dtype), true);
  return tensor_tiles(call, size_of(g, s), s.element);
}

}  // namespace fastconv::cuda
