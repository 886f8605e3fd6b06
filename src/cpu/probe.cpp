// Measuring loops for the peak of one instruction set. Not kernels: they read the clock.
#include "probe.h"

#include <time.h>

#include "parallel.h"
#include "simd.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int kChains = 12;  // > latency times units; with two operands they fit 16 registers
constexpr int64_t kRounds = 20000;

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Calls `body` until the time is over (three times at least); the shortest call in seconds.
template <class Body>
double shortest(double seconds, const Body& body) {
  const double end = now() + seconds;
  double best = 1e30, start = now();
  for (int calls = 0; calls < 3 || start < end; ++calls) {
    body();
    const double stop = now();
    if (stop - start < best) best = stop - start;
    start = stop;
  }
  return best;
}

// The factor keeps the chains near 1, far from overflow and from denormals.
void chains() {
  vfloat factor = splat(0.5f), addend = splat(0.5f), sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = splat(1 + 0.01f * (float)i);
  __asm__ volatile("" : "+m"(factor), "+m"(addend));
  for (int64_t round = 0; round < kRounds; ++round)
    for (int i = 0; i < kChains; ++i) sums[i] = sums[i] * factor + addend;
  __asm__ volatile("" : : "m"(sums));
}

double fma_gflops(double seconds) {
  const int64_t tasks = 16 * thread_count();
  const double best =
      shortest(seconds, [&] { parallel_for(tasks, kRounds * kChains, [](int64_t) { chains(); }); });
  return 2e-9 * kLanes * kChains * (double)(kRounds * tasks) / best;
}

double triad_gbytes(double seconds, float* a, const float* b, const float* c, int64_t count) {
  constexpr int64_t block = 1 << 16;
  const vfloat scale = splat(0.5f);
  const double best = shortest(seconds, [&] {
    parallel_blocks(count, block, 1, [&](int64_t begin, int64_t end) {
      for_vectors(begin, end, [&](int64_t i, int64_t lanes) {
        const vfloat sum = load_lanes(b + i, lanes) + scale * load_lanes(c + i, lanes);
        store_lanes(a + i, sum, lanes);
      });
    });
  });
  return 1e-9 * 3 * sizeof(float) * (double)count / best;
}

}  // namespace

extern const Probe probe;
const Probe probe = {fma_gflops, triad_gbytes};

}  // namespace fastconv::cpu::FASTCONV_ISA
