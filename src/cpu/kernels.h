// What a kernel file exports: one list of kernels an op kind, best first, plain one last. The
// lists are gathered in kernel_table.cpp, the only switch over op kinds.
//
// Kernel files are compiled once per instruction set. They include only <stddef.h>, <stdint.h>,
// intrinsics and headers of fastconv, keep everything in namespace FASTCONV_ISA, and use no
// function of the C++ library: a shared inline function compiled for a new CPU could otherwise be
// the copy that an old CPU runs.
#pragma once
#include "fastconv/backend.h"
#include "parallel.h"
#include "simd.h"

namespace fastconv::cpu::FASTCONV_ISA {

template <int N>
static constexpr KernelList list(const Kernel (&kernels)[N]) {
  return {kernels, N};
}

template <class T>
static inline const T& attrs(const KernelCall& call) {
  return *static_cast<const T*>(call.attrs);
}
template <class T>
static inline const T* input(const KernelCall& call, int i) {
  return static_cast<const T*>(call.inputs[i].data);
}
template <class T>
static inline T* output(const KernelCall& call, int i) {
  return static_cast<T*>(call.outputs[i].data);
}

// The reason that most kernels give first.
static inline const char* needs_float32(const KernelCall& call) {
  if (call.inputs[0].dtype != Dtype::float32) return "only float32";
  return nullptr;
}

KernelList activation_kernels(OpKind kind);
KernelList adaptive_kernels(OpKind kind);
KernelList conv_kernels(OpKind kind);
KernelList dropout_kernels(OpKind kind);
KernelList elementwise_kernels(OpKind kind);
KernelList gemm_kernels(OpKind kind);
KernelList loss_kernels(OpKind kind);
KernelList norm_kernels(OpKind kind);
KernelList pool_kernels(OpKind kind);
KernelList quantized_kernels(OpKind kind);
KernelList random_kernels(OpKind kind);
KernelList reduce_kernels(OpKind kind);
KernelList resize_kernels(OpKind kind);
KernelList sgd_kernels(OpKind kind);
KernelList shape_kernels(OpKind kind);

// All of them, for this instruction set.
KernelList kernels(OpKind kind);

}  // namespace fastconv::cpu::FASTCONV_ISA
