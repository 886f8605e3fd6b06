// Convolution on tensor cores (tensor_product.h), of bfloat16, float16 or, as TF32, float32; and
// what its directions share: how the operands of a geometry are seen as those of a product.
//
// Rows that are no multiple of 16 bytes are first copied, with zeros behind them, into some that
// are; so every product moves whole chunks.
#pragma once
#include "conv.h"
#include "tensor_operands.h"

namespace fastconv::cuda {

// An array [outer, a, b, c] of an operand, and the one that a product reads: `to` in place of
// `from`, with `before` zeros in front of a.
struct Padding {
  int64_t outer, from[3], to[3], before;
  int64_t element;  // bytes
  bool needed() const;
  int64_t bytes() const;  // of the copy, 0 if there is none
};

// The sizes of a product's operands for a geometry.
struct TensorShape {
  int64_t channels, filters;  // of a group, in whole chunks
  // Of an image of few channels a tap is a whole line of the window: neighbouring pixels of the
  // copied map, a line of which is `width` of them, with padding. 0: a tap is a pixel.
  int64_t line, width;
  int64_t element;                                                     // bytes
  int64_t pixel() const { return line ? channels / line : channels; }  // values of a pixel
};
TensorShape tensor_shape(const WindowGeometry& g, int64_t element, bool lines);

Padding pad_map(const WindowGeometry& g, const TensorShape& s);
Padding pad_result(const WindowGeometry& g, const TensorShape& s);
Padding pad_weights(const WindowGeometry& g, const TensorShape& s);

// Makes the copy.
void pad(const KernelCall& call, const void* from, const Padding& padding, void* to);

// Input i, or its copy in `work`, which then begins behind it.
template <class T>
const T* padded(const KernelCall& call, int i, const Padding& padding, char*& work) {
  const T* src = input<T>(call, i);
  if (!padding.needed()) return src;
  T* copy = reinterpret_cast<T*>(work);
  pad(call, src, padding, copy);
  work += padding.bytes();
  return copy;
}

// How windows meet src; how results meet ddst, in phases.
Correlation windows_of(const WindowGeometry& g, const TensorShape& s);
Correlation covers_of(const WindowGeometry& g, const TensorShape& s);

// Why it cannot be run, or null; `tf32` is the attribute of that name.
const char* tensor_types_decline(const KernelCall& call, bool tf32);
const char* tensor_sizes_decline(const WindowGeometry& g);
const char* conv_tensor_declines(const KernelCall& call);
const char* conv_backward_data_tensor_declines(const KernelCall& call);

// Of any operation that is such a convolution. `call` has that many bytes of workspace. `moments`,
// if they are wanted, are those of parts of dst of tensor_forward_part() pixels, if that is not 0.
void tensor_forward(const KernelCall& call, const WindowGeometry& g, const Epilogue& epilogue,
                    float* moments = nullptr);
int64_t tensor_forward_part(const KernelCall& call, const WindowGeometry& g);
void tensor_backward_data(const KernelCall& call, const WindowGeometry& g,
                          const Epilogue& epilogue);
void tensor_backward_weights(const KernelCall& call, const WindowGeometry& g);
int64_t tensor_forward_workspace(const KernelCall& call, const WindowGeometry& g);
int64_t tensor_backward_data_workspace(const KernelCall& call, const WindowGeometry& g);
int64_t tensor_backward_weights_workspace(const KernelCall& call, const WindowGeometry& g);
// Whether its product can be cut as the call says.
bool tensor_forward_tiles(const KernelCall& call, const WindowGeometry& g);
bool tensor_backward_data_tiles(const KernelCall& call, const WindowGeometry& g);
bool tensor_backward_weights_tiles(const KernelCall& call, const WindowGeometry& g);

}  // namespace fastconv::cuda
