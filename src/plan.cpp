// The executor: checks once, then a loop over steps.
#include "fastconv/plan.h"

#include <algorithm>
#include <chrono>
#include <exception>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "device_side.h"
#include "environment.h"
#include "operands.h"

namespace fastconv {
namespace {

constexpr int64_t kAlignment = 64;

[[noreturn]] void malformed(const std::string& what) {
  throw Error(ErrorKind::format, "plan: " + what);
}

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Bytes of a tensor whose sizes come from outside; refuses negative and overflowing ones.
int64_t checked_bytes(const Tensor& tensor) {
  if (tensor.rank < 0 || tensor.rank > kMaxRank) malformed("a tensor has too many axes");
  int64_t bytes = size_of(tensor.dtype);
  if (bytes == 0) malformed("a tensor has an unknown dtype");
  for (int i = 0; i < tensor.rank; ++i) {
    if (tensor.dims[i] < 0) malformed("a tensor has a negative size");
    if (__builtin_mul_overflow(bytes, tensor.dims[i], &bytes)) malformed("a tensor is too large");
  }
  return bytes;
}

std::vector<Tensor> tensors_of(const std::vector<int32_t>& indices,
                               const std::vector<Slot>& slots) {
  std::vector<Tensor> tensors;
  for (int32_t i : indices) tensors.push_back(i < 0 ? Tensor{} : slots[i].tensor);
  return tensors;
}

uint32_t constant_inputs(const Step& step, const std::vector<Slot>& slots) {
  uint32_t bits = 0;
  for (size_t i = 0; i < step.inputs.size() && i < 32; ++i)
    if (slots[step.inputs[i]].constant) bits |= 1u << i;
  return bits;
}

std::string all_declined(const Step& step, const Backend& backend,
                         const std::vector<std::string>& declined) {
  std::string message = step.label + " (" + op_info(step.kind).name + "): no kernel of the " +
                        backend.name + " backend can run this";
  for (const std::string& reason : declined) message += "; " + reason;
  return message;
}

// Computes like the caller of the plan while it lives: backends may flush denormals to zero, which
// is no business of host functions.
class FloatMode {
 public:
#if defined(__x86_64__)
  explicit FloatMode(uint32_t mode) : saved_(current()) { _mm_setcsr(mode); }
  ~FloatMode() { _mm_setcsr(saved_); }
  static uint32_t current() { return _mm_getcsr(); }

