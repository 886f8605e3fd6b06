// How a block brings the operands of a product to shared memory, and a warp multiplies them.
//
// T is what an operand's elements are: BFloat16, Float16, or float, which is multiplied as TF32. A
// tile is made of chunks, neighbours in memory, which a copy moves. A step takes four chunks of k:
// either they lie along k, a row of four for each outer index (m of A, n of B); or along the outer
// index, a row of it for each k.
#pragma once
#include "index.h"
#include "pack.h"
#include "tensor_core.h"

namespace fastconv::cuda {

constexpr int kStepChunks = 4, kTileThreads = 128;
template <class T>
constexpr int kStepDepth = kStepChunks * kPack<T>;  // values of k

// A tile with k along its rows: `Outer` rows of four chunks. A thread copies the same chunk of rows
// that are kApart apart; its first is at first().
template <class T, int Outer>
struct AlongDepth {
  using Element = T;
  static constexpr bool kAlongDepth = true;
  static constexpr int kApart = kTileThreads / kStepChunks;
  static constexpr int kRows = Outer / kApart;  // of a thread
  // Where a chunk of a row is: eight rows at the same chunk are in different banks.
  __device__ static __forceinline__ int place(int row, int chunk) {
    return row * kStepChunks + (chunk ^ (row >> 1 & 3));
  }
  __device__ static __forceinline__ int chunk() { return threadIdx.x % kStepChunks; }
  __device__ static __forceinline__ int row(int i) {
    return threadIdx.x / kStepChunks + i * kApart;
  }
  __device__ static __forceinline__ int first() { return place(row(0), chunk()); }
  __device__ static constexpr int behind(int i) { return i * kApart * kStepChunks; }
};

// A tile with k across: rows of Outer elements. A thread copies the same chunks of rows that are
// kApart apart.
template <class T, int Outer>
struct AcrossDepth {
  using Element = T;
  static constexpr bool kAlongDepth = false;
  static constexpr int kChunks = Outer / kPack<T>, kSide = kChunks < 8 ? kChunks : 8;
  static constexpr int kApart = kTileThreads / kSide;
  static constexpr int kRows = kStepDepth<T> / kApart, kColumns = kChunks / kSide;  // of a thread
  // Eight chunks of a row are in different banks. So are eight rows at the same chunk; or, of
  // floats, four at the same two.
  __device__ static __forceinline__ int place(int row, int chunk) {
    static_assert(kChunks == 4 || kChunks >= 8);
    const int turn = kChunks == 4 ? row >> 1 & 3 : row * ((int)sizeof(T) / 2) & 7;
    return row * kChunks + (chunk ^ turn);
  }
  __device__ static __forceinline__ int chunk(int j) { return threadIdx.x % kSide + j * kSide; }
  __device__ static __forceinline__ int row(int i) { return threadIdx.x / kSide + i * kApart; }
  __device__ static __forceinline__ int first() { return place(row(0), chunk(0)); }
  __device__ static constexpr int behind(int i, int j) { return i * kApart * kChunks + j * kSide; }
};

// An element of a tile of floats with k across.
template <class Tile>
__device__ __forceinline__ uint32_t word_at(const Chunk* tile, int k, int outer) {
  return tile[Tile::place(k, outer / kPack<float>)].words[outer % kPack<float>];
}

template <class T, int N>
__device__ __forceinline__ void round_operand(uint32_t (&words)[N]) {
  if constexpr (sizeof(T) == sizeof(float))
#pragma unroll
    for (int i = 0; i < N; ++i) words[i] = round_to_tf32(words[i]);
}

// What a warp multiplies: 16 of m, and 16 of n, by half of a step; `part` is 0 or 1.
template <class Tile>
__device__ __forceinline__ void load_a(uint32_t (&a)[4], const Chunk* tile, int m, int part) {
  using T = typename Tile::Element;
  const int lane = threadIdx.x % kWarp;
  if constexpr (Tile::kAlongDepth)
    load_matrices(a, tile + Tile::place(m + lane % 16, part * 2 + lane / 16));
  else if constexpr (sizeof(T) == 2)
    load_transposed(
        a, tile + Tile::place(part * 16 + lane % 8 + lane / 16 * 8, m / kPack<T> + lane / 8 % 2));
  else
#pragma unroll
    for (int i = 0; i < 4; ++i)
      a[i] = word_at<Tile>(tile, part * 8 + i / 2 * 4 + lane % 4, m + i % 2 * 8 + lane / 4);
  round_operand<T>(a);
}
template <class Tile>
__device__ __forceinline__ void load_b(uint32_t (&b)[2][2], const Chunk* tile, int n, int part) {
  using T = typename Tile::Element;
  const int lane = threadIdx.x % kWarp;
  uint32_t words[4];
  if constexpr (Tile::kAlongDepth)
    load_matrices(words, tile + Tile::place(n + lane % 8 + lane / 16 * 8, part * 2 + lane / 8 % 2));
  else if constexpr (sizeof(T) == 2)
    load_transposed(words, tile + Tile::place(part * 16 + lane % 16, n / kPack<T> + lane / 16));
  else
#pragma unroll
    for (int i = 0; i < 4; ++i)
      words[i] = word_at<Tile>(tile, part * 8 + i % 2 * 4 + lane % 4, n + i / 2 * 8 + lane / 4);
  round_operand<T>(words);
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
