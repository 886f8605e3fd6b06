// What a backend in a library of its own offers beside `DeviceMemory`: copies that the host need
// not wait for, and a clock.
#pragma once
#include "fastconv/backend.h"

namespace fastconv {

// How a kernel cuts the result of a call and the sum behind it, where it has a choice. Zeros: as it
// thinks best. Tiles are numbered from 1 on, in an order of the kernel's own.
struct Tiling {
  int32_t tile, splits;
};

// What kernels of such a library are called with.
struct DeviceCall : KernelCall {
  Tiling tiling;
};

constexpr uint32_t kDeviceVersion = 5;  // that such a library is asked for

// Its `upload` and `download` from and to memory of `pin` are only asked for: the host leaves it
// alone until it has waited. What is at most `copied_bytes` is copied so.
struct Device : DeviceMemory {
  void* (*pin)(const Backend& self, int64_t bytes);  // of the host; `release` frees it
  // Notes when all that was asked for before is done, also in a recording. Marks are numbered from
  // 0 on, and made by their first note, which no recording may be.
  void (*mark)(const Backend& self, int32_t number);
  // Nanoseconds from one mark to another, after `wait`.
  int64_t (*between)(const Backend& self, int32_t first, int32_t second);
  // Copies to the device beside what runs there. The values stay where they are until `meet`, after
  // which all that is asked for finds what was brought.
  void (*bring)(const Backend& self, void* to, const void* from, int64_t bytes);
  void (*meet)(const Backend& self);
  // Whether a kernel can cut a call as its tiling, of a tile and splits, says.
  bool (*tiles)(const Backend& self, OpKind kind, const char* kernel, const DeviceCall& call);
  // What other libraries of CUDA call it whose work is to come before ours.
  void* (*stream)(const Backend& self);
};

static inline const Device& device_of(const Backend& backend) {
  return static_cast<const Device&>(*backend.device);
}

}  // namespace fastconv
