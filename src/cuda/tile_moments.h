// Moments of the columns of a tile, while its sums are in the registers of warps as the matrix
// instructions leave them.
#pragma once
#include "pack.h"

namespace fastconv::cuda {

struct Moment {
  float mean, squares;  // the sum of squares about it
};

// Adds the moment of b values to that of a.
struct Joining {
  float toward, spread;
  __device__ __forceinline__ Joining(float a, float b)
      : toward(b > 0 ? b / (a + b) : 0.0f), spread(a * toward) {}
  __device__ __forceinline__ Moment operator()(const Moment& a, const Moment& b) const {
    const float apart = b.mean - a.mean;
    return {a.mean + apart * toward, a.squares + b.squares + apart * apart * spread};
  }
};

// As they are after T has stored them.
template <class T>
__device__ __forceinline__ void round_to(float (&x)[2]) {
  if constexpr (Half<T>) unpack<T>(narrow_pair<T>(x[0], x[1]), x);
}

// A lane's rows of a tile, some of which may lie outside of the matrix, and how its moments are
// joined with those of the lanes that have rows of the same columns.
template <int Rows>
class LaneMoments {
 public:
  // inside(r): whether row r is.
  template <class Inside>
  __device__ __forceinline__ explicit LaneMoments(const Inside& inside)
      : joining_{{0, 0}, {0, 0}, {0, 0}} {
    float count = 0;
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      inside_[r] = inside(r);
      count += inside_[r] ? 1.0f : 0.0f;
    }
    share_ = count > 0 ? 1.0f / count : 0.0f;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const float others = __shfl_xor_sync(kAllLanes, count, kFirst << i);
      joining_[i] = Joining(count, others);
      count += others;
    }
  }

  // Of blocks of eight columns a lane has two neighbours in each: sum(r, i) is that in its row r
  // and column i of those, bias[i] what follows it. to[column] gets the moments of the warp.
  template <class T, int N, class Sum>
  __device__ __forceinline__ void keep(Moment* to, const float (&bias)[N], const Sum& sum) const {
    Moment m[N];
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      float x[2][Rows];
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
        float two[2] = {sum(r, i) + bias[i], sum(r, i + 1) + bias[i + 1]};
        round_to<T>(two);
        x[0][r] = two[0], x[1][r] = two[1];
      }
      m[i] = moment_of(x[0]);
      m[i + 1] = moment_of(x[1]);
    }
    const int column = join(m);
    if (N == 8 || (threadIdx.x & 4 * N) == 0)
      to[column / 2 * 8 + (int)threadIdx.x % 4 * 2 + column % 2] = m[0];
  }

 private:
  static constexpr int kFirst = 4, kSteps = 3;  // lanes that are 4, 8 and 16 apart

  __device__ __forceinline__ Moment moment_of(const float (&x)[Rows]) const {
    Moment m = {0, 0};
#pragma unroll
    for (int r = 0; r < Rows; ++r) m.mean += inside_[r] ? x[r] : 0.0f;
    m.mean *= share_;
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const float apart = inside_[r] ? x[r] - m.mean : 0.0f;
      m.squares += apart * apart;
    }
    return m;
  }

  // The lanes halve the columns among them as long as they have several: m[0] becomes that of all
  // their rows in the column that it returns.
  template <int N>
  __device__ __forceinline__ int join(Moment (&m)[N]) const {
    int column = 0;
#pragma unroll
    for (int i = 0, left = N; i < kSteps; ++i, left = left > 1 ? left / 2 : 1) {
      const int step = kFirst << i, half = left / 2;
      const bool upper = threadIdx.x & step;
      if (upper) column += half;
#pragma unroll
      for (int c = 0; c < (half > 0 ? half : 1); ++c) {
        const Moment low = m[c], high = m[c + half], given = upper ? low : high;
        const Moment got = {__shfl_xor_sync(kAllLanes, given.mean, step),
                            __shfl_xor_sync(kAllLanes, given.squares, step)};
        m[c] = joining_[i](upper ? high : low, got);
      }
    }
    return column;
  }

  bool inside_[Rows];
  float share_;
  Joining joining_[kSteps];
};

// Of several warps with so many rows, in their order.
template <int Warps>
__device__ __forceinline__ Moment join_warps(const Moment (&m)[Warps], const int (&rows)[Warps]) {
  Moment all = m[0];
  int count = rows[0];
#pragma unroll
  for (int i = 1; i < Warps; ++i) {
    all = Joining((float)count, (float)rows[i])(all, m[i]);
    count += rows[i];
  }
  return all;
}

}  // namespace fastconv::cuda
