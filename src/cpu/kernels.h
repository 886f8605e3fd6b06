// What a kernel file exports: one list of kernels an op kind, best first, plain one last. The
// lists are gathered in kernel_table.cpp, where each kind is sent to its family.
//
// Kernel files are compiled once per instruction set. They include only <stddef.h>, <stdint.h>,
// intrinsics and headers of fastconv, keep everything in namespace FASTCONV_ISA, and use no
// function of the C++ library: a shared inline function compiled for a new CPU could otherwise be
// the copy that an old CPU runs.
#pragma once
#include "bfloat16.h"
#include "fastconv/backend.h"
#include "parallel.h"

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

// Whether an input never changes, so that a kernel may prepare it once.
static inline bool is_constant(const KernelCall& call, int i) {
  return call.constant_inputs >> i & 1;
}

// The reason that most kernels give first.
static inline const char* needs_float32(const KernelCall& call) {
  if (call.inputs[0].dtype != Dtype::float32) return "only float32";
  return nullptr;
}
// The same for kernels that also take bfloat16, with float32 arithmetic and float32 parameters.
static inline bool is_bfloat16(const KernelCall& call) {
  return call.inputs[0].dtype == Dtype::bfloat16;
}
static inline const char* needs_float(const KernelCall& call) {
  return is_bfloat16(call) ? nullptr : needs_float32(call);
}

// Calls f with the TypeTag of a call that needs_float() let through.
template <class F>
static inline void with_float(const KernelCall& call, const F& f) {
  if (is_bfloat16(call)) return f(TypeTag<BFloat16>{});
  f(TypeTag<float>{});
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
