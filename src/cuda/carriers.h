// Copies from pageable memory of the host, which the driver does slowly: a few threads write pieces
// into pinned memory, from where the device fetches them meanwhile.
#pragma once
#include <cuda_runtime.h>
#include <string.h>

#include <thread>
#include <vector>

namespace fastconv::cuda {

class Carriers {
 public:
  // Returns when `from` was read; the rest happens in the order of the stream.
  cudaError_t upload(int device, cudaStream_t stream, void* to, const void* from, int64_t bytes) {
    cudaError_t error = made_ ? cudaSuccess : make();
    if (error != cudaSuccess) return error;
    cudaError_t errors[kThreads] = {};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads && i * kPiece < bytes; ++i)
      threads.emplace_back([=, this, &errors] {
        errors[i] = cudaSetDevice(device);
        if (errors[i] == cudaSuccess)
          errors[i] = carry(lanes_[i], stream, static_cast<char*>(to),
                            static_cast<const char*>(from), bytes, i * kPiece);
      });
    for (std::thread& thread : threads) thread.join();
    for (const cudaError_t one : errors)
      if (one != cudaSuccess) error = one;
    return error;
  }

 private:
  static constexpr int kThreads = 4;
  static constexpr int64_t kPiece = 512 * 1024;
  // One is filled while the other one is fetched.
  struct Lane {
    void* pinned[2];
    cudaEvent_t fetched[2];
  };

  cudaError_t make() {
    for (Lane& lane : lanes_)
      for (int i = 0; i < 2; ++i) {
        cudaError_t error = cudaMallocHost(&lane.pinned[i], kPiece);
        if (error == cudaSuccess)
          error = cudaEventCreateWithFlags(&lane.fetched[i], cudaEventDisableTiming);
        if (error != cudaSuccess) return error;
      }
    made_ = true;
    return cudaSuccess;
  }

  // The pieces of one thread.
  static cudaError_t carry(Lane& lane, cudaStream_t stream, char* to, const char* from,
                           int64_t bytes, int64_t begin) {
    cudaError_t error = cudaSuccess;
    for (int i = 0; begin < bytes && error == cudaSuccess; begin += kThreads * kPiece, i ^= 1) {
      const size_t count = (size_t)(bytes - begin < kPiece ? bytes - begin : kPiece);
      error = cudaEventSynchronize(lane.fetched[i]);
      memcpy(lane.pinned[i], from + begin, count);
      if (error == cudaSuccess)
        error = cudaMemcpyAsync(to + begin, lane.pinned[i], count, cudaMemcpyHostToDevice, stream);
      if (error == cudaSuccess) error = cudaEventRecord(lane.fetched[i], stream);
    }
    return error;
  }

  Lane lanes_[kThreads] = {};
  bool made_ = false;
};

}  // namespace fastconv::cuda
