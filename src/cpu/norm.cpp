// The list of normalisations.
#include "norm.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr Kernel kBatch[] = {{"batch_norm", needs_float, batch_norm_workspace, batch_norm}};
constexpr Kernel kBatchBackward[] = {
    {"batch_norm_backward", needs_float, batch_norm_backward_workspace, batch_norm_backward}};
constexpr Kernel kBatchInference[] = {
    {"batch_norm_inference", needs_float, batch_norm_inference_workspace, batch_norm_inference}};
constexpr Kernel kLayer[] = {{"layer_norm", needs_float32, nullptr, layer_norm}};
constexpr Kernel kLayerBackward[] = {
    {"layer_norm_backward", needs_float32, layer_norm_backward_workspace, layer_norm_backward}};
constexpr Kernel kLocal[] = {
    {"local_response_norm", needs_float32, local_response_norm_workspace, local_response_norm}};
constexpr Kernel kLocalBackward[] = {{"local_response_norm_backward", needs_float32,
                                      local_response_norm_workspace, local_response_norm_backward}};

}  // namespace

KernelList norm_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::batch_norm: return list(kBatch);
    case OpKind::batch_norm_backward: return list(kBatchBackward);
    case OpKind::batch_norm_inference: return list(kBatchInference);
    case OpKind::layer_norm: return list(kLayer);
    case OpKind::layer_norm_backward: return list(kLayerBackward);
    case OpKind::local_response_norm: return list(kLocal);
    case OpKind::local_response_norm_backward: return list(kLocalBackward);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