 private:
  uint32_t saved_;
#else
  explicit FloatMode(uint32_t) {}
  static uint32_t current() { return 0; }
#endif
};

std::string message_of(const KernelError& error) {
  const auto number = [](int64_t value) { return std::to_string(value); };
  const int64_t* v = error.values;
  if (error.fault == Fault::label)
    return "label " + number(v[0]) + " at position " + number(error.position) +
           " is out of range: expected 0 <= label < " + number(v[1]);
  return "range of " + number(v[1]) + " elements from " + number(v[0]) + " at position " +
         number(error.position) + " of an axis of " + number(v[2]);
}

// `wanted` is the name of the kernel to take or, after a minus, with what those to leave out begin.
const char* unwanted(const std::string& wanted, const std::string& name) {
  if (wanted.empty()) return nullptr;
  if (wanted[0] == '-') return name.rfind(wanted.substr(1), 0) == 0 ? "switched off" : nullptr;
  return wanted == name ? nullptr : "another one is forced";
}

bool runs_no_kernel(const Step& step) {
  return step.kind == OpKind::reshape || step.kind == OpKind::callback;
}

// The call of a step as kernels see it while they are chosen.
struct PlannedCall {
  PlannedCall(const Step& step, const std::vector<Slot>& slots)
      : inputs(tensors_of(step.inputs, slots)),
        outputs(tensors_of(step.outputs, slots)),
        call{{step.attrs.bytes, inputs.data(), static_cast<int32_t>(inputs.size()), outputs.data(),
              static_cast<int32_t>(outputs.size()), nullptr, 0, nullptr, 0,
              constant_inputs(step, slots), nullptr},
             {}} {}
  std::vector<Tensor> inputs, outputs;
  DeviceCall call;
};

bool can_cut(const Backend& backend, OpKind kind, const Kernel& kernel, const DeviceCall& call) {
  return backend.device && device_of(backend).tiles(backend, kind, kernel.name, call);
}

const char* reason_against(const Backend& backend, OpKind kind, const Kernel& kernel,
                           const DeviceCall& call, const std::string& wanted) {
  const char* reason = kernel.declines ? kernel.declines(call) : nullptr;
  if (!reason) reason = unwanted(wanted, kernel.name);
  if (reason || call.tiling.tile == 0) return reason;
  return can_cut(backend, kind, kernel, call) ? nullptr : "cannot be cut so";
}

KernelChoice chosen(const Kernel& kernel, const DeviceCall& call) {
  return {&kernel,
          kernel.workspace ? kernel.workspace(call) : 0,
          kernel.prepared ? kernel.prepared(call) : 0,
          {},
          call.tiling};
}

// Without a kernel if all decline.
KernelChoice first_accepting(const Backend& backend, const Step& step, const DeviceCall& call,
                             const std::string& wanted) {
  std::vector<std::string> declined;
  const KernelList list = backend.kernels(backend, step.kind);
  for (int32_t i = 0; i < list.count; ++i) {
    const Kernel& kernel = list.kernels[i];
    if (const char* reason = reason_against(backend, step.kind, kernel, call, wanted)) {
      declined.push_back(std::string(kernel.name) + ": " + reason);
      continue;
    }
    KernelChoice choice = chosen(kernel, call);
    choice.declined = std::move(declined);
    return choice;
  }
  return {nullptr, 0, 0, std::move(declined)};
}

}  // namespace

KernelChoice choose_kernel(const Backend& backend, const Step& step,
                           const std::vector<Slot>& slots) {
  if (runs_no_kernel(step)) return {nullptr, 0, 0, {}};
  PlannedCall planned(step, slots);
  const std::string forced = forced_kernel(op_info(step.kind).name);
  std::vector<std::string> declined;
  if (forced.empty() && !step.kernel.empty()) {
    planned.call.tiling = step.tiling;
    KernelChoice choice = first_accepting(backend, step, planned.call, step.kernel);
    if (choice.kernel) return choice;
    declined.push_back(step.kernel + ": cannot compute this as the table says");
    planned.call.tiling = {};
  }
  KernelChoice choice = first_accepting(backend, step, planned.call, forced);
  choice.declined.insert(choice.declined.begin(), declined.begin(), declined.end());
  if (!choice.kernel)
    throw Error(ErrorKind::argument, all_declined(step, backend, choice.declined));
  return choice;
}

std::vector<KernelChoice> kernel_options(const Backend& backend, const Step& step,
                                         const std::vector<Slot>& slots) {
  constexpr int32_t kMostTiles = 8, kSplits[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128};
  std::vector<KernelChoice> options;
  if (runs_no_kernel(step)) return options;
  PlannedCall planned(step, slots);
  const KernelList list = backend.kernels(backend, step.kind);
  for (int32_t i = 0; i < list.count; ++i) {
    const Kernel& kernel = list.kernels[i];
    planned.call.tiling = {};
    if (reason_against(backend, step.kind, kernel, planned.call, "")) continue;
    options.push_back(chosen(kernel, planned.call));
    for (int32_t tile = 1; backend.device && tile <= kMostTiles; ++tile)
      for (const int32_t splits : kSplits) {
        planned.call.tiling = {tile, splits};
        if (can_cut(backend, step.kind, kernel, planned.call))
          options.push_back(chosen(kernel, planned.call));
      }
  }
  return options;
}

Arena::~Arena() {
  if (memory_) backend_->release(*backend_, memory_, bytes_);
}

void* Arena::reserve(int64_t bytes) {
  if (bytes <= bytes_) return memory_;
  if (memory_) backend_->release(*backend_, memory_, bytes_);
  memory_ = backend_->allocate(*backend_, bytes);
  bytes_ = memory_ ? bytes : 0;
  if (!memory_)
    throw Error(ErrorKind::out_of_memory, "the plan needs an arena of " + std::to_string(bytes) +
                                              " bytes, which the " + backend_->name +
                                              " backend could not get; use a smaller batch");
  return memory_;
}

Plan::Plan(const Backend& backend, PlanData data)
    : backend_(&backend), data_(std::move(data)), prepared_(backend) {
  check();
  has_constants_.assign(data_.buffer_bytes.size(), false);
  for (const Slot& slot : data_.slots)
    if (slot.constant) has_constants_[slot.buffer] = true;
  for (Step& step : data_.steps) {
    choices_.push_back(choose_kernel(backend, step, data_.slots));
    // A plan made on another machine may meet a kernel that wants more: it goes behind the rest.
    if (choices_.back().workspace_bytes > step.workspace_bytes) {
      step.workspace_offset = aligned(data_.buffer_bytes[kArena]);
      step.workspace_bytes = choices_.back().workspace_bytes;
      data_.buffer_bytes[kArena] = step.workspace_offset + step.workspace_bytes;
    }
  }
  memory_.assign(data_.buffer_bytes.size(), nullptr);
  if (backend.device)
    device_ = std::make_unique<DeviceSide>(backend, data_.buffer_bytes, written_buffers());
  for (const Slot& slot : data_.slots) tensors_.push_back(slot.tensor);
  prepared_at_.assign(data_.steps.size(), nullptr);
  for (const Step& step : data_.steps) {
    has_host_steps_ |= step.kind == OpKind::callback;
    constant_inputs_.push_back(constant_inputs(step, data_.slots));
    step_inputs_.emplace_back(step.inputs.size());
    step_outputs_.emplace_back(step.outputs.size());
  }
}

Plan::~Plan() = default;

std::vector<bool> Plan::written_buffers() const {
  std::vector<bool> written(data_.buffer_bytes.size(), false);
  for (const Step& step : data_.steps)
    for (int32_t slot : step.outputs)
      if (slot >= 0 && step.kind != OpKind::reshape)
        written[static_cast<size_t>(data_.slots[static_cast<size_t>(slot)].buffer)] = true;
  return written;
}

void Plan::check() const {
  if (data_.buffer_bytes.empty()) malformed("no arena");
  for (int64_t bytes : data_.buffer_bytes)
    if (bytes < 0) malformed("a buffer has a negative size");
  for (const Slot& slot : data_.slots) {
    const int64_t bytes = checked_bytes(slot.tensor);
    if (slot.buffer < 0 || slot.buffer >= static_cast<int64_t>(data_.buffer_bytes.size()))
      malformed("a slot names an unknown buffer");
    if (slot.offset < 0 || slot.offset > data_.buffer_bytes[slot.buffer] - bytes)
      malformed("a slot lies outside its buffer");
  }
  const int64_t n_slots = static_cast<int64_t>(data_.slots.size());
  for (const Step& step : data_.steps) {
    if (step.kind < OpKind{} || step.kind >= OpKind::count_) malformed("an unknown op kind");
    const OpInfo& info = op_info(step.kind);
    const int64_t n_in = static_cast<int64_t>(step.inputs.size());
    const int64_t n_out = static_cast<int64_t>(step.outputs.size());
    if (n_in < info.min_inputs || n_in > info.max_inputs || n_out < info.min_outputs ||
        n_out > info.max_outputs)
      malformed(std::string(info.name) + " has a wrong number of operands");
    for (int32_t i : step.inputs)
      if (i < 0 || i >= n_slots) malformed("a step reads an unknown slot");
    for (int64_t i = 0; i < n_out; ++i) {
      const bool optional = step.outputs[i] == -1 && (info.optional_outputs >> i & 1);
      if (!optional && (step.outputs[i] < 0 || step.outputs[i] >= n_slots))
        malformed("a step writes an unknown slot");
    }
    if (step.workspace_bytes < 0 || step.workspace_offset < 0 ||
        step.workspace_offset > data_.buffer_bytes[kArena] - step.workspace_bytes)
      malformed("a workspace lies outside the arena");
    check_operands(step, data_.slots);
  }
  check_constants();
  for (const std::vector<Port>& ports : {data_.inputs, data_.outputs})
    for (const Port& port : ports)
      if (port.slot < 0 || port.slot >= n_slots) malformed("a port names an unknown slot");
}

void Plan::check_constants() const {
  std::vector<bool> written = written_buffers();
  written[kArena] = true;
  for (const Slot& slot : data_.slots)
    if (slot.constant && written[slot.buffer]) malformed("a step writes where constants are");
}

void Plan::bind(int index, void* memory, int64_t bytes) {
  if (index <= kArena || index >= static_cast<int>(memory_.size()))
    throw Error(ErrorKind::argument, "plan: no buffer " + std::to_string(index) + " to bind");
  if (bytes < data_.buffer_bytes[index])
    throw Error(ErrorKind::argument, "plan: buffer " + std::to_string(index) + " needs " +
                                         std::to_string(data_.buffer_bytes[index]) +
                                         " bytes, received " + std::to_string(bytes));
  const size_t i = static_cast<size_t>(index);
  if (device_) memory = device_->stage(i, memory);
  memory_[i] = static_cast<char*>(memory);
  if (has_constants_[i]) is_prepared_ = false;
}

void Plan::unbind(int index) { memory_.at(static_cast<size_t>(index)) = nullptr; }

void Plan::prepare(Arena& arena) {
  memory_[kArena] = static_cast<char*>(arena.reserve(data_.buffer_bytes[kArena]));
  for (size_t i = 1; i < memory_.size(); ++i)
    if (!memory_[i] && data_.buffer_bytes[i] > 0)
      throw Error(ErrorKind::argument, "plan: buffer " + std::to_string(i) + " is not bound");
  for (size_t i = 0; i < tensors_.size(); ++i)
    tensors_[i].data = memory_[data_.slots[i].buffer] + data_.slots[i].offset;
  for (size_t s = 0; s < data_.steps.size(); ++s) {
    const Step& step = data_.steps[s];
    for (size_t i = 0; i < step.inputs.size(); ++i) step_inputs_[s][i] = tensors_[step.inputs[i]];
    for (size_t i = 0; i < step.outputs.size(); ++i)
      step_outputs_[s][i] = step.outputs[i] < 0 ? Tensor{} : tensors_[step.outputs[i]];
  }
}

DeviceCall Plan::call_of(size_t index, KernelError* error) {
  const Step& step = data_.steps[index];
  return {
      {step.attrs.bytes, step_inputs_[index].data(),
       static_cast<int32_t>(step_inputs_[index].size()), step_outputs_[index].data(),
       static_cast<int32_t>(step_outputs_[index].size()), memory_[kArena] + step.workspace_offset,
       step.workspace_bytes, error, static_cast<int32_t>(index), constant_inputs_[index],
       choices_[index].prepared_bytes > 0 ? prepared_at_[index] : nullptr},
      choices_[index].tiling};
}

int64_t Plan::prepared_bytes() const {
  int64_t bytes = 0;
  for (const KernelChoice& choice : choices_) bytes += aligned(choice.prepared_bytes);
  return bytes;
}

// Packs the weights that stay as they are, before the first run since they were bound.
void Plan::prepare_constants() {
  if (is_prepared_) return;
  char* place = static_cast<char*>(prepared_.reserve(prepared_bytes()));
  for (size_t i = 0; i < choices_.size(); ++i) {
    if (choices_[i].prepared_bytes == 0) continue;
    prepared_at_[i] = place;
    place += aligned(choices_[i].prepared_bytes);
    choices_[i].kernel->prepare(call_of(i, nullptr));
  }
  is_prepared_ = true;
}

void Plan::run_step(size_t index) {
  const Step& step = data_.steps[index];
  if (step.kind == OpKind::reshape) return;
  const DeviceCall call = call_of(index, device_ ? device_->error() : &error_);
  if (step.kind == OpKind::callback)
    call_host(step, call);
  else
    choices_[index].kernel->run(call);
  raise_if(error_);
}

void Plan::call_host(const Step& step, const KernelCall& call) {
  if (!callback_) malformed("a host function cannot run outside Python");
  const FloatMode mode(float_mode_);
  CallbackAttrs attrs;
  __builtin_memcpy(&attrs, step.attrs.bytes, sizeof attrs);
  if (!device_) return callback_(attrs.index, call);
  raise_if(device_->finish({}));
  device_->call_host(call, [&](const KernelCall& host) { callback_(attrs.index, host); });
}

void Plan::raise_if(const KernelError& error) const {
  if (!error.step) return;
  const Step& step = data_.steps[static_cast<size_t>(error.step - 1)];
  throw Error(ErrorKind::data, (step.label.empty() ? "" : "layer '" + step.label + "': ") +
                                   op_info(step.kind).name + ": " + message_of(error));
}

void Plan::run(Arena& arena, const std::vector<Read>& reads,
               const std::function<void()>& meanwhile) {
  prepare(arena);
  run_prepared(nullptr);
  std::exception_ptr error;
  try {
    if (meanwhile) meanwhile();
  } catch (...) {
    error = std::current_exception();
  }
  finish(arena, reads);
  if (error) std::rethrow_exception(error);
}

void Plan::bring(const void* from, int64_t bytes) {
  if (device_) device_->bring(from, bytes);
}

void Plan::forget_brought() {
  if (device_) device_->forget_brought();
}

std::vector<int64_t> Plan::profile(Arena& arena) {
  std::vector<int64_t> times;
  prepare(arena);
  run_prepared(&times);
  finish(arena, {});
  return times;
}

// Runs the steps inside the backend's `prepared`, through which no exception may pass.
void Plan::run_prepared(std::vector<int64_t>* times) {
  float_mode_ = FloatMode::current();
  error_ = {};
  struct Run {
    Plan* plan;
    std::vector<int64_t>* times;
    std::exception_ptr error;
  } run{this, times, nullptr};
  const bool useful = backend_->prepared(
      *backend_, wants_team_,
      [](void* context) {
        Run& self = *static_cast<Run*>(context);
        try {
          self.plan->start(self.times);
        } catch (...) {
          self.error = std::current_exception();
        }
      },
      &run);
  if (run.error) std::rethrow_exception(run.error);
  wants_team_ = useful;
}

void Plan::finish(Arena& arena, const std::vector<Read>& reads) {
  std::vector<DeviceSide::Copy> copies;
  for (const Read& r : reads) {
    const Tensor& tensor = data_.slots.at(static_cast<size_t>(r.slot)).tensor;
    copies.push_back({r.to, address(r.slot, arena), bytes(tensor)});
  }
  if (device_) return raise_if(device_->finish(copies));
  for (const auto& copy : copies) copy_to_host(copy.to, copy.from, copy.bytes);
}

// A device is given the steps at once, or plays them back; host functions stand against that.
void Plan::start(std::vector<int64_t>* times) {
  if (!device_) return run_steps(times);
  if (!times) return device_->run(memory_, !has_host_steps_, [this] { run_steps(nullptr); });
  prepare_constants();
  *times = device_->time(data_.steps.size(), !has_host_steps_, [this] { run_marked(); });
}

void Plan::run_marked() {
  for (size_t i = 0; i < data_.steps.size(); ++i) {
    device_->mark(i);
    run_step(i);
  }
  device_->mark(data_.steps.size());
}

void Plan::run_steps(std::vector<int64_t>* times) {
  using Clock = std::chrono::steady_clock;
  prepare_constants();
  for (size_t i = 0; i < data_.steps.size(); ++i) {
    if (!times) {
      run_step(i);
      continue;
    }
    const Clock::time_point start = Clock::now();
    run_step(i);
    const std::chrono::nanoseconds time = Clock::now() - start;
    times->push_back(time.count());
  }
}

void Plan::read(int slot, Arena& arena, void* to) const {
  const void* from = address(slot, arena);
  copy_to_host(to, from, bytes(data_.slots[static_cast<size_t>(slot)].tensor));
}

void Plan::read_buffer(int index, void* to) const {
  const size_t i = static_cast<size_t>(index);
  copy_to_host(to, memory_.at(i), data_.buffer_bytes.at(i));
}

void Plan::copy_to_host(void* to, const void* from, int64_t bytes) const {
  if (bytes == 0) return;
  if (device_)
    device_->read(to, from, bytes);
  else
    __builtin_memcpy(to, from, static_cast<size_t>(bytes));
}

void* Plan::address(int slot, Arena& arena) const {
  if (slot < 0 || slot >= static_cast<int>(data_.slots.size()))
    throw Error(ErrorKind::argument, "plan: no slot " + std::to_string(slot));
  const Slot& s = data_.slots[slot];
  char* base = s.buffer == kArena ? static_cast<char*>(arena.reserve(data_.buffer_bytes[kArena]))
                                  : memory_[s.buffer];
  return base + s.offset;
}

namespace {

int find(const std::vector<Port>& ports, const std::string& name, const char* what) {
  std::string known;
  for (const Port& port : ports) {
    if (port.name == name) return port.slot;
    known += " " + port.name;
  }
  throw Error(ErrorKind::argument,
              std::string("plan: no ") + what + " '" + name + "'; there are:" + known);
}

}  // namespace

int Plan::find_input(const std::string& name) const { return find(data_.inputs, name, "input"); }
int Plan::find_output(const std::string& name) const { return find(data_.outputs, name, "output"); }

}  // namespace fastconv
