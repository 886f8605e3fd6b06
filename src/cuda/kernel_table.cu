// The kernels by op kind.
#include "kernels.h"

namespace fastconv::cuda {

KernelList kernels(const Backend& self, OpKind kind) {
  switch (kind) {
    case OpKind::conv:
    case OpKind::conv_backward_data:
    case OpKind::conv_backward_weights: return conv_kernels(kind, has_hopper(self));
    case OpKind::max_pool:
    case OpKind::max_pool_backward:
    case OpKind::average_pool:
    case OpKind::average_pool_backward:
    case OpKind::lp_pool:
    case OpKind::lp_pool_backward: return pool_kernels(kind);
    case OpKind::gemm: return gemm_kernels(kind, has_hopper(self));
    case OpKind::activation:
    case OpKind::activation_backward:
    case OpKind::softmax:
    case OpKind::softmax_backward: return activation_kernels(kind);
    case OpKind::unary:
    case OpKind::binary:
    case OpKind::select:
    case OpKind::cast:
    case OpKind::fill:
    case OpKind::copy: return elementwise_kernels(kind);
    case OpKind::reduce: return reduce_kernels(kind);
    case OpKind::batch_norm:
    case OpKind::batch_norm_backward:
    case OpKind::batch_norm_inference:
    case OpKind::layer_norm:
    case OpKind::layer_norm_backward:
    case OpKind::local_response_norm:
    case OpKind::local_response_norm_backward: return norm_kernels(kind);
    case OpKind::dropout:
    case OpKind::dropout_backward: return dropout_kernels(kind);
    case OpKind::random: return random_kernels(kind);
    case OpKind::concat:
    case OpKind::slice:
    case OpKind::pad:
    case OpKind::transpose:
    case OpKind::broadcast: return shape_kernels(kind);
    case OpKind::resize: return resize_kernels(kind);
    case OpKind::softmax_cross_entropy:
    case OpKind::softmax_cross_entropy_backward:
    case OpKind::cross_entropy:
    case OpKind::cross_entropy_backward: return loss_kernels(kind);
    case OpKind::sgd: return sgd_kernels(kind);
    case OpKind::rmsprop:
    case OpKind::adagrad:
    case OpKind::adadelta:
    case OpKind::adam:
    case OpKind::adamax:
    case OpKind::lion: return adaptive_kernels(kind);
    case OpKind::quantize:  // a CPU computes with bytes
    case OpKind::dequantize:
    case OpKind::requantize:
    case OpKind::quantized_conv:
    case OpKind::quantized_average_pool:
    case OpKind::reshape:   // the plan only renames the memory
    case OpKind::callback:  // the plan calls the host
    case OpKind::count_: break;
  }
  return {nullptr, 0};
}

bool tiles(const Backend&, OpKind kind, const char* kernel, const DeviceCall& call) {
  return kind == OpKind::gemm ? gemm_tiles(kernel, call) : conv_tiles(kind, kernel, call);
}

}  // namespace fastconv::cuda
