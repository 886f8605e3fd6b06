#include "device_side.h"

#include <algorithm>
#include <exception>

namespace fastconv {

namespace {

constexpr int64_t kAlignment = 64;

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

char* DeviceSide::Pinned::reserve(int64_t bytes) {
  if (bytes <= bytes_) return data_;
  free();
  data_ = static_cast<char*>(device_of(backend_).pin(backend_, bytes));
  bytes_ = data_ ? bytes : 0;
  if (!data_)
    throw Error(ErrorKind::out_of_memory, std::string(backend_.name) +
                                              ": no memory of the host of " +
                                              std::to_string(bytes) + " bytes for copies");
  return data_;
}

void DeviceSide::Pinned::free() {
  if (data_) backend_.release(backend_, data_, bytes_);
}

DeviceSide::DeviceSide(const Backend& backend, const std::vector<int64_t>& bytes,
                       const std::vector<bool>& written)
    : backend_(backend),
      device_(device_of(backend)),
      small_bytes_(aligned(sizeof(KernelError))),
      small_(backend),
      small_on_host_(backend),
      results_(backend) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    const bool small = i != kArena && is_small(bytes[i]);
    buffers_.push_back({bytes[i], written[i], small ? small_bytes_ : -1, nullptr, nullptr});
    if (small) small_bytes_ += aligned(bytes[i]);
  }
  small_.reserve(small_bytes_);
  const KernelError none{};
  __builtin_memcpy(small_on_host_.reserve(small_bytes_), &none, sizeof none);
}

DeviceSide::~DeviceSide() { forget(); }

void* DeviceSide::stage(size_t index, void* memory) {
  Buffer& buffer = buffers_[index];
  const bool reached = device_.reaches(backend_, memory);
  buffer.original = reached ? nullptr : memory;
  if (reached || buffer.place >= 0) buffer.memory = nullptr;
  if (reached) return memory;
  if (buffer.place >= 0) {
    if (buffer.bytes > 0)
      __builtin_memcpy(small_on_host_.data() + buffer.place, memory,
                       static_cast<size_t>(buffer.bytes));
    sent_ = false;
    return static_cast<char*>(small_.reserve(0)) + buffer.place;
  }
  if (!buffer.memory) buffer.memory = std::make_unique<Arena>(backend_);
  void* place = buffer.memory->reserve(buffer.bytes);
  device_.upload(backend_, place, brought(memory, buffer.bytes), buffer.bytes);
  return place;
}

// What was copied for the run that begins stays as it is until the one after has begun.
void DeviceSide::bring(const void* from, int64_t bytes) {
  if (is_small(bytes) || device_.reaches(backend_, from)) return;
  const auto is_free = [](const Brought& one) { return !one.from; };
  auto place = std::find_if(next_.begin(), next_.end(), is_free);
  if (place == next_.end())
    place = next_.insert(place, {nullptr, 0, std::make_unique<Arena>(backend_)});
  device_.bring(backend_, place->memory->reserve(bytes), from, bytes);
  place->from = from;
  place->bytes = bytes;
}

void DeviceSide::forget_brought() {
  for (Brought& one : next_) one.from = nullptr;
}

// Where the values are: on the device, if they were brought.
const void* DeviceSide::brought(const void* from, int64_t bytes) {
  for (Brought& one : next_) {
    if (one.from != from || one.bytes != bytes) continue;
    one.from = nullptr;
    device_.meet(backend_);
    return one.memory->reserve(0);
  }
  return from;
}

void DeviceSide::send() {
  if (!sent_) device_.upload(backend_, small_.reserve(0), small_on_host_.data(), small_bytes_);
  sent_ = true;
}

void DeviceSide::forget() {
  if (recording_) device_.forget(backend_, recording_);
  recording_ = nullptr;
}

void DeviceSide::run(const std::vector<char*>& places, bool record,
                     const std::function<void()>& start) {
  send();
  next_.swap(last_);
  forget_brought();
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

std::vector<int64_t> DeviceSide::time(size_t steps, bool record,
                                      const std::function<void()>& start) {
  send();
  for (size_t i = 0; i <= steps; ++i) mark(i);
  if (record && !places_.empty()) {
    void* recording = record_of(start);
    if (recording) device_.replay(backend_, recording);
    wait();
    if (recording) device_.forget(backend_, recording);
  } else {
    start();
    wait();
  }
  std::vector<int64_t> times;
  for (size_t i = 0; i < steps; ++i) {
    const int32_t first = static_cast<int32_t>(i);
    times.push_back(device_.between(backend_, first, first + 1));
  }
  return times;
}

void DeviceSide::mark(size_t number) { device_.mark(backend_, static_cast<int32_t>(number)); }

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

KernelError* DeviceSide::error() { return static_cast<KernelError*>(small_.reserve(0)); }

// All small copies wait for the device together.
KernelError DeviceSide::finish(const std::vector<Copy>& copies) {
  int64_t small = 0;
  for (const Copy& copy : copies)
    if (is_small(copy.bytes)) small += aligned(copy.bytes);
  char* result = small > 0 ? results_.reserve(small) : nullptr;
  for (const Copy& copy : copies) {
    if (!is_small(copy.bytes)) continue;
    device_.download(backend_, result, copy.from, copy.bytes);
    result += aligned(copy.bytes);
  }
  device_.download(backend_, small_on_host_.data(), small_.reserve(0), small_bytes_);
  wait();
  result = results_.data();
  for (const Copy& copy : copies) {
    if (!is_small(copy.bytes)) {
      device_.download(backend_, copy.to, copy.from, copy.bytes);
      continue;
    }
    if (copy.bytes > 0) __builtin_memcpy(copy.to, result, static_cast<size_t>(copy.bytes));
    result += aligned(copy.bytes);
  }
  for (const Buffer& buffer : buffers_) {
    if (!buffer.written || !buffer.original) continue;
    if (buffer.memory)
      device_.download(backend_, buffer.original, buffer.memory->reserve(0), buffer.bytes);
    else if (buffer.bytes > 0)
      __builtin_memcpy(buffer.original, small_on_host_.data() + buffer.place,
                       static_cast<size_t>(buffer.bytes));
  }
  KernelError error{};
  __builtin_memcpy(&error, small_on_host_.data(), sizeof error);
  if (error.step) {
    const KernelError none{};
    __builtin_memcpy(small_on_host_.data(), &none, sizeof none);
    sent_ = false;
  }
  return error;
}

void DeviceSide::wait() {
  if (const char* failure = device_.wait(backend_))
    throw Error(ErrorKind::device, std::string(backend_.name) + ": " + failure);
}

void DeviceSide::read(void* to, const void* from, int64_t bytes) {
  send();
  device_.download(backend_, to, from, bytes);
}

}  // namespace fastconv
