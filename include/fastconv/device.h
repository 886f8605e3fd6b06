// What a backend in a library of its own offers beside `DeviceMemory`: copies that the host need
// not wait for, and a clock.
#pragma once
#include "fastconv/backend.h"

namespace fastconv {

constexpr uint32_t kDeviceVersion = 4;  // that such a library is asked for

// Its `upload` and `download` from and to memory of `pin` are only asked for: the host leaves it
// alone until it has waited. What is at most `copied_bytes` is copied so.
struct Device : DeviceMemory {
  void* (*pin)(const Backend& self, int64_t bytes);  // of the host; `release` frees it
  // Notes when all that was asked for before is done, also in a recording. Marks are numbered from
  // 0 on, and made by their first note, which no recording may be.
  void (*mark)(const Backend& self, int32_t number);
  // Nanoseconds from one mark to another, after `wait`.
  int64_t (*between)(const Backend& self, int32_t first, int32_t second);
};

static inline const Device& device_of(const Backend& backend) {
  return static_cast<const Device&>(*backend.device);
}

}  // namespace fastconv
