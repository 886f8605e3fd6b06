// Mean and variance of each column of a matrix, from its rows or from moments of parts of them.
//
// Sums of a chunk are about its first row, so that a large mean costs no digits. Chunks are joined
// (Chan, Golub and LeVeque 1983) in float64, in their order.
#pragma once
#include "columns.h"
#include "map.h"

namespace fastconv::cuda {

// Sums of src and of its squares, about the first row of the chunk.
template <class T, int W>
struct RowMoments {
  static constexpr int kWidth = W, kSums = 2;
  const T* src;
  int64_t columns;

  struct Own {
    struct Row {
      Pack<T, W> x;
    };
    static constexpr int kAhead = rows_ahead<T, W>(1);
    const T* src;
    int64_t columns;
    float pivot[W];
    __device__ __forceinline__ Row read(int64_t row) const {
      Row r;
      load(src + row * columns, r.x);
      return r;
    }
    __device__ __forceinline__ void add(int64_t, const Row& r, float (&sums)[2][W]) const {
#pragma unroll
      for (int w = 0; w < W; ++w) {
        const float apart = r.x[w] - pivot[w];
        sums[0][w] += apart;
        sums[1][w] += apart * apart;
      }
    }
  };
  __device__ __forceinline__ Own own(int64_t column, int64_t row) const {
    Own o = {src + column, columns, {}};
    load(src + row * columns + column, o.pivot);
    return o;
  }
  __device__ float pivot(int64_t row, int64_t column) const {
    return to_float(src[row * columns + column]);
  }
  __device__ int64_t rows(int64_t, int64_t count) const { return count; }
};

// The same of moments: parts[part, 2, column] are the mean of `each` rows, or of what is left of
// `all` for the last part, and the sum of squares about it. A part stands for a row of a chunk.
template <int W>
struct PartMoments {
  static constexpr int kWidth = W, kSums = 2;
  const float* parts;
  int64_t columns, each, all;

  struct Own {
    struct Row {
      Pack<float, W> mean, squares;
    };
    static constexpr int kAhead = rows_ahead<float, W>(2);
    const PartMoments& of;
    int64_t column;
    float pivot[W];
    __device__ __forceinline__ Row read(int64_t part) const {
      const float* from = of.parts + 2 * part * of.columns + column;
      Row r;
      load(from, r.mean);
      load(from + of.columns, r.squares);
      return r;
    }
    __device__ __forceinline__ void add(int64_t part, const Row& r, float (&sums)[2][W]) const {
      const float count = (float)of.rows(part, 1);
#pragma unroll
      for (int w = 0; w < W; ++w) {
        const float apart = r.mean[w] - pivot[w];
        sums[0][w] += count * apart;
        sums[1][w] += r.squares[w] + count * apart * apart;
      }
    }
  };
  __device__ __forceinline__ Own own(int64_t column, int64_t part) const {
    Own o = {*this, column, {}};
    load(parts + 2 * part * columns + column, o.pivot);
    return o;
  }
  __device__ float pivot(int64_t part, int64_t column) const {
    return parts[2 * part * columns + column];
  }
  // Of so many parts.
  __device__ int64_t rows(int64_t part, int64_t count) const {
    const int64_t first = part * each, end = (part + count) * each;
    return (end < all ? end : all) - first;
  }
};

// What is left of a chunk: its mean, less the first pivot of all, and the sum of squares about it:
// partial[chunk, 2, column]. out.keep(column, mean, variance) gets the end.
template <class Term, class Out>
struct KeepMoments {
  Columns m;
  Term term;
  float* partial;
  double share;  // 1 / rows
  Out out;

  __device__ int64_t rows_of(int64_t chunk) const {
    return term.rows(chunk * m.chunk, m.rows_of(chunk));
  }
  __device__ void operator()(int64_t chunk, int64_t column, const float (&sums)[2]) const {
    const float count = (float)rows_of(chunk), shift = sums[0] / count;
    const float first = term.pivot(0, column);
    const float mean = term.pivot(chunk * m.chunk, column) - first + shift;
    const float rest = sums[1] - sums[0] * shift, squares = rest < 0 ? 0.0f : rest;
    if (m.chunks == 1) {
      out.keep(column, mean + first, squares / count);
    } else {
      partial[chunk * 2 * m.columns + column] = mean;
      partial[(chunk * 2 + 1) * m.columns + column] = squares;
    }
  }
  __device__ void add(int64_t chunk, int64_t column, double (&totals)[2]) const {
    const double mean = partial[chunk * 2 * m.columns + column];
    const double sum = (double)rows_of(chunk) * mean;
    totals[0] += sum;
    totals[1] += (double)partial[(chunk * 2 + 1) * m.columns + column] + sum * mean;
  }
  __device__ void finish(int64_t column, const double (&totals)[2]) const {
    const double mean = totals[0] * share, variance = totals[1] * share - mean * mean;
    out.keep(column, (float)mean + term.pivot(0, column), variance < 0 ? 0.0f : (float)variance);
  }
};

// Of `rows` rows; m cuts the rows of the term. Of an empty batch both are 0.
template <class Term, class Out>
void join_moments(const KernelCall& call, const Columns& m, const Term& term, int64_t rows,
                  float* partial, const Out& out) {
  if (rows == 0) return for_each(call, m.columns, [=] __device__(int64_t c) { out.keep(c, 0, 0); });
  join_chunks(call, m, 0, Add{}, term,
              KeepMoments<Term, Out>{m, term, partial, 1.0 / (double)rows, out});
}

// What a batch normalisation keeps, where somebody wants it.
struct Statistics {
  float *mean, *rstd, *variance;  // null: nobody does
  float epsilon;

  __device__ float keep(int64_t channel, float centre, float spread) const {
    const float inverse = 1.0f / sqrtf(spread + epsilon);
    if (mean) mean[channel] = centre;
    if (rstd) rstd[channel] = inverse;
    if (variance) variance[channel] = spread;
    return inverse;
  }
};
static inline Statistics statistics_of(const KernelCall& call, float epsilon) {
  return {output<float>(call, 1), output<float>(call, 2), output<float>(call, 3), epsilon};
}

}  // namespace fastconv::cuda
