// Cross-entropy by rows: logits or probabilities [rows, C]; labels int64 [rows] or float32
// [rows, C]; loss [rows].
#include "kernels.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr float kEpsilon = 1e-7f;  // Keras's backend epsilon, which probabilities are clipped to

struct Labels {
  const int64_t* index;  // sparse
  const float* weights;  // else
  int64_t rows, classes;
};

Labels labels(const KernelCall& call, int input_index, const Tensor& scores) {
  const bool sparse = attrs<CrossEntropyAttrs>(call).sparse;
  const int64_t classes = scores.dims[scores.rank - 1];
  return {sparse ? input<int64_t>(call, input_index) : nullptr,
          sparse ? nullptr : input<float>(call, input_index),
          classes > 0 ? elements(scores) / classes : 0, classes};
}

// Reports the first label out of range; the outputs are then zeros.
bool labels_fail(const KernelCall& call, const Labels& l) {
  if (!l.index) return false;
  int64_t row = 0;
  while (row < l.rows && l.index[row] >= 0 && l.index[row] < l.classes) ++row;
  if (row == l.rows) return false;
  if (call.error) *call.error = {call.step + 1, Fault::label, row, {l.index[row], l.classes}};
  for (int i = 0; i < call.n_outputs; ++i)
    if (call.outputs[i].data)
      __builtin_memset(call.outputs[i].data, 0, static_cast<size_t>(bytes(call.outputs[i])));
  return true;
}

template <class Body>
void for_rows(const Labels& l, const Body& body) {
  const int64_t width = l.classes < kLanes ? kLanes : l.classes;
  parallel_blocks(l.rows, ceil_div(2048, width), 16 * width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row, row * l.classes);
  });
}

static inline vfloat only(vfloat v, int64_t lanes) {
  return lanes == kLanes ? v : (first_lanes(lanes) ? v : vfloat{});
}

// Sum of term(i, lanes) over a row; what lies beyond the row is left out.
template <class Term>
static inline float sum_row(int64_t length, const Term& term) {
  vfloat total = {};
  for_vectors(0, length, [&](int64_t i, int64_t lanes) { total += only(term(i, lanes), lanes); });
  return sum(total);
}

static inline float max_row(const float* x, int64_t length) {
  vfloat top = splat(-kInfinity);
  for_vectors(0, length, [&](int64_t i, int64_t lanes) {
    const vfloat v = load_lanes(x + i, lanes);
    top = max(lanes == kLanes ? v : (first_lanes(lanes) ? v : splat(-kInfinity)), top);
  });
  return max(top);
}

static inline float log_of(float x) { return log(splat(x))[0]; }

// loss = -sum y log softmax(x) = sum y (log sum exp(x - max) - (x - max)); y = 0 counts nothing,
// also where x is -inf.
void softmax_cross_entropy(const KernelCall& call) {
  const Labels l = labels(call, 1, call.inputs[0]);
  if (labels_fail(call, l)) return;
  const float* logits = input<float>(call, 0);
  float* loss = output<float>(call, 0);
  float* probabilities = call.n_outputs > 1 ? output<float>(call, 1) : nullptr;
  for_rows(l, [&](int64_t row, int64_t at) {
    const float *x = logits + at, top = max_row(x, l.classes);
    const float total = sum_row(l.classes, [&](int64_t i, int64_t lanes) {
      const vfloat e = exp(load_lanes(x + i, lanes) - top);
      if (probabilities) store_lanes(probabilities + at + i, e, lanes);
      return e;
    });
    const float log_total = log_of(total);
    if (l.index)
      loss[row] = log_total - (x[l.index[row]] - top);
    else
      loss[row] = sum_row(l.classes, [&](int64_t i, int64_t lanes) {
        const vfloat y = load_lanes(l.weights + at + i, lanes);
        return y == 0.0f ? y : y * (log_total - (load_lanes(x + i, lanes) - top));
      });
    if (!probabilities) return;
    for_vectors(0, l.classes, [&](int64_t i, int64_t lanes) {
      const vfloat e = load_lanes(probabilities + at + i, lanes);
      store_lanes(probabilities + at + i, e / total, lanes);
    });
  });
}

