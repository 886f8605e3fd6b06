// What a plan needs beside itself where the memory of its backend is not the host's.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "fastconv/plan.h"

namespace fastconv {

class DeviceSide {
 public:
  // written: of each buffer, whether a run writes into it.
  DeviceSide(const Backend& backend, const std::vector<bool>& written);
  ~DeviceSide();

  // Where the device finds the values of a buffer: there, or in a copy that is made now.
  void* stage(size_t index, void* memory, int64_t bytes);

  // Calls start(), which starts the kernels of a run. If `record`, and the buffers are where they
  // were, what it does is recorded the second time and replayed from then on.
  void run(const std::vector<char*>& places, bool record, const std::function<void()>& start);

  // Runs a host function on copies of the operands.
  void call_host(const KernelCall& call, const std::function<void(const KernelCall&)>& function);

  // For kernels.
  KernelError* error();
  // Waits for the run, copies back what it wrote, and takes the error away. Throws Error(device) if
  // the device failed.
  KernelError finish();
  void wait();

  void read(void* to, const void* from, int64_t bytes) const;

 private:
  void* record_of(const std::function<void()>& start);
  void forget();

  // Of a buffer that the device does not reach.
  struct Copy {
    std::unique_ptr<Arena> memory;
    void* original;
    int64_t bytes;
    bool written;
  };

  const Backend& backend_;
  const DeviceMemory& device_;
  std::vector<Copy> copies_;  // by buffer; null memory: there is none
  Arena error_;
  std::vector<char*> places_;  // of the buffers in the last run
  void* recording_ = nullptr;
};

}  // namespace fastconv
