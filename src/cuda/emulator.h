// CUDA's words for g++: threads of a block are fibers that meet at barriers. Kernels are then
// ordinary functions, whose results the tests compare with the reference.
//
// What the emulator sees: shared memory that was never written (it starts as NaN), a missing
// barrier (threads run in one order or the other, each up to the next barrier), a barrier that not
// all threads reach, host code that touches the device's memory, and device code that leaves it.
// What it does not see: time, registers, the order of memory between threads that do not meet.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define __device__
#define __host__
#define __forceinline__ inline

namespace fastconv::emulator {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

constexpr int kMostShared = 227 * 1024;  // bytes of a block, on sm_80 and later: 163 to 227 KiB

// Starts `blocks` blocks of `threads` threads: thread(shared) is one of them. Without shared memory
// (`bytes` is 0) they may not meet.
void launch(int64_t blocks, int threads, int64_t shared_bytes,
            const std::function<void(void* shared)>& thread);

int64_t block_number();  // of all blocks that ran, and the one that runs

// Ends the launch: `wait` of the backend reports it.
[[noreturn]] void fault(const char* what);

// Neighbouring threads, `size` of them, meet: the last to come calls all(operands), with what each
// thread brought, before any goes on.
void meet(int size, void* mine, const std::function<void(void* const* operands)>& all);

// For models of instructions that take their time (emulator_hopper.h): the thread goes on when
// ready() is true; work() is done some rounds of the threads later; something happened that others
// may wait for.
void wait_until(const std::function<bool()>& ready);
void later(std::function<void()> work);
void progressed();
unsigned char* shared_memory();  // of the block

}  // namespace fastconv::emulator

inline fastconv::emulator::Index threadIdx, blockIdx, blockDim, gridDim;

inline void __syncthreads() {
  fastconv::emulator::meet(static_cast<int>(blockDim.x), nullptr, [](void* const*) {});
}

inline void __syncwarp() {
  fastconv::emulator::meet(32, nullptr, [](void* const*) {});
}

template <class T>
inline T __shfl_xor_sync(unsigned, T value, int mask) {
  T result = value;
  struct Lane {
    T value, *result;
  } mine{value, &result};
  fastconv::emulator::meet(32, &mine, [mask](void* const* lanes) {
    for (int i = 0; i < 32; ++i)
      *static_cast<Lane*>(lanes[i])->result = static_cast<Lane*>(lanes[i ^ mask])->value;
  });
  return result;
}

// In CUDA these are instructions of their own, which round once.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline uint64_t __umul64hi(uint64_t a, uint64_t b) {
  return (uint64_t)((unsigned __int128)a * b >> 64);
}
inline float __int_as_float(int bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
inline int __float_as_int(float value) {
  int bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
