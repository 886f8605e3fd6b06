// Cross-entropy by rows: logits or probabilities [rows, C]; labels int64 [rows] or float32
// [rows, C]; loss [rows].
#include "activation.h"
#include "first_fault.h"
#include "rows.h"

namespace fastconv::cuda {
namespace {

constexpr float kEpsilon = 1e-7f;  // Keras's backend epsilon, which probabilities are clipped to

struct Labels {
  const int64_t* index;  // sparse
  const float* weights;  // else
  int64_t rows, classes;

  // y of a class in the row that begins at `at`.
  __device__ __forceinline__ float of(int64_t row, int64_t at, int64_t i) const {
    return index ? (float)(index[row] == i) : weights[at + i];
  }
};

// Labels out of range are reported, and what follows then does nothing.
Labels labels(const KernelCall& call, int input_index, const Tensor& scores) {
  const bool sparse = attrs<CrossEntropyAttrs>(call).sparse;
  const Labels l = {sparse ? input<int64_t>(call, input_index) : nullptr,
                    sparse ? nullptr : input<float>(call, input_index), rows_of(scores),
                    last_size(scores)};
  if (sparse)
    report_first(
        call, Fault::label, l.rows,
        [=] __device__(int64_t i) { return l.index[i] < 0 || l.index[i] >= l.classes; },
        [=] __device__(int64_t i, int64_t* values) {
          values[0] = l.index[i];
          values[1] = l.classes;
        });
  return l;
}

// loss = -sum y log softmax(x) = sum y (log sum exp(x - max) - (x - max)); y = 0 counts nothing,
// also where x is -inf.
struct SoftmaxCrossEntropy {
  Labels labels;
  const float* logits;
  float *loss, *probabilities;  // these may be null
  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const int64_t C = labels.classes, at = row * C;
    const float* x = logits + at;
    const float top = max_row(team, C, [&](int64_t i) { return x[i]; });
    const float total = sum_row(team, C, [&](int64_t i) { return expf(x[i] - top); });
    const float log_total = logf(total);
    const float value = sum_row(team, C, [&](int64_t i) {
      const float y = labels.of(row, at, i);
      return y == 0 ? 0.0f : y * (log_total - (x[i] - top));
    });
    if (team.rank() == 0) loss[row] = value;
    if (!probabilities) return;
    for (int64_t i = team.rank(); i < C; i += Team::size)
      probabilities[at + i] = expf(x[i] - top) / total;
  }
};

// dlogits = dloss (p sum(y) - y).
struct SoftmaxCrossEntropyBackward {
  Labels labels;
  const float *dloss, *probabilities;
  float* dlogits;
  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const int64_t C = labels.classes, at = row * C;
    const float weight =
        labels.index ? 1.0f : sum_row(team, C, [&](int64_t i) { return labels.weights[at + i]; });
    for (int64_t i = team.rank(); i < C; i += Team::size)
      dlogits[at + i] = (probabilities[at + i] * weight - labels.of(row, at, i)) * dloss[row];
  }
};

// loss = -sum y log clip(p / sum(p)), as Keras computes it.
struct CrossEntropy {
  Labels labels;
  const float* probabilities;
  float* loss;
  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const int64_t C = labels.classes, at = row * C;
    const float* p = probabilities + at;
    const float total = sum_row(team, C, [&](int64_t i) { return p[i]; });
    const float value = sum_row(team, C, [&](int64_t i) {
      const float y = labels.of(row, at, i);
      if (labels.index && y == 0) return 0.0f;
      return y * logf(clip(p[i] / total, kEpsilon, 1.0f - kEpsilon));
    });
    if (team.rank() == 0) loss[row] = -value;
  }
};

// With q = p / sum(p) and g = -dloss y / q where q is not clipped: dp = (g - sum(g q)) / sum(p).
struct CrossEntropyBackward {
  Labels labels;
  const float *dloss, *probabilities;
  float* dprobabilities;
  template <class Team>
  __device__ void operator()(const Team& team, int64_t row) const {
    const int64_t C = labels.classes, at = row * C;
    const float* p = probabilities + at;
    const float total = sum_row(team, C, [&](int64_t i) { return p[i]; });
    const auto gradient = [&](int64_t i) {
      const float q = p[i] / total, y = labels.of(row, at, i);
      const bool inside = q >= kEpsilon && q <= 1.0f - kEpsilon;
      return inside && !(labels.index && y == 0) ? y / q * -dloss[row] : 0.0f;
    };
    const float mean = sum_row(team, C, [&](int64_t i) { return gradient(i) * (p[i] / total); });
    for (int64_t i = team.rank(); i < C; i += Team::size)
      dprobabilities[at + i] = (gradient(i) - mean) / total;
  }
};

template <class Row>
void run(const KernelCall& call, const Row& row) {
  for_rows(call, row.labels.rows, row.labels.classes, row);
}

void softmax_cross_entropy(const KernelCall& call) {
  run(call, SoftmaxCrossEntropy{labels(call, 1, call.inputs[0]), input<float>(call, 0),
                                output<float>(call, 0), output<float>(call, 1)});
}
void softmax_cross_entropy_backward(const KernelCall& call) {
  run(call, SoftmaxCrossEntropyBackward{labels(call, 2, call.inputs[1]), input<float>(call, 0),
                                        input<float>(call, 1), output<float>(call, 0)});
}
void cross_entropy(const KernelCall& call) {
  run(call,
      CrossEntropy{labels(call, 1, call.inputs[0]), input<float>(call, 0), output<float>(call, 0)});
}
void cross_entropy_backward(const KernelCall& call) {
  run(call, CrossEntropyBackward{labels(call, 2, call.inputs[1]), input<float>(call, 0),
                                 input<float>(call, 1), output<float>(call, 0)});
}

constexpr Kernel kSoftmax[] = {{"rows", needs_float32, nullptr, softmax_cross_entropy}};
constexpr Kernel kSoftmaxBackward[] = {
    {"rows", needs_float32, nullptr, softmax_cross_entropy_backward}};
constexpr Kernel kPlain[] = {{"rows", needs_float32, nullptr, cross_entropy}};
constexpr Kernel kPlainBackward[] = {{"rows", needs_float32, nullptr, cross_entropy_backward}};

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

}  // namespace fastconv::cuda
