// GPUs behind the backend contract. Each has one stream, so that what is asked for happens in
// order.
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "carriers.h"
#include "fastconv/device.h"
#include "kernels.h"

namespace fastconv::cuda {
namespace {

constexpr int kLeastCapability = 80;
constexpr int64_t kCopiedBytes = 64 * 1024;  // of a managed page, which is what moves
constexpr int64_t kCarriedBytes = 1 << 20;   // from which on the start of threads pays

struct Gpu : Backend {
  std::string name_text, detail_text;
  cudaStream_t stream = nullptr;
  cudaStream_t beside = nullptr;  // for what the next run needs
  cudaEvent_t brought = nullptr;
  int capability = 0;
  int64_t multiprocessors = 0;
  std::recursive_mutex mutex;
  cudaError_t failure = cudaSuccess;  // the first since the last wait
  std::vector<cudaEvent_t> marks;
  Carriers carriers;
};

Gpu& gpu_of(const Backend& self) { return static_cast<Gpu&>(const_cast<Backend&>(self)); }

thread_local Gpu* current = nullptr;

// While it lives, this thread alone uses the device.
class Use {
 public:
  explicit Use(const Backend& self) : gpu_(gpu_of(self)), lock_(gpu_.mutex), before_(current) {
    current = &gpu_;
    note(cudaSetDevice(self.index));
  }
  ~Use() {
    current = before_;
    if (before_) note(cudaSetDevice(before_->index));
  }
  Gpu* operator->() const { return &gpu_; }

 private:
  Gpu& gpu_;
  std::lock_guard<std::recursive_mutex> lock_;
  Gpu* before_;
};

// Null, and the error forgotten, where there is no memory.
void* memory_or_null(cudaError_t error, void* memory) {
  if (error == cudaSuccess) return memory;
  cudaGetLastError();
  return nullptr;
}

void* allocate(const Backend& self, int64_t bytes) {
  const Use use(self);
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, (size_t)bytes);
  return memory_or_null(error, memory);
}

// Managed: it moves to the GPU when it is first used there, and back when the host touches it.
void* share(const Backend& self, int64_t bytes) {
  const Use use(self);
  void* memory = nullptr;
  const cudaError_t error = cudaMallocManaged(&memory, (size_t)bytes);
  return memory_or_null(error, memory);
}

void* pin(const Backend& self, int64_t bytes) {
  const Use use(self);
  void* memory = nullptr;
  const cudaError_t error = cudaMallocHost(&memory, (size_t)bytes);
  return memory_or_null(error, memory);
}

cudaMemoryType type_of(const void* memory) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, memory) == cudaSuccess) return attributes.type;
  cudaGetLastError();
  return cudaMemoryTypeUnregistered;
}

void release(const Backend& self, void* memory, int64_t) {
  const Use use(self);
  note(cudaStreamSynchronize(use->stream));
  note(type_of(memory) == cudaMemoryTypeHost ? cudaFreeHost(memory) : cudaFree(memory));
}

// Kernels reach pinned memory of the host as well, but slowly.
bool reaches(const Backend& self, const void* memory) {
  const Use use(self);
  cudaPointerAttributes attributes{};
  const cudaError_t error = cudaPointerGetAttributes(&attributes, memory);
  if (error != cudaSuccess) cudaGetLastError();
  return error == cudaSuccess &&
         (attributes.type == cudaMemoryTypeManaged ||
          (attributes.type == cudaMemoryTypeDevice && attributes.device == self.index));
}

void carry(const Use& use, cudaStream_t stream, void* to, const void* from, int64_t bytes) {
  if (bytes >= kCarriedBytes && type_of(from) == cudaMemoryTypeUnregistered)
    return note(use->carriers.upload(use->index, stream, to, from, bytes));
  note(cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDefault, stream));
}

void upload(const Backend& self, void* to, const void* from, int64_t bytes) {
  const Use use(self);
  carry(use, use->stream, to, from, bytes);
}

void bring(const Backend& self, void* to, const void* from, int64_t bytes) {
  const Use use(self);
  carry(use, use->beside, to, from, bytes);
  note(cudaEventRecord(use->brought, use->beside));
}

void meet(const Backend& self) {
  const Use use(self);
  note(cudaStreamWaitEvent(use->stream, use->brought, 0));
}

void download(const Backend& self, void* to, const void* from, int64_t bytes) {
  const Use use(self);
  note(cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDefault, use->stream));
  if (type_of(to) != cudaMemoryTypeHost) note(cudaStreamSynchronize(use->stream));
}

const char* wait(const Backend& self) {
  const Use use(self);
  note(cudaStreamSynchronize(use->stream));
  const cudaError_t failure = use->failure;
  use->failure = cudaSuccess;
  return failure == cudaSuccess ? nullptr : cudaGetErrorString(failure);
}

void* record(const Backend& self, void (*body)(void*), void* context) {
  const Use use(self);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t recording = nullptr;
  note(cudaStreamBeginCapture(use->stream, cudaStreamCaptureModeThreadLocal));
  body(context);
  note(cudaStreamEndCapture(use->stream, &graph));
  if (graph) note(cudaGraphInstantiate(&recording, graph, 0));
  if (graph) note(cudaGraphDestroy(graph));
  return recording;
}

