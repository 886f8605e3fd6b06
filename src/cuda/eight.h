// Eight neighbours in memory, of float32 or bfloat16, as float32.
#pragma once
#include "tensor_core.h"

namespace fastconv::cuda {

using cpu::shared::BFloat16;
using cpu::shared::widen;

// What a bfloat16 map moves at a time.
struct alignas(16) Chunk {
  uint32_t words[4];
};

__device__ __forceinline__ void widen_eight(const Chunk& chunk, float (&x)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = __int_as_float((int)(chunk.words[i] << 16));
    x[2 * i + 1] = __int_as_float((int)(chunk.words[i] & 0xffff0000));
  }
}

// All eight, from an address that is a multiple of 16 bytes.
__device__ __forceinline__ void load_eight(const float* from, float (&x)[8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float4 four = reinterpret_cast<const float4*>(from)[i];
    x[4 * i] = four.x, x[4 * i + 1] = four.y, x[4 * i + 2] = four.z, x[4 * i + 3] = four.w;
  }
}
__device__ __forceinline__ void load_eight(const BFloat16* from, float (&x)[8]) {
  widen_eight(*reinterpret_cast<const Chunk*>(from), x);
}
__device__ __forceinline__ void store_eight(float* to, const float (&x)[8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
    reinterpret_cast<float4*>(to)[i] = {x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]};
}
__device__ __forceinline__ void store_eight(BFloat16* to, const float (&x)[8]) {
  Chunk chunk;
#pragma unroll
  for (int i = 0; i < 4; ++i) chunk.words[i] = pack_bfloat16(x[2 * i], x[2 * i + 1]);
  *reinterpret_cast<Chunk*>(to) = chunk;
}

}  // namespace fastconv::cuda
