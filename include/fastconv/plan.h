// A Plan: a flat list of steps over numbered buffers. Buffer 0 is the arena; the others are bound
// by the caller (inputs, parameters, constants). Built in Python or read from a file.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fastconv/device.h"
#include "fastconv/error.h"
#include "fastconv/op.h"

namespace fastconv {

constexpr int kArena = 0;

// A tensor of a plan: `offset` bytes into buffer `buffer`.
struct Slot {
  Tensor tensor;  // data is null
  int32_t buffer;
  int32_t constant;  // 1: nothing changes it while its buffer is bound
  int64_t offset;
};

struct Step {
  OpKind kind;
  Attrs attrs;
  std::vector<int32_t> inputs;   // slots
  std::vector<int32_t> outputs;  // slots; -1: nobody reads it
  int64_t workspace_offset;      // in the arena
  int64_t workspace_bytes;
  std::string label;   // layer that the step belongs to
  std::string kernel;  // name of the one to take if it accepts; empty: the first that does
  Tiling tiling = {};  // of that kernel
};

// A name for a slot that the caller reads or writes.
struct Port {
  std::string name;
  int32_t slot;
};

// Which kernel runs a call, and why those before it did not.
struct KernelChoice {
  const Kernel* kernel;
  int64_t workspace_bytes, prepared_bytes;
  std::vector<std::string> declined;  // "name: reason"
  Tiling tiling = {};
};
KernelChoice choose_kernel(const Backend& backend, const Step& step,
                           const std::vector<Slot>& slots);
// All that could run it: kernels as they think best, then with each tiling that they can compute,
// but for numbers of splits that are near others.
std::vector<KernelChoice> kernel_options(const Backend& backend, const Step& step,
                                         const std::vector<Slot>& slots);

// Memory that plans of one owner share; it grows to the largest of them.
class Arena {
 public:
  explicit Arena(const Backend& backend) : backend_(&backend) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  void* reserve(int64_t bytes);
  int64_t bytes() const { return bytes_; }
  const Backend& backend() const { return *backend_; }

 private:
  const Backend* backend_;
  void* memory_ = nullptr;
  int64_t bytes_ = 0;
};

struct PlanData {
  std::vector<Slot> slots;
  std::vector<Step> steps;
  std::vector<int64_t> buffer_bytes;  // [0] is the arena
  std::vector<Port> inputs, outputs;
};

// Called for a `callback` step; throws to stop the plan.
using Callback = std::function<void(int index, const KernelCall& call)>;

class DeviceSide;  // device_side.h

class Plan {
 public:
  // Checks every index, size and range, and picks the kernels.
  Plan(const Backend& backend, PlanData data);
  ~Plan();

  // Gives buffer `index` (not the arena) its memory, which must outlive the runs. A device that
  // does not reach it takes a copy of its values now; what a run writes is copied back.
  void bind(int index, void* memory, int64_t bytes);
  // Takes it back: the buffer must be bound again before the next run.
  void unbind(int index);
  void set_callback(Callback callback) { callback_ = std::move(callback); }

  // Runs all steps in order. Throws Error(data) if a kernel met bad data; later steps, among them
  // the updates of parameters, have then not run.
  void run(Arena& arena) { run(arena, {}); }
  // The same, and copies values of slots to the host.
  struct Read {
    int slot;
    void* to;
  };
  void run(Arena& arena, const std::vector<Read>& reads) { run(arena, reads, {}); }
  // The same; while a device runs, the host calls meanwhile(), which may `bring`.
  void run(Arena& arena, const std::vector<Read>& reads, const std::function<void()>& meanwhile);
  // Copies values beside what runs, for a buffer that the next run is given from there.
  void bring(const void* from, int64_t bytes);
  void forget_brought();
  // The same, with the nanoseconds of each step.
  std::vector<int64_t> profile(Arena& arena);
  // Where the values of a slot are after a run, for the backend.
  void* address(int slot, Arena& arena) const;
  // Copies the values of a slot, after a run, or of a bound buffer to the host.
  void read(int slot, Arena& arena, void* to) const;
  void read_buffer(int index, void* to) const;

  const PlanData& data() const { return data_; }
  const std::vector<KernelChoice>& choices() const { return choices_; }
  const Backend& backend() const { return *backend_; }
  // Memory of its own, for what kernels make of constants.
  int64_t prepared_bytes() const;
  int find_input(const std::string& name) const;   // slot
  int find_output(const std::string& name) const;  // slot

 private:
  void check() const;
  void check_constants() const;
  std::vector<bool> written_buffers() const;
  void prepare(Arena& arena);
  void prepare_constants();
  DeviceCall call_of(size_t index, KernelError* error);
  void run_prepared(std::vector<int64_t>* times);
  void finish(Arena& arena, const std::vector<Read>& reads);
  void start(std::vector<int64_t>* times);
  void run_steps(std::vector<int64_t>* times);
  void run_marked();
  void run_step(size_t index);
  void call_host(const Step& step, const KernelCall& call);
  void copy_to_host(void* to, const void* from, int64_t bytes) const;
  void raise_if(const KernelError& error) const;

  const Backend* backend_;
  PlanData data_;
  std::vector<KernelChoice> choices_;
  std::vector<char*> memory_;  // of each buffer
  std::vector<Tensor> tensors_;
  std::vector<std::vector<Tensor>> step_inputs_, step_outputs_;
  std::vector<uint32_t> constant_inputs_;  // of each step, as in KernelCall
  std::vector<bool> has_constants_;        // of each buffer
  std::vector<char*> prepared_at_;         // of each step
  Arena prepared_;
  bool is_prepared_ = false;
  Callback callback_;
  std::unique_ptr<DeviceSide> device_;  // null where the memory is the host's
  KernelError error_{};                 // of the host
  bool has_host_steps_ = false;
  bool wants_team_ = true;   // the means of the backend, as the last run had use for them
  uint32_t float_mode_ = 0;  // of the caller, for its host functions
};

// A plan with the values of its bound buffers (parameters, constants) in one file, which C++ can
// run without Python. The file is data: sizes are checked, and a digest ends it.
struct SavedPlan {
  std::unique_ptr<Plan> plan;
  std::vector<std::vector<char>> storage;  // the bound buffers
};
void save_plan(const std::string& path, const Plan& plan, const std::vector<int>& stored);
// Where there are others than the CPU, a plan runs on the kind of device that it was made for.
SavedPlan load_plan(const std::string& path);
SavedPlan load_plan(const std::string& path, const Backend& backend);

// The backends: the CPU, and one from a library of its own. Throws Error(device) with the reason if
// the library or its device cannot be used.
const Backend& cpu_backend();
const Backend& load_backend(const std::string& path, int index);

}  // namespace fastconv
