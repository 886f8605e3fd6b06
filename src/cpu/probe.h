// What the machine can reach: the yardstick that speeds are given as a share of.
#pragma once
#include <stdint.h>

namespace fastconv::cpu {

// The measuring loops of one instruction set, on all threads.
struct Probe {
  // Best rate of independent multiply-add chains within about `seconds`.
  double (*fma_gflops)(double seconds);
  // Best rate of a = b + s c over three arrays of `count` floats; each array counts once.
  double (*triad_gbytes)(double seconds, float* a, const float* b, const float* c, int64_t count);
};

struct Peak {
  double gflops;
  double gbytes_per_second;         // of memory
  double cached_gbytes_per_second;  // of arrays that fit in the caches
  int threads;
};
// Takes about `seconds`, with the instruction set and the threads that kernels use.
Peak measure_peak(double seconds);

}  // namespace fastconv::cpu
