// Products in which B has few columns, or few rows: they read A, or write C, at the speed of
// memory.
#include "gemm.h"
#include "microkernel.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int kMostThin = 4;         // columns or rows of B
constexpr int64_t kLeastRows = 256;  // of A: fewer are cut along their sums
constexpr int64_t kTaskRows = 8 * kLanes;
constexpr int kTogether = 4;  // rows that share what is read of B

bool narrow(const GemmAttrs& a) { return a.n <= kMostThin; }

float element(const GemmCall& c, int64_t i, int64_t j) {
  return c.attrs.transpose_b ? c.b[j * c.attrs.k + i] : c.b[i * c.attrs.n + j];
}

// The longer axis of B in whole vectors, with zeros behind it: [n][k] if it is narrow, else [k][n].
void pack(const GemmCall& c, float* packed) {
  const GemmAttrs& a = c.attrs;
  const int64_t rows = narrow(a) ? a.n : a.k, columns = narrow(a) ? a.k : a.n;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < padded(columns); ++j, ++packed)
      *packed = j >= columns ? 0 : narrow(a) ? element(c, j, i) : element(c, i, j);
}

// sums[j][r] = the products of row r of A and column j of B, lane by lane.
template <int N>
void sum_rows(const GemmAttrs& attrs, const float* a, const float* b, int64_t rows,
              vfloat (&sums)[N][kLanes]) {
  const int64_t step = padded(attrs.k);
  for (int64_t first = 0; first < rows; first += kTogether) {
    const float* row[kTogether];
    for (int64_t r = 0; r < kTogether; ++r)
      row[r] = a + (first + r < rows ? first + r : rows - 1) * attrs.k;
    vfloat part[N][kTogether] = {};
    for_vectors(0, attrs.k, [&](int64_t i, int64_t lanes) {
#pragma GCC unroll 4
      for (int r = 0; r < kTogether; ++r) {
        const vfloat x = load_lanes(row[r] + i, lanes);
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) part[j][r] += x * load(b + j * step + i);
      }
    });
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j)
#pragma GCC unroll 4
      for (int r = 0; r < kTogether; ++r) sums[j][first + r] = part[j][r];
  }
}

// Rows [begin, end) of C, kLanes of them at a time. `finish` has its operands once for each row.
template <int N>
void multiply_narrow(const GemmCall& c, const float* b, const Finish& finish, int64_t begin,
                     int64_t end) {
  alignas(64) float out[kLanes * N];
  for_vectors(begin, end, [&](int64_t row, int64_t rows) {
    vfloat sums[N][kLanes] = {};
    sum_rows<N>(c.attrs, c.a + row * c.attrs.k, b, rows, sums);
    for (int j = 0; j < N; ++j) {
      transpose(sums[j]);
      vfloat total = sums[j][0];
#pragma GCC unroll 16
      for (int l = 1; l < kLanes; ++l) total += sums[j][l];
      for (int r = 0; r < kLanes; ++r) out[r * N + j] = total[r];
    }
    finish_row(finish, out, rows * N, c.c + row * N);
  });
}

// values[i % n] for the elements of kLanes rows.
const float* repeat(const float* values, int64_t n, float* place) {
  for (int64_t i = 0; values && i < kLanes * n; ++i) place[i] = values[i % n];
  return values ? place : nullptr;
}

template <int N = kMostThin>
void choose_narrow(const GemmCall& c, const float* b, const Finish& finish, int64_t begin,
                   int64_t end) {
  if constexpr (N > 1)
    if (c.attrs.n < N) return choose_narrow<N - 1>(c, b, finish, begin, end);
  multiply_narrow<N>(c, b, finish, begin, end);
}

// A panel of rows [begin, end) of C, of NV vectors: the products of K numbers of A and as many rows
// of B.
template <int K, int NV>
void multiply_shallow(const GemmCall& c, const float* b, int64_t column, int64_t begin,
                      int64_t end) {
  const int64_t n = c.attrs.n, left = n - column - (NV - 1) * kLanes;
  const int64_t lanes = left < kLanes ? left : kLanes;
  const Finish finish = c.finish.at_column(column);
  const bool plain = !finish.scale && !finish.bias && !finish.add && !finish.calls() &&
                     !finish.clips() && !finish.stream && lanes == kLanes;
  vfloat rows[K][NV];
  for (int i = 0; i < K; ++i)
    for (int v = 0; v < NV; ++v) rows[i][v] = load(b + i * padded(n) + column + v * kLanes);
  for (int64_t r = begin; r < end; ++r) {
    const float* a = c.a + r * K;
    float* dst = c.c + r * n + column;
    vfloat sums[NV] = {};
#pragma GCC unroll 4
    for (int i = 0; i < K; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[v] += splat(a[i]) * rows[i][v];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const int64_t count = v < NV - 1 ? kLanes : lanes;
      float* at = dst + v * kLanes;
      if (!plain) sums[v] = finished(finish, Shift(finish, v * kLanes, count)(sums[v]), at, count);
      finish.stream ? stream(at, sums[v]) : store_lanes(at, sums[v], count);
    }
  }
}

template <int K = kMostThin, int NV = kMaxVectors>
void choose_shallow(const GemmCall& c, const float* b, int64_t column, int64_t begin, int64_t end) {
  if constexpr (K > 1)
    if (c.attrs.k < K) return choose_shallow<K - 1, NV>(c, b, column, begin, end);
  if constexpr (NV > 1)
    if (vectors_for(c.attrs.n - column) < NV)
      return choose_shallow<K, NV - 1>(c, b, column, begin, end);
  multiply_shallow<K, NV>(c, b, column, begin, end);
}

}  // namespace

bool gemm_is_thin(const GemmAttrs& a) {
  const bool few_columns = narrow(a) && a.k >= kLanes;
  const bool few_rows = a.k > 0 && a.k <= kMostThin && a.n >= kLanes;
  return !a.transpose_a && a.batch == 1 && a.m >= kLeastRows && (few_columns || few_rows);
}

int64_t gemm_thin_workspace(const GemmAttrs& a) {
  const int64_t floats = narrow(a) ? a.n * padded(a.k) : a.k * padded(a.n);
  return floats * static_cast<int64_t>(sizeof(float));
}

void gemm_thin(const GemmCall& c) {
  const GemmAttrs& a = c.attrs;
  pack(c, c.workspace);
  alignas(64) float scale[kMostThin * kLanes], bias[kMostThin * kLanes];
  Finish finish = c.finish;
  if (narrow(a)) {
    finish.scale = repeat(finish.scale, a.n, scale);
    finish.bias = repeat(finish.bias, a.n, bias);
  }
  parallel_blocks(a.m, kTaskRows, a.n * a.k, [&](int64_t begin, int64_t end) {
    if (narrow(a)) return choose_narrow(c, c.workspace, finish, begin, end);
    for (int64_t column = 0; column < a.n; column += kPanel)
      choose_shallow(c, c.workspace, column, begin, end);
    if (finish.stream) stream_end();
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
