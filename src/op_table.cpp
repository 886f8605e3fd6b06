// The table of op kinds: all that is known of each one, in one row.
#include "operands.h"

namespace fastconv {
namespace {

struct Count {
  constexpr Count(int32_t exactly) : min(exactly), max(exactly) {}
  constexpr Count(int32_t least, int32_t most) : min(least), max(most) {}
  int32_t min, max;
};

struct Row {
  // Output `output` may take over the memory of input `input`.
  constexpr Row in_place(int output, int input) const {
    Row row = *this;
    row.info.inplace[output] = input;
    return row;
  }
  // Output `output` need not be stored when nobody reads it.
  constexpr Row optional(int output) const {
    Row row = *this;
    row.info.optional_outputs |= 1u << output;
    return row;
  }
  OpInfo info;
  void (*check)(const Operands&);
};

template <class T>
constexpr int32_t kSize = static_cast<int32_t>(sizeof(T));
template <>
constexpr int32_t kSize<void> = 0;

template <class Attributes = void>
constexpr Row op(OpKind kind, const char* name, Count inputs, Count outputs,
                 void (*check)(const Operands&)) {
  return {{kind,
           name,
           kSize<Attributes>,
           inputs.min,
           inputs.max,
           outputs.min,
           outputs.max,
           {kNoInplace, kNoInplace},
           0},
          check};
}

// Kind and its attributes, name, number of inputs, of outputs, check of the operands.
constexpr Row kTable[] = {
    op<ConvAttrs>(OpKind::conv, "conv", {2, 6}, {1, 4}, checks::conv)
        .optional(1)
        .optional(2)
        .optional(3),
    op<ConvAttrs>(OpKind::conv_backward_data, "conv_backward_data", {2, 6}, 1,
                  checks::conv_backward_data),
    op<ConvAttrs>(OpKind::conv_backward_weights, "conv_backward_weights", 2, 1,
                  checks::conv_backward_weights),
    op<PoolAttrs>(OpKind::max_pool, "max_pool", 1, 2, checks::pool).optional(1),
    op<PoolAttrs>(OpKind::max_pool_backward, "max_pool_backward", 2, 1, checks::pool_backward),
    op<PoolAttrs>(OpKind::average_pool, "average_pool", 1, 1, checks::pool),
    op<PoolAttrs>(OpKind::average_pool_backward, "average_pool_backward", 1, 1,
                  checks::pool_backward),
    op<PoolAttrs>(OpKind::lp_pool, "lp_pool", 1, 1, checks::pool),
    op<PoolAttrs>(OpKind::lp_pool_backward, "lp_pool_backward", 3, 1, checks::pool_backward),
    op<GemmAttrs>(OpKind::gemm, "gemm", {2, 6}, 1, checks::gemm),
    op<ActivationAttrs>(OpKind::activation, "activation", 1, 1, checks::all_alike).in_place(0, 0),
    op<ActivationAttrs>(OpKind::activation_backward, "activation_backward", 2, 1, checks::all_alike)
        .in_place(0, 0),
    op<>(OpKind::softmax, "softmax", 1, 1, checks::all_alike).in_place(0, 0),
    op<>(OpKind::softmax_backward, "softmax_backward", 2, 1, checks::all_alike).in_place(0, 0),
    op<UnaryAttrs>(OpKind::unary, "unary", 1, 1, checks::all_alike).in_place(0, 0),
    op<BinaryAttrs>(OpKind::binary, "binary", 2, 1, checks::broadcasting).in_place(0, 0),
    op<>(OpKind::select, "select", 3, 1, checks::all_alike).in_place(0, 1),
    op<>(OpKind::cast, "cast", 1, 1, checks::same_shape).in_place(0, 0),
    op<FillAttrs>(OpKind::fill, "fill", 0, 1, checks::no_check),
    op<>(OpKind::copy, "copy", 1, 1, checks::all_alike).in_place(0, 0),
    op<ReduceAttrs>(OpKind::reduce, "reduce", 1, 1, checks::reduce),
    op<BatchNormAttrs>(OpKind::batch_norm, "batch_norm", {3, 4}, 4, checks::batch_norm),
    op<BatchNormAttrs>(OpKind::batch_norm_inference, "batch_norm_inference", {5, 6}, 1,
                       checks::batch_norm_inference)
        .in_place(0, 0),
    op<BatchNormAttrs>(OpKind::batch_norm_backward, "batch_norm_backward", {5, 6}, {3, 4},
                       checks::batch_norm_backward),
    op<LayerNormAttrs>(OpKind::layer_norm, "layer_norm", 3, 3, checks::layer_norm),
    op<LayerNormAttrs>(OpKind::layer_norm_backward, "layer_norm_backward", 5, 3,
                       checks::layer_norm_backward),
    op<LocalResponseNormAttrs>(OpKind::local_response_norm, "local_response_norm", 1, 2,
                               checks::local_response_norm)
        .optional(1),
    op<LocalResponseNormAttrs>(OpKind::local_response_norm_backward, "local_response_norm_backward",
                               3, 1, checks::all_alike),
    op<DropoutAttrs>(OpKind::dropout, "dropout", 2, 2, checks::dropout).in_place(0, 0),
    op<DropoutAttrs>(OpKind::dropout_backward, "dropout_backward", 2, 1, checks::dropout_backward)
        .in_place(0, 0),
    op<RandomAttrs>(OpKind::random, "random", 1, 1, checks::random),
    op<ConcatAttrs>(OpKind::concat, "concat", {1, kAnyNumber}, 1, checks::concat),
    op<SliceAttrs>(OpKind::slice, "slice", 1, 1, checks::slice),
    op<PadAttrs>(OpKind::pad, "pad", 1, 1, checks::pad),
    op<>(OpKind::reshape, "reshape", 1, 1, checks::reshape).in_place(0, 0),
    op<TransposeAttrs>(OpKind::transpose, "transpose", 1, 1, checks::transpose),
    op<>(OpKind::broadcast, "broadcast", 1, 1, checks::broadcasting),
    op<ResizeAttrs>(OpKind::resize, "resize", 3, 1, checks::resize),
    op<CrossEntropyAttrs>(OpKind::softmax_cross_entropy, "softmax_cross_entropy", 2, 2,
                          checks::cross_entropy)
        .optional(1),
    op<CrossEntropyAttrs>(OpKind::softmax_cross_entropy_backward, "softmax_cross_entropy_backward",
                          3, 1, checks::cross_entropy_backward),
    op<CrossEntropyAttrs>(OpKind::cross_entropy, "cross_entropy", 2, 1, checks::cross_entropy),
    op<CrossEntropyAttrs>(OpKind::cross_entropy_backward, "cross_entropy_backward", 3, 1,
                          checks::cross_entropy_backward),
    op<SgdAttrs>(OpKind::sgd, "sgd", {3, 5}, {1, 2}, checks::sgd).in_place(0, 0).in_place(1, 3),
    op<RmspropAttrs>(OpKind::rmsprop, "rmsprop", {4, 6}, {2, 4}, checks::rmsprop)
        .in_place(0, 0)
        .in_place(1, 3),
    op<>(OpKind::adagrad, "adagrad", 4, 2, checks::adagrad).in_place(0, 0).in_place(1, 3),
    op<>(OpKind::adadelta, "adadelta", 5, 3, checks::adadelta).in_place(0, 0).in_place(1, 3),
    op<>(OpKind::adam, "adam", {5, 6}, {3, 4}, checks::adam).in_place(0, 0).in_place(1, 3),
    op<>(OpKind::adamax, "adamax", 5, 3, checks::adamax).in_place(0, 0).in_place(1, 3),
    op<>(OpKind::lion, "lion", 4, 2, checks::lion).in_place(0, 0).in_place(1, 3),
    op<CallbackAttrs>(OpKind::callback, "callback", {0, kAnyNumber}, {1, kAnyNumber},
                      checks::no_check),
    op<Quantization>(OpKind::quantize, "quantize", 1, 1, checks::quantize),
    op<Quantization>(OpKind::dequantize, "dequantize", 1, 1, checks::dequantize),
    op<Requantization>(OpKind::requantize, "requantize", {1, 2}, 1, checks::requantize),
    op<QuantizedConvAttrs>(OpKind::quantized_conv, "quantized_conv", {4, 5}, 1,
                           checks::quantized_conv),
    op<QuantizedPoolAttrs>(OpKind::quantized_average_pool, "quantized_average_pool", 1, 1,
                           checks::quantized_average_pool),
};

constexpr bool in_order() {
  for (int i = 0; i < static_cast<int>(OpKind::count_); ++i) {
    const OpInfo& info = kTable[i].info;
    if (info.kind != static_cast<OpKind>(i) || info.attr_bytes > kAttrBytes) return false;
  }
  return sizeof(kTable) / sizeof(kTable[0]) == static_cast<size_t>(OpKind::count_);
}
static_assert(in_order(), "kTable lists the kinds in the order of OpKind");

}  // namespace

const OpInfo& op_info(OpKind kind) { return kTable[static_cast<int>(kind)].info; }

void check_operands(const Step& step, const std::vector<Slot>& slots) {
  kTable[static_cast<int>(step.kind)].check({step, slots});
}

}  // namespace fastconv
