// What a kernel file exports: one list of kernels an op kind, best first, plain one last, as in
// src/cpu. The lists are gathered in kernel_table.cu.
//
// `run` is host code: it only starts kernels, and the memory of its operands is the device's.
#pragma once
#include "convert.h"
#include "fastconv/device.h"
#include "index.h"
#include "launch.h"

namespace fastconv::cuda {

template <int N>
static constexpr KernelList list(const Kernel (&kernels)[N], int first = 0) {
  return {kernels + first, N - first};
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
  return i < call.n_outputs ? static_cast<T*>(call.outputs[i].data) : nullptr;
}
template <class T>
static inline T* workspace(const KernelCall& call) {
  return static_cast<T*>(call.workspace);
}

static inline const Tiling& tiling_of(const KernelCall& call) {
  return static_cast<const DeviceCall&>(call).tiling;
}

// The reason that most kernels give first.
static inline const char* needs_float32(const KernelCall& call) {
  if (call.inputs[0].dtype != Dtype::float32) return "only float32";
  return nullptr;
}
// The same for kernels that also take bfloat16 and float16, with float32 arithmetic and float32
// parameters.
static inline bool is_half(Dtype dtype) {
  return dtype == Dtype::bfloat16 || dtype == Dtype::float16;
}
static inline bool is_half(const KernelCall& call) { return is_half(call.inputs[0].dtype); }
static inline const char* needs_float(const KernelCall& call) {
  return is_half(call) ? nullptr : needs_float32(call);
}

// Calls f with the TypeTag of a half, and of a call that needs_float() let through.
template <class F>
static inline void with_half(Dtype dtype, const F& f) {
  if (dtype == Dtype::float16) return f(TypeTag<Float16>{});
  f(TypeTag<BFloat16>{});
}
template <class F>
static inline void with_float(const KernelCall& call, const F& f) {
  if (is_half(call)) return with_half(call.inputs[0].dtype, f);
  f(TypeTag<float>{});
}

KernelList activation_kernels(OpKind kind);
KernelList adaptive_kernels(OpKind kind);
KernelList conv_kernels(OpKind kind, bool hopper);
KernelList dropout_kernels(OpKind kind);
KernelList elementwise_kernels(OpKind kind);
KernelList gemm_kernels(OpKind kind, bool hopper);
KernelList loss_kernels(OpKind kind);
KernelList norm_kernels(OpKind kind);
KernelList pool_kernels(OpKind kind);
KernelList random_kernels(OpKind kind);
KernelList reduce_kernels(OpKind kind);
KernelList resize_kernels(OpKind kind);
KernelList sgd_kernels(OpKind kind);
KernelList shape_kernels(OpKind kind);

// dst[count, columns, rows] = src[count, rows, columns], of shape.cu.
void turn_matrices(const KernelCall& call, const float* src, float* dst, int64_t count,
                   int64_t rows, int64_t columns);
// Whether a kernel of that name can cut a call as its tiling says.
bool conv_tiles(OpKind kind, const char* kernel, const KernelCall& call);
bool gemm_tiles(const char* kernel, const KernelCall& call);
bool tiles(const Backend& self, OpKind kind, const char* kernel, const DeviceCall& call);

// Whether the device, and what was compiled, have the instructions of hopper.h.
bool has_hopper(const Backend& self);

// All of them.
KernelList kernels(const Backend& self, OpKind kind);

}  // namespace fastconv::cuda
