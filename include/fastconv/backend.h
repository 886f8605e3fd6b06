// A backend: one C struct of function pointers, linked in (the CPU) or in a library of its own that
// is opened when it is asked for; see plan.h. No exception and no C++ library type crosses here.
#pragma once
#include "fastconv/op.h"
#include "fastconv/types.h"

namespace fastconv {

constexpr uint32_t kBackendVersion = 3;

// What can be wrong with data.
enum class Fault : int32_t {
  label,  // values: label, number of classes
  range,  // values: first element, number of elements, size of the axis
};

// Filled in by a kernel that meets bad data; the plan stops after the step. It is plain data, in
// memory of the backend, so that a device can fill it in.
struct KernelError {
  int32_t step;  // KernelCall::step + 1; 0: no error
  Fault fault;
  int64_t position;  // the first one in its tensor
  int64_t values[3];
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
  int32_t step;              // of the plan
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

struct Backend;

// What a backend adds whose memory is not the host's. What it is asked for happens in that order,
// of whichever thread; kernels are only started by `run`.
struct DeviceMemory {
  // Memory that host and device both reach, for variables; `release` frees it. Variables of at most
  // `copied_bytes` are better copied in and out by each run.
  void* (*share)(const Backend& self, int64_t bytes);
  int64_t copied_bytes;
  // Whether kernels reach memory that comes from elsewhere.
  bool (*reaches)(const Backend& self, const void* memory);
  void (*upload)(const Backend& self, void* to, const void* from, int64_t bytes);
  void (*download)(const Backend& self, void* to, const void* from, int64_t bytes);
  // Waits for all that was asked for. Null, or what went wrong since the last call.
  const char* (*wait)(const Backend& self);
  // Records the kernels that body(context) starts, which then do not run; null if it cannot.
  void* (*record)(const Backend& self, void (*body)(void*), void* context);
  void (*replay)(const Backend& self, void* recording);
  void (*forget)(const Backend& self, void* recording);
  int64_t (*available)(const Backend& self);  // bytes
};

struct Backend {
  uint32_t version;
  const char* name;    // "cpu", "cuda", "cuda:1"
  const char* detail;  // "avx512", or the model of a GPU
  int32_t index;       // of the device
  KernelList (*kernels)(const Backend& self, OpKind kind);
  void* (*allocate)(const Backend& self, int64_t bytes);  // aligned to 64; null if there is none
  void (*release)(const Backend& self, void* memory, int64_t bytes);
  // Calls body(context), if wanted with the means of the backend (its threads) kept ready
  // meanwhile. Returns whether they are of use: if not, the next time need not want them.
  bool (*prepared)(const Backend& self, bool wanted, void (*body)(void*), void* context);
  const DeviceMemory* device;  // null: the memory is the host's
};

// What a backend in a library of its own exports, as fastconv_backend: the device of that index, or
// null and a reason that users understand.
using BackendEntry = const Backend* (*)(uint32_t version, int32_t index, const char** reason);

}  // namespace fastconv
