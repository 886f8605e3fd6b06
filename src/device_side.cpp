#include "device_side.h"

#include <exception>

namespace fastconv {

DeviceSide::DeviceSide(const Backend& backend, const std::vector<bool>& written)
    : backend_(backend), device_(*backend.device), error_(backend) {
  for (const bool w : written) copies_.push_back({nullptr, nullptr, 0, w});
  const KernelError none{};
  device_.upload(backend_, error_.reserve(sizeof none), &none, sizeof none);
}

DeviceSide::~DeviceSide() { forget(); }

void* DeviceSide::stage(size_t index, void* memory, int64_t bytes) {
  if (device_.reaches(backend_, memory)) {
    copies_[index].memory = nullptr;
    return memory;
  }
  Copy& copy = copies_[index];
  if (!copy.memory) copy.memory = std::make_unique<Arena>(backend_);
  copy.original = memory;
  copy.bytes = bytes;
  void* place = copy.memory->reserve(bytes);
  device_.upload(backend_, place, memory, bytes);
  return place;
}

void DeviceSide::forget() {
  if (recording_) device_.forget(backend_, recording_);
  recording_ = nullptr;
}

void DeviceSide::run(const std::vector<char*>& places, bool record,
                     const std::function<void()>& start) {
  const bool same = places == places_;
  if (!same) forget();
  places_ = places;
  if (same && record && !recording_) recording_ = record_of(start);
  if (recording_)
    device_.replay(backend_, recording_);
  else
    start();
}

// No exception may pass through the backend.
void* DeviceSide::record_of(const std::function<void()>& start) {
  struct Recorded {
    const std::function<void()>* start;
    std::exception_ptr error;
  } recorded{&start, nullptr};
  void* recording = device_.record(
      backend_,
      [](void* context) {
        Recorded& self = *static_cast<Recorded*>(context);
        try {
          (*self.start)();
        } catch (...) {
          self.error = std::current_exception();
        }
      },
      &recorded);
  if (recorded.error) std::rethrow_exception(recorded.error);
  return recording;
}

void DeviceSide::call_host(const KernelCall& call,
                           const std::function<void(const KernelCall&)>& function) {
  std::vector<std::vector<char>> values;
  const auto on_host = [&](const Tensor* tensors, int32_t count) {
    std::vector<Tensor> copies(tensors, tensors + count);
    for (Tensor& copy : copies) {
      values.emplace_back(static_cast<size_t>(bytes(copy)) + 1);
      copy.data = values.back().data();
    }
    return copies;
  };
  const std::vector<Tensor> inputs = on_host(call.inputs, call.n_inputs);
  const std::vector<Tensor> outputs = on_host(call.outputs, call.n_outputs);
  for (size_t i = 0; i < inputs.size(); ++i)
    read(inputs[i].data, call.inputs[i].data, bytes(inputs[i]));
  KernelCall host = call;
  host.inputs = inputs.data();
  host.outputs = outputs.data();
  function(host);
  for (size_t i = 0; i < outputs.size(); ++i)
    device_.upload(backend_, call.outputs[i].data, outputs[i].data, bytes(outputs[i]));
}

KernelError* DeviceSide::error() { return static_cast<KernelError*>(error_.reserve(0)); }

KernelError DeviceSide::finish() {
  KernelError error{};
  read(&error, error_.reserve(0), sizeof error);
  wait();
  for (const Copy& copy : copies_)
    if (copy.memory && copy.written) read(copy.original, copy.memory->reserve(0), copy.bytes);
  const KernelError none{};
  if (error.step) device_.upload(backend_, error_.reserve(0), &none, sizeof none);
  return error;
}

void DeviceSide::wait() {
  if (const char* failure = device_.wait(backend_))
    throw Error(ErrorKind::device, std::string(backend_.name) + ": " + failure);
}

void DeviceSide::read(void* to, const void* from, int64_t bytes) const {
  device_.download(backend_, to, from, bytes);
}

}  // namespace fastconv
