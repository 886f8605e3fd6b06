// Which kernel computes a convolution.
#include "conv.h"

namespace fastconv::cuda {
namespace {

constexpr Kernel kForward[] = {
    {"direct", conv_direct_declines, nullptr, conv_direct},
    {"implicit_gemm", conv_implicit_declines, conv_implicit_workspace, conv_implicit},
};
constexpr Kernel kBackwardData[] = {
    {"direct", conv_direct_declines, nullptr, conv_backward_data_direct},
    {"implicit_gemm", conv_implicit_declines, conv_backward_data_implicit_workspace,
     conv_backward_data_implicit},
};
constexpr Kernel kBackwardWeights[] = {
    {"direct", conv_direct_declines, conv_backward_weights_direct_workspace,
     conv_backward_weights_direct},
    {"implicit_gemm", conv_implicit_declines, conv_backward_weights_implicit_workspace,
     conv_backward_weights_implicit},
};

}  // namespace

KernelList conv_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::conv: return list(kForward);
    case OpKind::conv_backward_data: return list(kBackwardData);
    case OpKind::conv_backward_weights: return list(kBackwardWeights);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cuda
