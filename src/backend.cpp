// What is known of each op kind, and the choice of its kernel.
#include "fastconv/backend.h"

#include "environment.h"
#include "fastconv/plan.h"

namespace fastconv {
namespace {

constexpr int kNo = kNoInplace;

template <class T>
constexpr int32_t kSize = static_cast<int32_t>(sizeof(T));

constexpr OpInfo kOps[] = {
    {OpKind::conv, "conv", kSize<ConvAttrs>, 2, 3, 1, 1, {kNo, kNo}, 0},
    {OpKind::conv_backward_data, "conv_backward_data", kSize<ConvAttrs>, 2, 2, 1, 1, {kNo, kNo}, 0},
    {OpKind::conv_backward_weights,
     "conv_backward_weights",
     kSize<ConvAttrs>,
     2,
     2,
     1,
     1,
     {kNo, kNo},
     0},
    {OpKind::max_pool, "max_pool", kSize<PoolAttrs>, 1, 1, 2, 2, {kNo, kNo}, 2},
    {OpKind::max_pool_backward, "max_pool_backward", kSize<PoolAttrs>, 2, 2, 1, 1, {kNo, kNo}, 0},
    {OpKind::average_pool, "average_pool", kSize<PoolAttrs>, 1, 1, 1, 1, {kNo, kNo}, 0},
    {OpKind::average_pool_backward,
     "average_pool_backward",
     kSize<PoolAttrs>,
     1,
     1,
     1,
     1,
     {kNo, kNo},
     0},
    {OpKind::lp_pool, "lp_pool", kSize<PoolAttrs>, 1, 1, 1, 1, {kNo, kNo}, 0},
    {OpKind::lp_pool_backward, "lp_pool_backward", kSize<PoolAttrs>, 3, 3, 1, 1, {kNo, kNo}, 0},
    {OpKind::gemm, "gemm", kSize<GemmAttrs>, 2, 3, 1, 1, {kNo, kNo}, 0},
    {OpKind::activation, "activation", kSize<ActivationAttrs>, 1, 1, 1, 1, {0, kNo}, 0},
    {OpKind::activation_backward,
     "activation_backward",
     kSize<ActivationAttrs>,
     2,
     2,
     1,
     1,
     {0, kNo},
     0},
    {OpKind::softmax, "softmax", 0, 1, 1, 1, 1, {0, kNo}, 0},
    {OpKind::softmax_backward, "softmax_backward", 0, 2, 2, 1, 1, {0, kNo}, 0},
    {OpKind::unary, "unary", kSize<UnaryAttrs>, 1, 1, 1, 1, {0, kNo}, 0},
    {OpKind::binary, "binary", kSize<BinaryAttrs>, 2, 2, 1, 1, {0, kNo}, 0},
    {OpKind::select, "select", 0, 3, 3, 1, 1, {1, kNo}, 0},
    {OpKind::cast, "cast", 0, 1, 1, 1, 1, {0, kNo}, 0},
    {OpKind::fill, "fill", kSize<FillAttrs>, 0, 0, 1, 1, {kNo, kNo}, 0},
    {OpKind::copy, "copy", 0, 1, 1, 1, 1, {0, kNo}, 0},
    {OpKind::reduce, "reduce", kSize<ReduceAttrs>, 1, 1, 1, 1, {kNo, kNo}, 0},
    {OpKind::batch_norm, "batch_norm", kSize<BatchNormAttrs>, 3, 3, 4, 4, {kNo, kNo}, 0},
    {OpKind::batch_norm_backward,
     "batch_norm_backward",
     kSize<BatchNormAttrs>,
     5,
     5,
     3,
     3,
     {kNo, kNo},
     0},
    {OpKind::batch_norm_inference,
     "batch_norm_inference",
     kSize<BatchNormAttrs>,
     5,
     5,
     1,
     1,
     {0, kNo},
     0},
    {OpKind::layer_norm, "layer_norm", kSize<LayerNormAttrs>, 3, 3, 3, 3, {kNo, kNo}, 0},
    {OpKind::layer_norm_backward,
     "layer_norm_backward",
     kSize<LayerNormAttrs>,
     5,
     5,
     3,
     3,
     {kNo, kNo},
     0},
    {OpKind::local_response_norm,
     "local_response_norm",
     kSize<LocalResponseNormAttrs>,
     1,
     1,
     2,
     2,
     {kNo, kNo},
     2},
    {OpKind::local_response_norm_backward,
     "local_response_norm_backward",
     kSize<LocalResponseNormAttrs>,
     3,
     3,
     1,
     1,
     {kNo, kNo},
     0},
    {OpKind::dropout, "dropout", kSize<DropoutAttrs>, 2, 2, 2, 2, {0, kNo}, 0},
    {OpKind::dropout_backward, "dropout_backward", kSize<DropoutAttrs>, 2, 2, 1, 1, {0, kNo}, 0},
    {OpKind::concat, "concat", kSize<ConcatAttrs>, 1, kAnyNumber, 1, 1, {kNo, kNo}, 0},
    {OpKind::slice, "slice", kSize<SliceAttrs>, 1, 1, 1, 1, {kNo, kNo}, 0},
    {OpKind::pad, "pad", kSize<PadAttrs>, 1, 1, 1, 1, {kNo, kNo}, 0},
    {OpKind::reshape, "reshape", 0, 1, 1, 1, 1, {0, kNo}, 0},
    {OpKind::transpose, "transpose", kSize<TransposeAttrs>, 1, 1, 1, 1, {kNo, kNo}, 0},
    {OpKind::broadcast, "broadcast", 0, 1, 1, 1, 1, {kNo, kNo}, 0},
    {OpKind::softmax_cross_entropy,
     "softmax_cross_entropy",
     kSize<CrossEntropyAttrs>,
     2,
     2,
     2,
     2,
     {kNo, kNo},
     2},
    {OpKind::softmax_cross_entropy_backward,
     "softmax_cross_entropy_backward",
     kSize<CrossEntropyAttrs>,
     3,
     3,
     1,
     1,
     {kNo, kNo},
     0},
    {OpKind::cross_entropy, "cross_entropy", kSize<CrossEntropyAttrs>, 2, 2, 1, 1, {kNo, kNo}, 0},
    {OpKind::cross_entropy_backward,
     "cross_entropy_backward",
     kSize<CrossEntropyAttrs>,
     3,
     3,
     1,
     1,
     {kNo, kNo},
     0},
    {OpKind::sgd, "sgd", kSize<SgdAttrs>, 3, 4, 1, 2, {0, 3}, 0},
    {OpKind::rmsprop, "rmsprop", kSize<RmspropAttrs>, 4, 6, 2, 4, {0, 3}, 0},
    {OpKind::adagrad, "adagrad", 0, 4, 4, 2, 2, {0, 3}, 0},
    {OpKind::adadelta, "adadelta", 0, 5, 5, 3, 3, {0, 3}, 0},
    {OpKind::adam, "adam", 0, 5, 6, 3, 4, {0, 3}, 0},
    {OpKind::adamax, "adamax", 0, 5, 5, 3, 3, {0, 3}, 0},
    {OpKind::lion, "lion", 0, 4, 4, 2, 2, {0, 3}, 0},
    {OpKind::callback,
     "callback",
     kSize<CallbackAttrs>,
     0,
     kAnyNumber,
     1,
     kAnyNumber,
     {kNo, kNo},
     0},
};

constexpr bool in_order() {
  for (int i = 0; i < static_cast<int>(OpKind::count_); ++i)
    if (kOps[i].kind != static_cast<OpKind>(i) || kOps[i].attr_bytes > kAttrBytes) return false;
  return sizeof(kOps) / sizeof(kOps[0]) == static_cast<size_t>(OpKind::count_);
}
static_assert(in_order(), "kOps lists the kinds in the order of OpKind");

std::vector<Tensor> tensors_of(const std::vector<int32_t>& indices,
                               const std::vector<Slot>& slots) {
  std::vector<Tensor> tensors;
  for (int32_t i : indices) tensors.push_back(i < 0 ? Tensor{} : slots[i].tensor);
  return tensors;
}

std::string all_declined(const Step& step, const Backend& backend,
                         const std::vector<std::string>& declined) {
  std::string message = step.label + " (" + op_info(step.kind).name + "): no kernel of the " +
                        backend.name + " backend can run this";
  for (const std::string& reason : declined) message += "; " + reason;
  return message;
}

}  // namespace

const OpInfo& op_info(OpKind kind) { return kOps[static_cast<int>(kind)]; }

KernelChoice choose_kernel(const Backend& backend, const Step& step,
                           const std::vector<Slot>& slots) {
  KernelChoice choice{nullptr, 0, {}};
  if (step.kind == OpKind::reshape || step.kind == OpKind::callback) return choice;
  const std::vector<Tensor> inputs = tensors_of(step.inputs, slots);
  const std::vector<Tensor> outputs = tensors_of(step.outputs, slots);
  const KernelCall call{step.attrs.bytes,
                        inputs.data(),
                        static_cast<int32_t>(inputs.size()),
                        outputs.data(),
                        static_cast<int32_t>(outputs.size()),
                        nullptr,
                        nullptr};
  const std::string forced =
      step.kernel.empty() ? forced_kernel(op_info(step.kind).name) : step.kernel;
  const KernelList list = backend.kernels(step.kind);
  for (int32_t i = 0; i < list.count && !choice.kernel; ++i) {
    const Kernel& kernel = list.kernels[i];
    const char* reason = kernel.declines ? kernel.declines(call) : nullptr;
    if (!reason && !forced.empty() && forced != kernel.name) reason = "another one is forced";
    if (reason)
      choice.declined.push_back(std::string(kernel.name) + ": " + reason);
    else
      choice.kernel = &kernel;
  }
  if (!choice.kernel)
    throw Error(ErrorKind::argument, all_declined(step, backend, choice.declined));
  if (choice.kernel->workspace) choice.workspace_bytes = choice.kernel->workspace(call);
  return choice;
}

}  // namespace fastconv
