// Plain data that every part of fastconv shares: element types and tensors.
//
// Kernel files include this header, so it includes nothing but integer types, and its functions
// are `static`: no inline symbol may be shared between objects of different instruction sets.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace fastconv {

enum class Dtype : int32_t {
  float32,
  float64,
  bfloat16,
  float16,
  int64,
  int32,
  uint8,
  boolean,
  int8
};

constexpr int kMaxRank = 8;

// A dense, row-major array; it never owns its memory. `data` is null for an output that nobody
// reads and while kernels are chosen.
struct Tensor {
  void* data;
  int64_t dims[kMaxRank];
  int32_t rank;
  Dtype dtype;
};

static inline int64_t size_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::float64:
    case Dtype::int64: return 8;
    case Dtype::float32:
    case Dtype::int32: return 4;
    case Dtype::bfloat16:
    case Dtype::float16: return 2;
    case Dtype::uint8:
    case Dtype::boolean:
    case Dtype::int8: return 1;
  }
  return 0;
}

static inline int64_t elements(const Tensor& tensor) {
  int64_t count = 1;
  for (int i = 0; i < tensor.rank; ++i) count *= tensor.dims[i];
  return count;
}

static inline int64_t bytes(const Tensor& tensor) {
  return elements(tensor) * size_of(tensor.dtype);
}

}  // namespace fastconv
