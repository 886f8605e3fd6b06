// The instructions of hopper.h for the emulator. Boxes that TMA loads come some rounds of the
// threads later. Products run at once in one launch, and only when they are waited for in another:
// the hardware may do either. A barrier lies in shared memory, and what is wrong with its use is a
// fault.
#pragma once
#include <stdint.h>

#include "convert.h"

namespace fastconv::cuda {

struct TensorMap {
  const unsigned char* data;
  int element;      // bytes
  int64_t size[4];  // from the inside out
  int box[2];       // elements of a row; rows
  bool windows;
  int64_t low[2], high[2], stride[2];  // corners of the first and last window, along W and H
};

struct Barrier {
  int32_t bytes;  // expected in this phase, less those that came
  uint32_t made : 12, threads : 8, missing : 8, parity : 4;
};

uint32_t shared_address(const void* p);  // from the beginning of shared memory

void make_barrier(Barrier& barrier, int threads);
void publish_barriers();
void arrive(Barrier& barrier);
void arrive_expecting(Barrier& barrier, int bytes);
void wait_for(Barrier& barrier, int parity);

void load_box(void* to, const TensorMap& map, Barrier& barrier, int x, int y, int z);
void load_windows(void* to, const TensorMap& map, Barrier& barrier, int channel, int w, int h,
                  int n, int tap_w, int tap_h);

template <int Registers>
void keep_registers() {}
template <int Registers>
void take_registers() {}

void fence_products();
void end_group();
void wait_for_groups(int unfinished);
template <int Unfinished>
void wait_for_groups() {
  wait_for_groups(Unfinished);
}

// `sums` of each thread: `count` of them. The operands have elements of that type.
void multiply(float* sums, int count, Dtype dtype, bool turn_a, bool turn_b, uint64_t a, uint64_t b,
              bool add);
template <class T, bool TurnA, bool TurnB, int Count>
void multiply(float (&sums)[Count], uint64_t a, uint64_t b, bool add) {
  constexpr Dtype kHalf = __is_same(T, Float16) ? Dtype::float16 : Dtype::bfloat16;
  multiply(sums, Count, sizeof(T) == 4 ? Dtype::float32 : kHalf, TurnA, TurnB, a, b, add);
}

}  // namespace fastconv::cuda
