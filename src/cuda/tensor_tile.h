// How a block brings bfloat16 operands of a product to shared memory, and a warp multiplies them.
//
// A step takes 32 values of k. A tile of an operand is made of chunks, eight neighbours in memory,
// which a copy moves: along k, a row of four chunks for each outer index (m of A, n of B); or along
// the outer index, a row of it for each of the 32 k.
#pragma once
#include "eight.h"
#include "index.h"

namespace fastconv::cuda {

constexpr int kStepDepth = 32, kChunk = 8, kTileThreads = 128;

// Where a chunk of a row is in its tile. Eight rows at the same chunk, and eight chunks of a row,
// are in different banks.
template <int RowChunks>
__device__ __forceinline__ int place(int row, int chunk) {
  if constexpr (RowChunks >= 8) return row * RowChunks + (chunk ^ (row & 7));
  static_assert(RowChunks == 4 || RowChunks >= 8);
  return row * RowChunks + (chunk ^ (row >> 1 & 3));
}

// A tile with k along its rows: `Outer` rows of four chunks. A thread copies the same chunk of rows
// that are kApart apart; its first is at first().
template <int Outer>
struct AlongDepth {
  static constexpr bool kAlongDepth = true;
  static constexpr int kChunks = kStepDepth / kChunk, kApart = kTileThreads / kChunks;
  static constexpr int kRows = Outer / kApart;  // of a thread
  __device__ static __forceinline__ int chunk() { return threadIdx.x % kChunks; }
  __device__ static __forceinline__ int row(int i) { return threadIdx.x / kChunks + i * kApart; }
  __device__ static __forceinline__ int first() { return place<kChunks>(row(0), chunk()); }
  __device__ static constexpr int behind(int i) { return i * kApart * kChunks; }
};

// A tile with k across: 32 rows of Outer / 8 chunks. A thread copies the same chunks of rows that
// are kApart apart.
template <int Outer>
struct AcrossDepth {
  static constexpr bool kAlongDepth = false;
  static constexpr int kChunks = Outer / kChunk, kSide = kChunks < 8 ? kChunks : 8;
  static constexpr int kApart = kTileThreads / kSide;
  static constexpr int kRows = kStepDepth / kApart, kColumns = kChunks / kSide;  // of a thread
  __device__ static __forceinline__ int chunk(int j) { return threadIdx.x % kSide + j * kSide; }
  __device__ static __forceinline__ int row(int i) { return threadIdx.x / kSide + i * kApart; }
  __device__ static __forceinline__ int first() { return place<kChunks>(row(0), chunk(0)); }
  __device__ static constexpr int behind(int i, int j) { return i * kApart * kChunks + j * kSide; }
};

// What a warp multiplies: 16 of m, and 16 of n, by 16 of k; `part` is 0 or 1.
template <class Tile>
__device__ __forceinline__ void load_a(uint32_t (&a)[4], const Chunk* tile, int m, int part) {
  const int lane = threadIdx.x % kWarp;
  if constexpr (Tile::kAlongDepth)
    load_matrices(a, tile + place<Tile::kChunks>(m + lane % 16, part * 2 + lane / 16));
  else
    load_transposed(a, tile + place<Tile::kChunks>(part * 16 + lane % 8 + lane / 16 * 8,
                                                   m / kChunk + lane / 8 % 2));
}
template <class Tile>
__device__ __forceinline__ void load_b(uint32_t (&b)[2][2], const Chunk* tile, int n, int part) {
  const int lane = threadIdx.x % kWarp;
  uint32_t words[4];
  if constexpr (Tile::kAlongDepth)
    load_matrices(
        words, tile + place<Tile::kChunks>(n + lane % 8 + lane / 16 * 8, part * 2 + lane / 8 % 2));
  else
    load_transposed(words,
                    tile + place<Tile::kChunks>(part * 16 + lane % 16, n / kChunk + lane / 16));
  b[0][0] = words[0], b[0][1] = words[1], b[1][0] = words[2], b[1][1] = words[3];
}

// A number of four digits, from the outside in, that grows without divisions. Digit i of the last
// three is below bases[i - 1].
struct Digits {
  int32_t at[4];

  __device__ static __forceinline__ Digits of(int32_t number, const Divisor (&bases)[3]) {
    Digits d;
#pragma unroll
    for (int i = 3; i > 0; --i) {
      const int32_t rest = bases[i - 1].narrow(number);
      d.at[i] = number - rest * (int32_t)bases[i - 1].size();
      number = rest;
    }
    d.at[0] = number;
    return d;
  }
  __device__ __forceinline__ void add(const Digits& other, const Divisor (&bases)[3]) {
    int32_t carry = 0;
#pragma unroll
    for (int i = 3; i > 0; --i) {
      const int32_t base = (int32_t)bases[i - 1].size();
      at[i] += other.at[i] + carry;
      carry = at[i] >= base;
      if (carry) at[i] -= base;
    }
    at[0] += other.at[0] + carry;
  }
};

}  // namespace fastconv::cuda
