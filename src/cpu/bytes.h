// Bytes as lanes of integers, and back.
#pragma once
#include "simd.h"

namespace fastconv::cpu::FASTCONV_ISA {

// Register of kLanes bytes: the compiler takes them apart where it is left to convert vectors.
#if defined(__AVX2__)
typedef __m128i vbytes;  // AVX2 uses its lower half
#elif defined(__SSE4_1__)
typedef __m128i vbytes;  // its lowest quarter
#else
typedef uint8_t vbytes __attribute__((vector_size(kLanes)));
#endif

static inline vint widen_bytes(vbytes v) {
#if defined(__AVX512F__)
  return (vint)_mm512_maskz_cvtepu8_epi32((__mmask16)-1, v);
#elif defined(__AVX2__)
  return (vint)_mm256_cvtepu8_epi32(v);
#elif defined(__SSE4_1__)
  return (vint)_mm_cvtepu8_epi32(v);
#else
  return __builtin_convertvector(v, vint);
#endif
}

// The lowest byte of each lane.
static inline vbytes narrow_bytes(vint v) {
#if defined(__AVX512F__)
  return _mm512_maskz_cvtepi32_epi8((__mmask16)-1, (__m512i)v);
#elif defined(__AVX2__)
  const __m256i lowest = _mm256_set1_epi32(0x0c080400);
  const __m256i halves = _mm256_shuffle_epi8((__m256i)v, lowest);
  return _mm_unpacklo_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
#elif defined(__SSE4_1__)
  return _mm_shuffle_epi8((__m128i)v, _mm_set1_epi32(0x0c080400));
#else
  return __builtin_convertvector(v, vbytes);
#endif
}

// `count` (0 .. kLanes) bytes as lanes; the others are 0.
static inline vint load_bytes(const uint8_t* p, int64_t count = kLanes) {
  vbytes bytes = {};
  if (count == kLanes)
    __builtin_memcpy(&bytes, p, kLanes);
  else
    __builtin_memcpy(&bytes, p, static_cast<size_t>(count));
  return widen_bytes(bytes);
}

// The same with a sign.
static inline vint load_bytes(const int8_t* p, int64_t count = kLanes) {
  return load_bytes(reinterpret_cast<const uint8_t*>(p), count) << 24 >> 24;
}

// The lowest byte of each lane.
static inline void store_bytes(uint8_t* p, vint v, int64_t count = kLanes) {
  const vbytes bytes = narrow_bytes(v);
  if (count == kLanes)
    __builtin_memcpy(p, &bytes, kLanes);
  else
    __builtin_memcpy(p, &bytes, static_cast<size_t>(count));
}

}  // namespace fastconv::cpu::FASTCONV_ISA
