// The normalisations, each in a file of its own; norm.cpp lists them.
#pragma once
#include "kernels.h"

namespace fastconv::cpu::FASTCONV_ISA {

void batch_norm(const KernelCall& call);
void batch_norm_backward(const KernelCall& call);
void batch_norm_inference(const KernelCall& call);
int64_t batch_norm_workspace(const KernelCall& call);
int64_t batch_norm_backward_workspace(const KernelCall& call);
int64_t batch_norm_inference_workspace(const KernelCall& call);

void layer_norm(const KernelCall& call);
void layer_norm_backward(const KernelCall& call);
int64_t layer_norm_backward_workspace(const KernelCall& call);

void local_response_norm(const KernelCall& call);
void local_response_norm_backward(const KernelCall& call);
int64_t local_response_norm_workspace(const KernelCall& call);

}  // namespace fastconv::cpu::FASTCONV_ISA
