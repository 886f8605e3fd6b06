// The instructions of AMX, on tiles by number: eight registers of 16 rows of 64 bytes.
#pragma once
#include "simd.h"

namespace fastconv::cpu::FASTCONV_ISA {

constexpr int kTileWords = 16;  // of a row, and rows

// What configures the tiles, in its place in memory: all of them, whole.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

#if defined(__AMX_TILE__)

static inline void load_config(const TileConfig& config) {
  __asm__ volatile("ldtilecfg %0" : : "m"(config));
}
static inline void release_config() { __asm__ volatile("tilerelease"); }

template <int T>
static inline void zero_tile() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(T));
}
template <int T>
static inline void load_tile(const void* at, int64_t step_bytes) {
  __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(T), "r"(at), "r"(step_bytes) : "memory");
}
template <int T>
static inline void store_tile(void* at, int64_t step_bytes) {
  __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)"
                   :
                   : "i"(T), "r"(at), "r"(step_bytes)
                   : "memory");
}
// C += A B for words that are pairs of bfloat16.
template <int C, int A, int B>
static inline void dot_pairs() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}
// The same for words that are four bytes, without a sign in A and with one in B.
template <int C, int A, int B>
static inline void dot_bytes() {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

#else

// Their models, after the manual (Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 2), for tests on other CPUs.
static thread_local struct {
  bool configured;
  int32_t words[8][kTileWords][kTileWords];
} tile_state;

// The instruction would fault.
static inline void need(bool legal) {
  if (!legal) __builtin_trap();
}

static inline void load_config(const TileConfig& config) {
  need(config.palette == 1 && config.start_row == 0);
  for (int t = 0; t < 8; ++t) need(config.row_bytes[t] == 64 && config.rows[t] == kTileWords);
  tile_state = {};
  tile_state.configured = true;
}
static inline void release_config() { tile_state = {}; }

static inline auto& tile(int t) {
  need(tile_state.configured && t >= 0 && t < 8);
  return tile_state.words[t];
}

template <int T>
static inline void zero_tile() {
  __builtin_memset(tile(T), 0, sizeof tile(T));
}
template <int T>
static inline void load_tile(const void* at, int64_t step_bytes) {
  for (int i = 0; i < kTileWords; ++i)
    __builtin_memcpy(tile(T)[i], static_cast<const char*>(at) + i * step_bytes, 64);
}
template <int T>
static inline void store_tile(void* at, int64_t step_bytes) {
  for (int i = 0; i < kTileWords; ++i)
    __builtin_memcpy(static_cast<char*>(at) + i * step_bytes, tile(T)[i], 64);
}

// Denormals are zeros.
static inline float flushed(float x) { return x < 0x1p-126f && x > -0x1p-126f ? x * 0.0f : x; }

static inline float word_as_float(int32_t word) {
  float x;
  __builtin_memcpy(&x, &word, sizeof x);
  return x;
}
static inline float first_half(int32_t word) {
  return flushed(word_as_float(static_cast<int32_t>(static_cast<uint32_t>(word) << 16)));
}
static inline float second_half(int32_t word) {
  return flushed(word_as_float(static_cast<int32_t>(static_cast<uint32_t>(word) & 0xffff0000u)));
}

// First and second halves have sums of their own, which come together at the end.
template <int C, int A, int B>
static inline void dot_pairs() {
  static_assert(C != A && C != B && A != B);
  for (int m = 0; m < kTileWords; ++m)
    for (int n = 0; n < kTileWords; ++n) {
      float first = 0, second = 0;
      for (int k = 0; k < kTileWords; ++k) {
        const int32_t a = tile(A)[m][k], b = tile(B)[k][n];
        first = flushed(__builtin_fmaf(first_half(a), first_half(b), first));
        second = flushed(__builtin_fmaf(second_half(a), second_half(b), second));
      }
      const float sum = flushed(flushed(word_as_float(tile(C)[m][n])) + flushed(first + second));
      __builtin_memcpy(&tile(C)[m][n], &sum, sizeof sum);
    }
}

// Sums wrap.
template <int C, int A, int B>
static inline void dot_bytes() {
  static_assert(C != A && C != B && A != B);
  for (int m = 0; m < kTileWords; ++m)
    for (int n = 0; n < kTileWords; ++n) {
      uint32_t sum = static_cast<uint32_t>(tile(C)[m][n]);
      for (int k = 0; k < 4 * kTileWords; ++k) {
        const auto byte = [k](int32_t word) { return word >> k % 4 * 8; };
        const int32_t a = static_cast<uint8_t>(byte(tile(A)[m][k / 4]));
        const int32_t b = static_cast<int8_t>(byte(tile(B)[k / 4][n]));
        sum += static_cast<uint32_t>(a * b);
      }
      tile(C)[m][n] = static_cast<int32_t>(sum);
    }
}

#endif

}  // namespace fastconv::cpu::FASTCONV_ISA
