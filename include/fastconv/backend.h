// A backend: one C struct of function pointers, linked in; see the list in plan.h. No exception and
// no C++ library type crosses here.
#pragma once
#include "fastconv/op.h"
#include "fastconv/types.h"

namespace fastconv {

constexpr uint32_t kBackendVersion = 3;

// Set by a kernel that meets bad data (a label out of range, say); the plan stops after the step.
struct KernelError {
  int32_t set;
  char message[252];
};

// One call of a kernel. While kernels are chosen, all `data` and `workspace` are null. A kernel may
// find more workspace than it asked for, and take it for more threads.
struct KernelCall {
  const void* attrs;
  const Tensor* inputs;
  int32_t n_inputs;
  const Tensor* outputs;
  int32_t n_outputs;
  void* workspace;
  int64_t workspace_bytes;
  KernelError* error;
  uint32_t constant_inputs;  // bit i: input i never changes
  void* prepared;            // what the kernel's `prepare` made of them
};

// Kernels are stateless, never allocate, and give the same bytes for every number of threads.
struct Kernel {
  const char* name;
  // (optional) Null if the kernel can run the call, else the reason why not.
  const char* (*declines)(const KernelCall&);
  // (optional) Bytes of workspace that `run` needs, aligned to 64.
  int64_t (*workspace)(const KernelCall&);
  void (*run)(const KernelCall&);
  // (optional) What is made once of inputs that never change, such as packed weights: its bytes,
  // 0 if such an input may change, and the function that writes it to `prepared` before the first
  // run. Then `workspace` need not hold it.
  int64_t (*prepared)(const KernelCall&) = nullptr;
  void (*prepare)(const KernelCall&) = nullptr;
};

struct KernelList {
  const Kernel* kernels;  // best first
  int32_t count;
};

struct Backend {
  uint32_t version;
  const char* name;    // "cpu"
  const char* detail;  // "avx512", or the model of a GPU
  KernelList (*kernels)(OpKind kind);
  void* (*allocate)(int64_t bytes);  // aligned to 64; null when there is no memory
  void (*release)(void* memory, int64_t bytes);
  // Calls body(context) with the means of the backend (its threads) kept ready meanwhile.
  void (*prepared)(void (*body)(void*), void* context);
};

}  // namespace fastconv