// dlogits = dloss (p sum(y) - y).
void softmax_cross_entropy_backward(const KernelCall& call) {
  const Labels l = labels(call, 2, call.inputs[1]);
  if (labels_fail(call, l)) return;
  const float *dloss = input<float>(call, 0), *probabilities = input<float>(call, 1);
  float* dlogits = output<float>(call, 0);
  for_rows(l, [&](int64_t row, int64_t at) {
    const float* y = l.weights ? l.weights + at : nullptr;
    const float weight =
        !y ? 1.0f
           : sum_row(l.classes, [&](int64_t i, int64_t lanes) { return load_lanes(y + i, lanes); });
    for_vectors(0, l.classes, [&](int64_t i, int64_t lanes) {
      vfloat d = load_lanes(probabilities + at + i, lanes) * weight;
      if (y) d -= load_lanes(y + i, lanes);
      store_lanes(dlogits + at + i, d * dloss[row], lanes);
    });
    if (l.index) {
      const int64_t hit = at + l.index[row];
      dlogits[hit] = (probabilities[hit] - 1.0f) * dloss[row];
    }
  });
}

static inline vfloat clipped(vfloat q) {
  const vfloat low = q < kEpsilon ? splat(kEpsilon) : q;
  return low > 1.0f - kEpsilon ? splat(1.0f - kEpsilon) : low;
}

// loss = -sum y log clip(p / sum(p)), as Keras computes it.
void cross_entropy(const KernelCall& call) {
  const Labels l = labels(call, 1, call.inputs[0]);
  if (labels_fail(call, l)) return;
  const float* probabilities = input<float>(call, 0);
  float* loss = output<float>(call, 0);
  for_rows(l, [&](int64_t row, int64_t at) {
    const float* p = probabilities + at;
    const float total =
        sum_row(l.classes, [&](int64_t i, int64_t lanes) { return load_lanes(p + i, lanes); });
    if (l.index)
      loss[row] = -log_of(clipped(splat(p[l.index[row]] / total))[0]);
    else
      loss[row] = -sum_row(l.classes, [&](int64_t i, int64_t lanes) {
        const vfloat q = load_lanes(p + i, lanes) / total;
        return load_lanes(l.weights + at + i, lanes) * log(clipped(q));
      });
  });
}

// With q = p / sum(p): dq = -dloss y / q where q was not clipped, else 0;
// dp = (dq - sum(dq q)) / sum(p).
void cross_entropy_backward(const KernelCall& call) {
  const Labels l = labels(call, 2, call.inputs[1]);
  if (labels_fail(call, l)) return;
  const float *dloss = input<float>(call, 0), *probabilities = input<float>(call, 1);
  float* dprobabilities = output<float>(call, 0);
  for_rows(l, [&](int64_t row, int64_t at) {
    const float *p = probabilities + at, *y = l.weights ? l.weights + at : nullptr;
    float* dp = dprobabilities + at;
    const float total =
        sum_row(l.classes, [&](int64_t i, int64_t lanes) { return load_lanes(p + i, lanes); });
    const auto gradient = [&](vfloat q, vfloat weight) {
      const vint inside = (q >= kEpsilon) & (q <= 1.0f - kEpsilon);
      return inside ? weight / q * -dloss[row] : vfloat{};
    };
    if (l.index) {
      const int64_t hit = l.index[row];
      const float q = p[hit] / total, dq = gradient(splat(q), splat(1.0f))[0];
      for_vectors(0, l.classes, [&](int64_t i, int64_t lanes) {
        store_lanes(dp + i, splat(-dq * q / total), lanes);
      });
      dp[hit] = (dq - dq * q) / total;
      return;
    }
    const float mean = sum_row(l.classes, [&](int64_t i, int64_t lanes) {
      const vfloat q = load_lanes(p + i, lanes) / total;
      return gradient(q, load_lanes(y + i, lanes)) * q;
    });
    for_vectors(0, l.classes, [&](int64_t i, int64_t lanes) {
      const vfloat q = load_lanes(p + i, lanes) / total;
      store_lanes(dp + i, (gradient(q, load_lanes(y + i, lanes)) - mean) / total, lanes);
    });
  });
}

constexpr Kernel kSoftmax[] = {
    {"softmax_cross_entropy", needs_float32, nullptr, softmax_cross_entropy}};
constexpr Kernel kSoftmaxBackward[] = {
    {"softmax_cross_entropy_backward", needs_float32, nullptr, softmax_cross_entropy_backward}};
constexpr Kernel kPlain[] = {{"cross_entropy", needs_float32, nullptr, cross_entropy}};
constexpr Kernel kPlainBackward[] = {
    {"cross_entropy_backward", needs_float32, nullptr, cross_entropy_backward}};

}  // namespace

KernelList loss_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::softmax_cross_entropy: return list(kSoftmax);
    case OpKind::softmax_cross_entropy_backward: return list(kSoftmaxBackward);
    case OpKind::cross_entropy: return list(kPlain);
    case OpKind::cross_entropy_backward: return list(kPlainBackward);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
