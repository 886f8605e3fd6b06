// The operations: one kind each, and one plain attribute struct a family. They are defined here
// once and reach Python through the binding. Inputs and outputs are listed beside each kind;
// [x] is optional, and ... stands for the operands of an Epilogue. A kernel may assume that shapes
// were checked when the plan was built.
#pragma once
#include <stdint.h>

#include "fastconv/geometry.h"
#include "fastconv/types.h"

namespace fastconv {

enum class OpKind : int32_t {
  // Convolution, ConvAttrs. N D H W C with kernels T R S C/groups K.
  conv,                   // src weights ... -> dst [mean rstd variance]
  conv_backward_data,     // ddst weights ... -> dsrc
  conv_backward_weights,  // src ddst -> dweights
  // Pooling, PoolAttrs. `indices` (int32) is the flat D*H*W position inside one channel's map.
  max_pool,               // src -> dst [indices]
  max_pool_backward,      // ddst indices -> dsrc
  average_pool,           // src -> dst
  average_pool_backward,  // ddst -> dsrc
  lp_pool,                // src -> dst
  lp_pool_backward,       // ddst src dst -> dsrc
  // Matrix product, GemmAttrs.
  gemm,  // a b ... -> c
  // Activations, ActivationAttrs. `saved` is src or dst, as activation_saves_output() says.
  activation,           // src -> dst
  activation_backward,  // ddst saved -> dsrc
  softmax,              // src -> dst, over the last axis
  softmax_backward,     // ddst dst -> dsrc
  // Element by element, with NumPy's broadcasting for binary.
  unary,   // src -> dst, UnaryAttrs
  binary,  // a b -> dst, BinaryAttrs
  select,  // condition a b -> dst = condition != 0 ? a : b, all of one shape and dtype
  cast,    // src -> dst; float to integer saturates, NaN gives 0
  fill,    // -> dst, FillAttrs
  copy,    // src -> dst
  // Reduction, ReduceAttrs.
  reduce,  // src -> dst
  // Normalisation. mean and rstd are 1/sqrt(variance + epsilon) per channel or per row.
  batch_norm,            // src gamma beta ... -> dst mean rstd variance, BatchNormAttrs
  batch_norm_inference,  // src gamma beta mean variance ... -> dst
  // Its epilogue is that of the forward, whose activation needs beta, or dst if there is `add`.
  batch_norm_backward,           // ddst src gamma mean rstd [beta|dst] -> dsrc dgamma dbeta [dadd]
  layer_norm,                    // src gamma beta -> dst mean rstd, LayerNormAttrs
  layer_norm_backward,           // ddst src gamma mean rstd -> dsrc dgamma dbeta
  local_response_norm,           // src -> dst [scale], LocalResponseNormAttrs
  local_response_norm_backward,  // ddst src scale -> dsrc
  // Dropout, DropoutAttrs. `random` is int64[2]: seed and step.
  dropout,           // src random -> dst mask (uint8)
  dropout_backward,  // ddst mask -> dsrc
  // Random numbers, RandomAttrs. `random` as for dropout.
  random,  // random -> dst (float32)
  // Shape.
  concat,     // any number of inputs -> dst, ConcatAttrs
  slice,      // src -> dst, SliceAttrs
  pad,        // src -> dst, PadAttrs
  reshape,    // src -> dst (same memory)
  transpose,  // src -> dst, TransposeAttrs
  broadcast,  // src -> dst, NumPy's broadcasting
  // Interpolation, ResizeAttrs. ranges are int32 [M 2], weights [M taps].
  resize,  // src ranges weights -> dst
  // Losses, one value a row. Labels are int64 indices [rows] or float32 distributions [rows C].
  softmax_cross_entropy,           // logits labels -> loss probabilities, CrossEntropyAttrs
  softmax_cross_entropy_backward,  // dloss probabilities labels -> dlogits
  cross_entropy,                   // probabilities labels -> loss
  cross_entropy_backward,          // dloss probabilities labels -> dprobabilities
  // Optimisers, over whole parameter blocks.
  sgd,  // weights gradients|a hyper [velocity [b]] -> weights [velocity], SgdAttrs; gradients A^T B
  // weights gradients hyper, slots... -> weights, slots...; the formulas stand in adaptive.cpp.
  rmsprop,   // slots: velocity [momentum] [average], RmspropAttrs
  adagrad,   // slots: accumulator
  adadelta,  // slots: accumulated_grad accumulated_delta
  adam,      // slots: momentum velocity [velocity_hat]; also AdamW and Nadam
  adamax,    // slots: momentum norm
  lion,      // slots: momentum
  // A host function, CallbackAttrs.
  callback,  // any -> any
  // Quantised arrays (uint8) stand for scale * (q - zero_point); see Quantization.
  quantize,    // src (float32) -> dst (uint8), Quantization
  dequantize,  // src (uint8) -> dst (float32), Quantization
  requantize,  // src [add] -> dst, Requantization
  // weights int8; bias int32, in units of src.scale * scales, and scales float32, one a filter.
  quantized_conv,          // src weights bias scales [add] -> dst, QuantizedConvAttrs
  quantized_average_pool,  // src -> dst, QuantizedPoolAttrs
  count_
};

enum class Activation : int32_t {
  identity,
  relu,
  relu6,
  leaky_relu,
  elu,
  selu,
  sigmoid,
  tanh,
  hard_sigmoid,
  hard_tanh,
  gaussian,
  softplus,
  softsign,
  swish,
  gelu,
  gelu_tanh,
  threshold,
  sign
};

// Whether the derivative is computed from the output (which makes fusion and in-place possible)
// or needs the input.
static inline bool activation_saves_output(Activation activation) {
  switch (activation) {
    case Activation::gaussian:
    case Activation::swish:
    case Activation::gelu:
    case Activation::gelu_tanh:
    case Activation::threshold:
    case Activation::sign: return false;
    default: return true;
  }
}

enum class UnaryOp : int32_t {
  negative,
  absolute,
  exp,
  log,
  sqrt,
  rsqrt,
  square,
  reciprocal,
  sign,
  floor,
  round,
  sin,
  cos,
  erf,
  is_finite
};
enum class BinaryOp : int32_t {
  add,
  subtract,
  multiply,
  divide,
  maximum,
  minimum,
  power,
  equal,
  greater,
  greater_equal
};
enum class ReduceOp : int32_t { sum, mean, max, min };
enum class Distribution : int32_t { uniform, normal, truncated_normal, bernoulli };

// What follows an operation while its result r is still in registers: activation(x) of
// x = r * scale + bias + add, or, with `derivative`, x times the activation's derivative where it
// gave `saved`. The operands come after the others of the operation: [scale] [bias] [add] [saved].
struct Epilogue {
  int32_t scale;       // 1: one value for each of the last axis
  int32_t bias;        // 1: the same
  int32_t add;         // 1: a tensor of dst's shape
  int32_t derivative;  // 1: `saved`, of dst's shape, as activation_saves_output() says
  Activation activation;
  float alpha;  // slope of leaky_relu, scale of elu
};

struct ConvAttrs {
  WindowGeometry geometry;
  Epilogue epilogue;
  // 1: dst of the forward, without `add` and `derivative`, has P/2 x Q/2 pixels, each the maximum
  // of 2x2 results; NaN is handed on.
  int32_t max_pool;
  int32_t tf32;  // 1: operands in float32 may be rounded to TF32, 10 bits behind the point
  // 1: the forward, with no more than a bias in its epilogue, also gives the statistics of dst that
  // a batch_norm of this epsilon would.
  int32_t statistics;
  float epsilon;
};
struct PoolAttrs {
  WindowGeometry geometry;
  float p;                    // of lp_pool: (sum |x|^p)^(1/p)
  int32_t count_include_pad;  // of average_pool: divide by the whole window
};
// C[batch,m,n] = A[batch,m,k] B[batch,k,n]; a transposed operand is stored [k,m] or [n,k]. An
// operand with `broadcast_` set has no batch and serves all.
struct GemmAttrs {
  int64_t batch, m, n, k;
  int32_t transpose_a, transpose_b;
  int32_t broadcast_a, broadcast_b;
  Epilogue epilogue;
  int32_t tf32;  // as in ConvAttrs
};
struct ActivationAttrs {
  Activation activation;
  float alpha;
};
struct UnaryAttrs {
  UnaryOp op;
};
struct BinaryAttrs {
  BinaryOp op;
};
struct FillAttrs {
  double value;
};
struct ReduceAttrs {
  ReduceOp op;
  int32_t axes;  // bit i: axis i of the source is reduced
};
struct BatchNormAttrs {  // over the last axis
  float epsilon;
  Epilogue epilogue;  // with `add` and an activation alone
};
struct LayerNormAttrs {  // over the last `axes` axes together
  float epsilon;
  int32_t axes;
};
// dst = src / scale^beta, scale = bias + alpha * sum of src^2 over 2*depth_radius+1 channels.
struct LocalResponseNormAttrs {
  int32_t depth_radius;
  float bias, alpha, beta;
};
struct DropoutAttrs {
  float rate;
  uint32_t stream;  // tells the dropouts of one graph apart
};
// uniform in [a, b); normal with mean a and deviation b, truncated_normal cut two deviations from
// the mean; bernoulli: 1 with probability a, else 0.
struct RandomAttrs {
  Distribution distribution;
  float a, b;
  uint32_t stream;  // tells the random numbers of one graph apart
};
struct ConcatAttrs {
  int32_t axis;
};
struct SliceAttrs {  // dst[i] = src[start + i * step]
  int64_t start[kMaxRank], step[kMaxRank];
};
struct PadAttrs {  // `interior` elements go between neighbours
  int64_t before[kMaxRank], after[kMaxRank], interior[kMaxRank];
  float value;
};
struct TransposeAttrs {  // dst axis i is src axis permutation[i]
  int32_t permutation[kMaxRank];
};
// Along `axis`, dst[i] = sum over t < count of weights[i, t] * src[first + t], where ranges[i] is
// (first, count).
struct ResizeAttrs {
  int32_t axis;
};
struct CrossEntropyAttrs {
  int32_t sparse;  // 1: labels are indices
};
// hyper is float32[2]: learning rate, momentum. Without velocity the momentum is not used.
// velocity = momentum * velocity - rate * gradient;
// weights += nesterov ? momentum * velocity - rate * gradient : velocity.
struct SgdAttrs {
  int32_t nesterov;
};
// With `centered` the last slot is the running average of the gradient.
struct RmspropAttrs {
  int32_t centered;
};
struct CallbackAttrs {
  int32_t index;
};
// What bytes stand for: q = clip(round(x / scale) + zero_point, 0, 255), rounded half to even.
struct Quantization {
  float scale;
  int32_t zero_point;
};
// How an integer r, made of src - src.zero_point, becomes an element of dst:
// x = clip((r * src.scale + (add - add.zero_point) * add.scale) / dst.scale, low, high), where the
// quotients of scales are taken first; dst is round(x) + dst.zero_point, or, with `real`, x.
struct Requantization {
  Quantization src, add, dst;
  int32_t has_add;  // 1: a tensor (uint8) of dst's shape
  int32_t real;     // 1: dst is float32, else uint8
  float low, high;
};
struct QuantizedConvAttrs {  // r is the sum of products and bias, times its filter's scale
  WindowGeometry geometry;
  Requantization to;
};
struct QuantizedPoolAttrs {  // r is the mean of a window
  WindowGeometry geometry;
  int32_t count_include_pad;
  Requantization to;
};

constexpr int kAttrBytes = 256;

// Attribute struct of one step, of whichever family.
struct Attrs {
  alignas(8) unsigned char bytes[kAttrBytes];
};

constexpr int kNoInplace = -1;

// What the planner and the checks know of a kind.
struct OpInfo {
  OpKind kind;
  const char* name;
  int32_t attr_bytes;
  int32_t min_inputs, max_inputs;  // kAnyNumber: no limit
  int32_t min_outputs, max_outputs;
  // Input whose memory output 0 / output 1 may take over, or kNoInplace; outputs after the second
  // take over the inputs that follow.
  int32_t inplace[2];
  uint32_t optional_outputs;  // bit i: output i may have null data when nobody reads it
};
constexpr int kAnyNumber = 1 << 20;
const OpInfo& op_info(OpKind kind);

}  // namespace fastconv
