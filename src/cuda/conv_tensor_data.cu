// The data gradient of a convolution on tensor cores.
#include "conv_tensor.h"
#include "tensor_product.h"

namespace fastconv::cuda {
namespace {

// Its channels are rows, which need not be whole chunks.
TensorShape shape_of(const WindowGeometry& g, int64_t element) {
  TensorShape s = tensor_shape(g, element, false);
  s.channels = g.in_channels / g.groups;
  return s;
}

TensorSize size_of(const WindowGeometry& g, const Correlation& c) {
  int64_t pixels = g.batch, depth = c.depth.size();
  for (int a = 0; a < 3; ++a) {
    pixels *= ceil_div(g.input[a], g.stride[a]);
    int64_t most = 0;
    for (int b = 0; b < c.count[a]; ++b)
      if (c.axis[a][b].taps.size() > most) most = c.axis[a][b].taps.size();
    depth *= most;
  }
  return {pixels, g.in_channels / g.groups, depth, g.groups * c.phases.size()};
}

}  // namespace

const char* conv_backward_data_tensor_declines(const KernelCall& call) {
  for (const int64_t stride : geometry(call).stride)
    if (stride > kMostStride) return "a stride above 4";
  return conv_tensor_declines(call);
}

void tensor_backward_data(const KernelCall& call, const WindowGeometry& g,
                          const Epilogue& epilogue) {
  with_float(call, [&](auto type) {
    using T = typename decltype(type)::type;
    const TensorShape s = shape_of(g, sizeof(T));
    char* work = workspace<char>(call);
    const T* ddst = padded<T>(call, 0, pad_result(g, s), work);
    const T* weights = padded<T>(call, 1, pad_weights(g, s), work);
    const Correlation c = covers_of(g, s);
    const int64_t row = g.groups * s.filters;
    run_tensor_product(call, WindowRows<T>{c, ddst},
                       TurnedFilters<T>(c, weights, row, s.channels * row, s.filters),
                       PixelResult{c, (int32_t)g.in_channels, (int32_t)s.channels}, size_of(g, c),
                       finish_of<T>(call, epilogue), reinterpret_cast<float*>(work));
    finish_activation<T>(call, epilogue);
  });
}

int64_t tensor_backward_data_workspace(const KernelCall& call, const WindowGeometry& g) {
  const TensorShape s = shape_of(g, size_of(call.inputs[0].dtype));
  return pad_result(g, s).bytes() + pad_weights(g, s).bytes() +
         tensor_workspace(call, size_of(g, covers_of(g, s)), s.element);
}
bool tensor_backward_data_tiles(const KernelCall& call, const WindowGeometry& g) {
  const TensorShape s = shape_of(g, size_of(call.inputs[0].dtype));
  return tensor_tiles(call, size_of(g, covers_of(g, s)), s.element);
}

}  // namespace fastconv::cuda
