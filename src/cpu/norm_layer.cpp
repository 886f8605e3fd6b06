// Layer normalisation (Ba, Kiros and Hinton 2016): src [M, L] with L the last axes together;
// gamma and beta [L]; mean and rstd [M].
#include "norm.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

struct Rows {
  int64_t count, length;
};

Rows rows_of(const KernelCall& call, const Tensor& src) {
  Rows rows{1, 1};
  const int32_t split = src.rank - attrs<LayerNormAttrs>(call).axes;
  for (int32_t i = 0; i < src.rank; ++i) (i < split ? rows.count : rows.length) *= src.dims[i];
  return rows;
}

// Sum of term(i, lanes) over a row. Lanes beyond the row must be 0 in the term.
template <class Term>
static inline float sum_row(int64_t length, const Term& term) {
  vfloat total = {};
  for_vectors(0, length, [&](int64_t i, int64_t lanes) { total += term(i, lanes); });
  return sum(total);
}

static inline vfloat only(vfloat v, int64_t lanes) {
  return lanes == kLanes ? v : (first_lanes(lanes) ? v : vfloat{});
}

struct Moments {
  float mean, rstd;
};

static inline Moments row_moments(const float* x, int64_t length, float epsilon) {
  const float mean =
      sum_row(length, [&](int64_t i, int64_t lanes) { return load_lanes(x + i, lanes); }) /
      (float)length;
  const float squares = sum_row(length, [&](int64_t i, int64_t lanes) {
    const vfloat apart = only(load_lanes(x + i, lanes) - mean, lanes);
    return apart * apart;
  });
  return {mean, 1.0f / __builtin_sqrtf(squares / (float)length + epsilon)};
}

// The rows of one task: about 16 Ki elements, and at most 64 tasks with sums of their own.
int64_t rows_per_task(const Rows& rows, bool sums) {
  const int64_t block = ceil_div(16384, rows.length > 0 ? rows.length : 1);
  const int64_t least = sums ? ceil_div(rows.count, 64) : 1;
  return block > least ? block : least;
}

// One row of the backward pass: adds to dgamma and dbeta, and writes dsrc unless it is null.
struct BackwardRow {
  const float *ddst, *src, *gamma;
  int64_t length;
  Moments moments;
  vfloat normal(int64_t i, int64_t lanes) const {
    return only(load_lanes(src + i, lanes) - moments.mean, lanes) * moments.rstd;
  }
  vfloat gradient(int64_t i, int64_t lanes) const {
    return load_lanes(ddst + i, lanes) * load_lanes(gamma + i, lanes);
  }
  void add(float* dgamma, float* dbeta) const {
    for_vectors(0, length, [&](int64_t i, int64_t lanes) {
      const vfloat d = load_lanes(ddst + i, lanes), old = load_lanes(dgamma + i, lanes);
      store_lanes(dgamma + i, old + d * normal(i, lanes), lanes);
      store_lanes(dbeta + i, load_lanes(dbeta + i, lanes) + d, lanes);
    });
  }
  void write(float* dsrc) const {
    const float scale = 1.0f / (float)length;
    const float shift =
        scale * sum_row(length, [&](int64_t i, int64_t lanes) { return gradient(i, lanes); });
    const float slope = scale * sum_row(length, [&](int64_t i, int64_t lanes) {
                          return gradient(i, lanes) * normal(i, lanes);
                        });
    for_vectors(0, length, [&](int64_t i, int64_t lanes) {
      const vfloat dx = gradient(i, lanes) - shift - normal(i, lanes) * slope;
      store_lanes(dsrc + i, dx * moments.rstd, lanes);
    });
  }
};

void zero(float* p, int64_t count) { __builtin_memset(p, 0, static_cast<size_t>(4 * count)); }

// dst [length] = sum of the rows of parts [blocks, stride], in order.
void add_parts(const float* parts, int64_t blocks, int64_t stride, int64_t length, float* dst) {
  if (!dst) return;
  for_vectors(0, length, [&](int64_t i, int64_t lanes) {
    vfloat total = {};
    for (int64_t b = 0; b < blocks; ++b) total += load_lanes(parts + b * stride + i, lanes);
    store_lanes(dst + i, total, lanes);
  });
}

}  // namespace

void layer_norm(const KernelCall& call) {
  const Rows rows = rows_of(call, call.inputs[0]);
  const float *src = input<float>(call, 0), *gamma = input<float>(call, 1);
  const float *beta = input<float>(call, 2), epsilon = attrs<LayerNormAttrs>(call).epsilon;
  float* dst = output<float>(call, 0);
  float* mean = call.n_outputs > 1 ? output<float>(call, 1) : nullptr;
  float* rstd = call.n_outputs > 2 ? output<float>(call, 2) : nullptr;
  const int64_t L = rows.length, block = rows_per_task(rows, false);
  parallel_blocks(rows.count, block, 3 * L, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = src + row * L;
      const Moments m = row_moments(x, L, epsilon);
      if (mean) mean[row] = m.mean;
      if (rstd) rstd[row] = m.rstd;
      for_vectors(0, L, [&](int64_t i, int64_t lanes) {
        const vfloat normal = (load_lanes(x + i, lanes) - m.mean) * m.rstd;
        const vfloat y = normal * load_lanes(gamma + i, lanes) + load_lanes(beta + i, lanes);
        store_lanes(dst + row * L + i, y, lanes);
      });
    }
  });
}

int64_t layer_norm_backward_workspace(const KernelCall& call) {
  const Rows rows = rows_of(call, call.inputs[0]);
  return 8 * rows.length * ceil_div(rows.count, rows_per_task(rows, true));
}

// With x^ = (src - mean) rstd, g = ddst gamma and means over the row:
// dsrc = rstd (g - mean(g) - x^ mean(g x^)). Each task keeps sums for dgamma and dbeta.
void layer_norm_backward(const KernelCall& call) {
  const Rows rows = rows_of(call, call.inputs[0]);
  const float *ddst = input<float>(call, 0), *src = input<float>(call, 1);
  const float *gamma = input<float>(call, 2), *mean = input<float>(call, 3);
  const float* rstd = input<float>(call, 4);
  float *dsrc = output<float>(call, 0), *parts = static_cast<float*>(call.workspace);
  const int64_t L = rows.length, block = rows_per_task(rows, true);
  parallel_blocks(rows.count, block, 6 * L, [&](int64_t begin, int64_t end) {
    float* dgamma = parts + begin / block * 2 * L;
    zero(dgamma, 2 * L);
    for (int64_t row = begin; row < end; ++row) {
      const BackwardRow one{ddst + row * L, src + row * L, gamma, L, {mean[row], rstd[row]}};
      one.add(dgamma, dgamma + L);
      if (dsrc) one.write(dsrc + row * L);
    }
  });
  const int64_t blocks = ceil_div(rows.count, block);
  add_parts(parts, blocks, 2 * L, L, output<float>(call, 1));
  add_parts(parts + L, blocks, 2 * L, L, output<float>(call, 2));
}

}  // namespace fastconv::cpu::FASTCONV_ISA
