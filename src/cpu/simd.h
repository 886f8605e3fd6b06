// The vector operations that kernels use, on GCC's vector types: one source for every instruction
// set. FASTCONV_ISA (a namespace) and FASTCONV_LANES (floats in a vector) come from the build.
#pragma once
#include <stddef.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "fastconv/types.h"

namespace fastconv::cpu::FASTCONV_ISA {

constexpr int kLanes = FASTCONV_LANES;

typedef float vfloat __attribute__((vector_size(4 * kLanes)));
typedef int32_t vint __attribute__((vector_size(4 * kLanes)));
// For memory at any address.
typedef float vfloat_any __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t vint_any __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

static inline vfloat load(const float* p) { return *reinterpret_cast<const vfloat_any*>(p); }
static inline vint load(const int32_t* p) { return *reinterpret_cast<const vint_any*>(p); }
static inline void store(float* p, vfloat v) { *reinterpret_cast<vfloat_any*>(p) = v; }
static inline void store(int32_t* p, vint v) { *reinterpret_cast<vint_any*>(p) = v; }
// s - 0 is s, also for -0, so that the compiler drops the subtraction.
static inline vfloat splat(float s) { return s - vfloat{}; }
static inline vint splat(int32_t s) { return vint{} + s; }

// The first `count` lanes (0 <= count <= kLanes); the others are 0 and their memory is not touched.
#if defined(__AVX512F__)
static inline __mmask16 part_mask(int64_t count) { return (__mmask16)((1u << count) - 1); }
static inline vint load_part(const int32_t* p, int64_t count) {
  return (vint)_mm512_maskz_loadu_epi32(part_mask(count), p);
}
static inline vfloat load_part(const float* p, int64_t count) {
  return (vfloat)_mm512_maskz_loadu_ps(part_mask(count), p);
}
static inline void store_part(int32_t* p, vint v, int64_t count) {
  _mm512_mask_storeu_epi32(p, part_mask(count), (__m512i)v);
}
static inline void store_part(float* p, vfloat v, int64_t count) {
  _mm512_mask_storeu_ps(p, part_mask(count), (__m512)v);
}
#elif defined(__AVX2__)
static inline __m256i part_mask(int64_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), lane);
}
static inline vint load_part(const int32_t* p, int64_t count) {
  return (vint)_mm256_maskload_epi32(p, part_mask(count));
}
static inline vfloat load_part(const float* p, int64_t count) {
  return (vfloat)_mm256_maskload_ps(p, part_mask(count));
}
static inline void store_part(int32_t* p, vint v, int64_t count) {
  _mm256_maskstore_epi32(p, part_mask(count), (__m256i)v);
}
static inline void store_part(float* p, vfloat v, int64_t count) {
  _mm256_maskstore_ps(p, part_mask(count), (__m256)v);
}
#else
static inline vint load_part(const int32_t* p, int64_t count) {
  vint v = {};
  for (int64_t i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
static inline vfloat load_part(const float* p, int64_t count) {
  vfloat v = {};
  for (int64_t i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
static inline void store_part(int32_t* p, vint v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) p[i] = v[i];
}
static inline void store_part(float* p, vfloat v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) p[i] = v[i];
}
#endif

// The same for a count that is mostly kLanes, and often known to the compiler.
template <class T>
static inline auto load_lanes(const T* p, int64_t count) {
  return count == kLanes ? load(p) : load_part(p, count);
}
template <class T, class Vector>
static inline void store_lanes(T* p, Vector v, int64_t count) {
  if (count == kLanes) return store(p, v);
  store_part(p, v, count);
}

// Writes a vector past the caches, to an address that is aligned to it. A task that does ends with
// stream_end(), so that other threads see what it wrote.
static inline void stream(float* p, vfloat v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, (__m256)v);
#elif defined(__SSE2__)
  _mm_stream_ps(p, (__m128)v);
#else
  store(p, v);
#endif
}
static inline void stream(int32_t* p, vint v) { stream(reinterpret_cast<float*>(p), (vfloat)v); }
static inline void stream_end() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Whether an array of so many bytes is better written so: it would push out of the caches more than
// its reader finds there.
static inline bool worth_streaming(const void* dst, int64_t bytes) {
  constexpr int64_t kOutgrown = 8 << 20;
  return bytes > kOutgrown && reinterpret_cast<uintptr_t>(dst) % sizeof(vfloat) == 0;
}

// Calls body(i, lanes) for the vectors of [begin, end), the last one maybe partial.
template <class Body>
static inline void for_vectors(int64_t begin, int64_t end, const Body& body) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, int64_t{kLanes});
  if (i < end) body(i, end - i);
}

// Calls body(c, lanes) for vectors that together are `channels` wide: full ones, of which the last
// may overlap the one before, or a single partial one.
template <class Body>
static inline void channel_vectors(int64_t channels, const Body& body) {
  if (channels < kLanes) return body(0, channels);
  for (int64_t c = 0; c < channels; c += kLanes)
    body(c + kLanes <= channels ? c : channels - kLanes, int64_t{kLanes});
}

// Like NumPy's maximum and minimum except for NaN, where `b` is given.
static inline vfloat max(vfloat a, vfloat b) { return a > b ? a : b; }
static inline vfloat min(vfloat a, vfloat b) { return a < b ? a : b; }

static inline bool any_nan(vfloat v) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)(v != v)) != 0;
#else
  int32_t any = 0;
  for (int i = 0; i < kLanes; ++i) any |= v[i] != v[i];
  return any != 0;
#endif
}

// Combines all lanes, always in the same order: halves, quarters ... of the vector.
template <int Width = kLanes / 2, class F>
static inline float fold(vfloat v, const F& f) {
  vint other = {};
  for (int i = 0; i < kLanes; ++i) other[i] = i ^ Width;
  const vfloat folded = f(v, __builtin_shuffle(v, other));
  if constexpr (Width > 1)
    return fold<Width / 2>(folded, f);
  else
    return folded[0];
}

static inline float sum(vfloat v) {
  return fold(v, [](vfloat a, vfloat b) { return a + b; });
}
static inline float max(vfloat v) {
  return fold(v, [](vfloat a, vfloat b) { return max(a, b); });
}

// Lane 2i of `low` comes from lane i of the first vector, lane 2i + 1 from that of the second;
// `high` the same from the upper half.
struct Interleave {
  vint low, high;
  Interleave() {
    for (int i = 0; i < kLanes; ++i) low[i] = i / 2 + i % 2 * kLanes;
    high = low + kLanes / 2;
  }
};

// v[i] lane j becomes v[j] lane i. Each stage rotates the bits of (i, j) by one.
static inline void transpose(vfloat (&v)[kLanes]) {
  const Interleave pick;
#pragma GCC unroll 4
  for (int stage = 1; stage < kLanes; stage *= 2) {
    vfloat w[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      w[2 * i] = __builtin_shuffle(v[i], v[i + kLanes / 2], pick.low);
      w[2 * i + 1] = __builtin_shuffle(v[i], v[i + kLanes / 2], pick.high);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) v[i] = w[i];
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