void replay(const Backend& self, void* recording) {
  const Use use(self);
  note(cudaGraphLaunch(static_cast<cudaGraphExec_t>(recording), use->stream));
}

void forget(const Backend& self, void* recording) {
  const Use use(self);
  note(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recording)));
}

int64_t available(const Backend& self) {
  const Use use(self);
  size_t free = 0, total = 0;
  note(cudaMemGetInfo(&free, &total));
  return (int64_t)free;
}

void mark(const Backend& self, int32_t number) {
  const Use use(self);
  while ((size_t)number >= use->marks.size()) {
    use->marks.push_back(nullptr);
    note(cudaEventCreate(&use->marks.back()));
  }
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  note(cudaStreamIsCapturing(use->stream, &status));
  const bool recorded = status == cudaStreamCaptureStatusActive;
  note(cudaEventRecordWithFlags(use->marks[(size_t)number], use->stream,
                                recorded ? cudaEventRecordExternal : cudaEventRecordDefault));
}

int64_t between(const Backend& self, int32_t first, int32_t second) {
  const Use use(self);
  float milliseconds = 0;
  note(cudaEventElapsedTime(&milliseconds, use->marks[(size_t)first], use->marks[(size_t)second]));
  return (int64_t)((double)milliseconds * 1e6);
}

void* stream_of(const Backend& self) { return gpu_of(self).stream; }

bool prepared(const Backend& self, bool, void (*body)(void*), void* context) {
  const Use use(self);
  body(context);
  return true;
}

constexpr Device kDevice = {
    {share, kCopiedBytes, reaches, upload, download, wait, record, replay, forget, available},
    pin,
    mark,
    between,
    bring,
    meet,
    tiles,
    stream_of};

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Why there is no device `index`; empty if there is.
std::string problem_with(int index) {
  int driver = 0, needed = 0, count = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&needed);
  if (driver == 0) return "no NVIDIA driver was found; CUDA " + version_text(needed) + " is needed";
  if (driver / 1000 < needed / 1000)
    return "the NVIDIA driver supports CUDA " + version_text(driver) + ", and CUDA " +
           version_text(needed / 1000 * 1000) + " is needed; install a newer driver";
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  if (index < 0 || index >= count)
    return "there are " + std::to_string(count) +
           " GPUs, counted from 0 (CUDA_VISIBLE_DEVICES "
           "hides others)";
  return "";
}

// Makes the device usable, and gives the reason if that fails.
std::string open(Gpu& gpu, int index) {
  cudaDeviceProp properties;
  cudaError_t error = cudaGetDeviceProperties(&properties, index);
  const int capability = properties.major * 10 + properties.minor;
  gpu.capability = capability;
  gpu.multiprocessors = properties.multiProcessorCount;
  if (error == cudaSuccess && capability < kLeastCapability)
    return std::string(properties.name) + " has compute capability " +
           std::to_string(properties.major) + "." + std::to_string(properties.minor) +
           ", and 8.0 is needed";
  if (error == cudaSuccess) error = cudaSetDevice(index);
  if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&gpu.stream, cudaStreamNonBlocking);
  if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&gpu.beside, cudaStreamNonBlocking);
  if (error == cudaSuccess) error = cudaEventCreateWithFlags(&gpu.brought, cudaEventDisableTiming);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  char size[32];
  snprintf(size, sizeof size, "%.0f GiB", (double)properties.totalGlobalMem / (1 << 30));
  gpu.name_text = index == 0 ? "cuda" : "cuda:" + std::to_string(index);
  gpu.detail_text = std::string(properties.name) + ", " + size;
  static_cast<Backend&>(gpu) = {kDeviceVersion,
                                gpu.name_text.c_str(),
                                gpu.detail_text.c_str(),
                                index,
                                kernels,
                                allocate,
                                release,
                                prepared,
                                &kDevice};
  return "";
}

}  // namespace

cudaStream_t stream() { return current->stream; }

int64_t multiprocessors() { return current->multiprocessors; }

bool has_hopper(const Backend& self) {
#if defined(FASTCONV_SM90A)
  return gpu_of(self).capability == 90;
#else
  return false;
#endif
}

void note(cudaError_t error) {
  if (error != cudaSuccess && current && current->failure == cudaSuccess) current->failure = error;
}

extern "C" __attribute__((visibility("default"))) const Backend* fastconv_backend(
    uint32_t version, int32_t index, const char** reason) {
  static auto& gpus = *new std::map<int, std::unique_ptr<Gpu>>;  // they live as long as the process
  static std::string problem;
  if (version != kDeviceVersion) return nullptr;
  if (gpus.count(index)) return gpus.at(index).get();
  auto gpu = std::make_unique<Gpu>();
  problem = problem_with(index);
  if (problem.empty()) problem = open(*gpu, index);
  *reason = problem.c_str();
  if (!problem.empty()) return nullptr;
  return (gpus[index] = std::move(gpu)).get();
}

}  // namespace fastconv::cuda
