// What a plan needs beside itself where the memory of its backend is not the host's.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "fastconv/device.h"
#include "fastconv/plan.h"

namespace fastconv {

class DeviceSide {
 public:
  // Of each buffer its bytes, and whether a run writes into it.
  DeviceSide(const Backend& backend, const std::vector<int64_t>& bytes,
             const std::vector<bool>& written);
  ~DeviceSide();

  // Where the device finds the values of a buffer: there, or in a copy of what they are now.
  void* stage(size_t index, void* memory);

  // Copies values to the device while it runs, for the next run, if that is given them from there.
  void bring(const void* from, int64_t bytes);
  void forget_brought();

  // Calls start(), which starts the kernels of a run. If `record`, and the buffers are where they
  // were, what it does is recorded the second time and replayed from then on.
  void run(const std::vector<char*>& places, bool record, const std::function<void()>& start);
  // The same with the time of each step in nanoseconds, by the device's clock: start() calls
  // mark(i) before step i, and in the end. It is recorded if `record`, and there was a run before.
  std::vector<int64_t> time(size_t steps, bool record, const std::function<void()>& start);
  void mark(size_t number);

  // Runs a host function on copies of the operands.
  void call_host(const KernelCall& call, const std::function<void(const KernelCall&)>& function);

  // For kernels.
  KernelError* error();
  struct Copy {
    void* to;
    const void* from;
    int64_t bytes;
  };
  // Waits for the run, copies back what it wrote and what else is wanted, and takes the error away.
  // Throws Error(device) if the device failed.
  KernelError finish(const std::vector<Copy>& copies);
  void wait();

  void read(void* to, const void* from, int64_t bytes);

 private:
  // Memory of the host that the device copies from and to by itself.
  class Pinned {
   public:
    explicit Pinned(const Backend& backend) : backend_(backend) {}
    ~Pinned() { free(); }
    Pinned(const Pinned&) = delete;
    Pinned& operator=(const Pinned&) = delete;
    char* reserve(int64_t bytes);  // loses the values if it grows
    char* data() const { return data_; }

   private:
    void free();
    const Backend& backend_;
    char* data_ = nullptr;
    int64_t bytes_ = 0;
  };

  // Of a buffer that the device does not reach. Small ones lie together with the error, and are
  // copied with it.
  struct Buffer {
    int64_t bytes;
    bool written;
    int64_t place;                  // in the small ones; -1: it is large
    void* original;                 // null: the device reaches it
    std::unique_ptr<Arena> memory;  // of a large one
  };

  struct Brought {
    const void* from;  // null: used up
    int64_t bytes;
    std::unique_ptr<Arena> memory;
  };
  const void* brought(const void* from, int64_t bytes);

  bool is_small(int64_t bytes) const { return bytes <= device_.copied_bytes; }
  void send();
  void* record_of(const std::function<void()>& start);
  void forget();

  const Backend& backend_;
  const Device& device_;
  std::vector<Buffer> buffers_;
  int64_t small_bytes_;
  Arena small_;                       // the error, and the small buffers
  Pinned small_on_host_;              // the same
  Pinned results_;                    // small copies
  bool sent_ = false;                 // whether small_ is what small_on_host_ is
  std::vector<Brought> next_, last_;  // for the next run; the memory of that before
  std::vector<char*> places_;         // of the buffers in the last run
  void* recording_ = nullptr;
};

}  // namespace fastconv
