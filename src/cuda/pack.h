// Neighbouring elements of float, bfloat16 or float16, which a thread reads and writes at once; in
// registers they are floats.
#pragma once
#include "convert.h"
#include "device.h"

namespace fastconv::cuda {

constexpr int kPackBytes = 16;  // that a thread reads or writes at most at once

template <class... T>
constexpr int widest() {
  size_t bytes = 1;
  ((bytes = sizeof(T) > bytes ? sizeof(T) : bytes), ...);
  return (int)bytes;
}
// Elements of a pack, of the widest of several types.
template <class... T>
constexpr int kPack = kPackBytes / widest<T...>();

// A number as a type, for functions that are called for several.
template <auto V>
struct Constant {
  static constexpr auto value = V;
};

static inline bool is_aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % kPackBytes == 0;
}

// What a thread moves at once: elements of any type, as they are in memory.
struct alignas(kPackBytes) Chunk {
  uint32_t words[kPackBytes / 4];
};
// One of `size` bytes, over and over.
static inline Chunk chunk_of(const void* element, int64_t size) {
  Chunk chunk;
  for (int64_t at = 0; at < kPackBytes; at += size)
    __builtin_memcpy(reinterpret_cast<char*>(&chunk) + at, element, (size_t)size);
  return chunk;
}

__device__ __forceinline__ float to_float(float x) { return x; }
template <Half T>
__device__ __forceinline__ float to_float(T x) {
#if defined(FASTCONV_EMULATED)
  return widen(x);
#else
  if constexpr (__is_same(T, BFloat16)) {
    return widen(x);
  } else {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
    return wide;
  }
#endif
}

// Two elements of a word.
template <Half T>
__device__ __forceinline__ float first_of(uint32_t pair) {
  return to_float(T{(uint16_t)pair});
}
template <Half T>
__device__ __forceinline__ float second_of(uint32_t pair) {
  if constexpr (__is_same(T, BFloat16))
    return __int_as_float((int)(pair & 0xffff0000));
  else
    return to_float(T{(uint16_t)(pair >> 16)});
}
// Rounds to nearest, ties to even, what is too large to infinity; NaN stays NaN.
template <Half T>
__device__ __forceinline__ uint32_t narrow_pair(float first, float second) {
#if defined(FASTCONV_EMULATED)
  return convert<T>(first).bits | (uint32_t)convert<T>(second).bits << 16;
#else
  uint32_t pair;
  if constexpr (__is_same(T, BFloat16))
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#endif
}
template <Half T>
__device__ __forceinline__ Chunk narrow_eight(const float (&x)[8]) {
  Chunk eight;
#pragma unroll
  for (int i = 0; i < 4; ++i) eight.words[i] = narrow_pair<T>(x[2 * i], x[2 * i + 1]);
  return eight;
}

__device__ __forceinline__ void store(float* p, float x) { *p = x; }
template <Half T>
__device__ __forceinline__ void store(T* p, float x) {
  p->bits = (uint16_t)narrow_pair<T>(x, 0);
}

// x = the N elements from p on, which is aligned to all of them, or to 16 bytes.
template <int N>
__device__ __forceinline__ void load(const float* p, float (&x)[N]) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(p + i);
      x[i] = four.x, x[i + 1] = four.y, x[i + 2] = four.z, x[i + 3] = four.w;
    }
  } else if constexpr (N == 2) {
    const uint2 two = *reinterpret_cast<const uint2*>(p);
    x[0] = __int_as_float((int)two.x), x[1] = __int_as_float((int)two.y);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = p[i];
  }
}
template <Half T>
__device__ __forceinline__ void unpack(uint32_t pair, float* x) {
  x[0] = first_of<T>(pair);
  x[1] = second_of<T>(pair);
}
template <Half T>
__device__ __forceinline__ void unpack(const Chunk& eight, float (&x)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) unpack<T>(eight.words[i], x + 2 * i);
}
template <int N, Half T>
__device__ __forceinline__ void load(const T* p, float (&x)[N]) {
  static_assert(N == 1 || N == 2 || N == 4 || N == 8);
  if constexpr (N == 8) {
    unpack<T>(*reinterpret_cast<const Chunk*>(p), x);
  } else if constexpr (N == 4) {
    const uint2 words = *reinterpret_cast<const uint2*>(p);
    unpack<T>(words.x, x), unpack<T>(words.y, x + 2);
  } else if constexpr (N == 2) {
    unpack<T>(*reinterpret_cast<const uint32_t*>(p), x);
  } else {
    x[0] = to_float(*p);
  }
}
// Bytes, of a mask.
__device__ __forceinline__ float to_float(uint8_t x) { return (float)x; }
template <int N>
__device__ __forceinline__ void load(const uint8_t* p, float (&x)[N]) {
  static_assert(N == 4 || N == 8);
#pragma unroll
  for (int i = 0; i < N; i += 4) {
    const uint32_t four = *reinterpret_cast<const uint32_t*>(p + i);
#pragma unroll
    for (int k = 0; k < 4; ++k) x[i + k] = (float)(four >> 8 * k & 0xff);
  }
}
// The same for integers, as they are.
template <int N>
__device__ __forceinline__ void load(const int32_t* p, int32_t (&x)[N]) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const uint4 four = *reinterpret_cast<const uint4*>(p + i);
      x[i] = (int32_t)four.x, x[i + 1] = (int32_t)four.y;
      x[i + 2] = (int32_t)four.z, x[i + 3] = (int32_t)four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = p[i];
  }
}

