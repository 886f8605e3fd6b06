// Checks every operand of a step against the one description of the problem: its attributes.
#pragma once
#include <cstring>
#include <vector>

#include "fastconv/plan.h"

namespace fastconv {

struct Operands {
  const Step& step;
  const std::vector<Slot>& slots;

  template <class T>
  T attrs() const {
    T value;
    std::memcpy(&value, step.attrs.bytes, sizeof value);
    return value;
  }
  size_t n_inputs() const { return step.inputs.size(); }
  size_t n_outputs() const { return step.outputs.size(); }
  bool has_output(size_t i) const { return i < n_outputs() && step.outputs[i] >= 0; }
  const Tensor& in(size_t i) const { return slots[step.inputs[i]].tensor; }
  const Tensor& out(size_t i) const { return slots[step.outputs[i]].tensor; }
};

// One check for each row of the table of kinds, some for several. They throw Error(format).
namespace checks {
void adadelta(const Operands& o);
void adagrad(const Operands& o);
void adam(const Operands& o);
void adamax(const Operands& o);
void all_alike(const Operands& o);
void batch_norm(const Operands& o);
void batch_norm_backward(const Operands& o);
void batch_norm_inference(const Operands& o);
void broadcasting(const Operands& o);
void concat(const Operands& o);
void conv(const Operands& o);
void conv_backward_data(const Operands& o);
void conv_backward_weights(const Operands& o);
void cross_entropy(const Operands& o);
void cross_entropy_backward(const Operands& o);
void dequantize(const Operands& o);
void dropout(const Operands& o);
void dropout_backward(const Operands& o);
void gemm(const Operands& o);
void layer_norm(const Operands& o);
void layer_norm_backward(const Operands& o);
void lion(const Operands& o);
void local_response_norm(const Operands& o);
void no_check(const Operands& o);
void pad(const Operands& o);
void pool(const Operands& o);
void pool_backward(const Operands& o);
void quantize(const Operands& o);
void quantized_average_pool(const Operands& o);
void quantized_conv(const Operands& o);
void random(const Operands& o);
void reduce(const Operands& o);
void requantize(const Operands& o);
void reshape(const Operands& o);
void resize(const Operands& o);
void rmsprop(const Operands& o);
void same_shape(const Operands& o);
void sgd(const Operands& o);
void slice(const Operands& o);
void transpose(const Operands& o);
}  // namespace checks

// Throws Error(format) if an operand has a shape or dtype that the kernels of its kind do not
// expect. A plan from a file has passed through this before it runs.
void check_operands(const Step& step, const std::vector<Slot>& slots);

}  // namespace fastconv