template <int N>
__device__ __forceinline__ void store(float* p, const float (&x)[N]) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4)
      *reinterpret_cast<float4*>(p + i) = {x[i], x[i + 1], x[i + 2], x[i + 3]};
  } else if constexpr (N == 2) {
    *reinterpret_cast<uint2*>(p) = {(uint32_t)__float_as_int(x[0]), (uint32_t)__float_as_int(x[1])};
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) p[i] = x[i];
  }
}
template <int N, Half T>
__device__ __forceinline__ void store(T* p, const float (&x)[N]) {
  static_assert(N == 1 || N == 2 || N == 4 || N == 8);
  if constexpr (N == 8)
    *reinterpret_cast<Chunk*>(p) = narrow_eight<T>(x);
  else if constexpr (N == 4)
    *reinterpret_cast<uint2*>(p) = {narrow_pair<T>(x[0], x[1]), narrow_pair<T>(x[2], x[3])};
  else if constexpr (N == 2)
    *reinterpret_cast<uint32_t*>(p) = narrow_pair<T>(x[0], x[1]);
  else
    store(p, x[0]);
}
template <int N>
__device__ __forceinline__ void store(int32_t* p, const int32_t (&x)[N]) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4)
      *reinterpret_cast<uint4*>(p + i) = {(uint32_t)x[i], (uint32_t)x[i + 1], (uint32_t)x[i + 2],
                                          (uint32_t)x[i + 3]};
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) p[i] = x[i];
  }
}

// Elements as they were read, which takes fewer registers while others are on their way.
template <class T, int N>
struct Pack {
  uint32_t words[(N * sizeof(T) + 3) / 4];
  __device__ __forceinline__ float operator[](int i) const {
    if constexpr (sizeof(T) == sizeof(float))
      return __int_as_float((int)words[i]);
    else
      return i % 2 ? second_of<T>(words[i / 2]) : first_of<T>(words[i / 2]);
  }
};
template <class T, int N>
__device__ __forceinline__ void load(const T* p, Pack<T, N>& pack) {
  static_assert(N == 1 || N == 4);
  if constexpr (N * sizeof(T) == 8) {
    const uint2 words = *reinterpret_cast<const uint2*>(p);
    pack.words[0] = words.x, pack.words[1] = words.y;
  } else if constexpr (N > 1) {
    const uint4 line = *reinterpret_cast<const uint4*>(p);
    pack.words[0] = line.x, pack.words[1] = line.y;
    pack.words[2] = line.z, pack.words[3] = line.w;
  } else if constexpr (sizeof(T) == sizeof(float)) {
    pack.words[0] = (uint32_t)__float_as_int(*p);
  } else {
    pack.words[0] = p->bits;
  }
}

// Elements [first, first + N) of an array of `count`, as far as it goes, whether it is aligned or
// not.
template <int N, class T>
__device__ __forceinline__ void load_some(const T* array, int64_t first, int64_t count,
                                          bool aligned, float (&x)[N]) {
  if (aligned && first + N <= count) return load(array + first, x);
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (first + i < count) x[i] = to_float(array[first + i]);
}
template <int N, class T>
__device__ __forceinline__ void store_some(T* array, int64_t first, int64_t count, bool aligned,
                                           const float (&x)[N]) {
  if (aligned && first + N <= count) return store(array + first, x);
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (first + i < count) store(array + first + i, x[i]);
}

}  // namespace fastconv::cuda
