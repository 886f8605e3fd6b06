// Interpolation along one axis: rows of the source, weighted and summed. What the weights mean
// (filter, borders) is decided where the graph is built; a gradient is the same with others.
#include "kernels.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

struct Problem {
  int64_t outer, from, to, inner, taps;  // src is [outer from inner], dst [outer to inner]
};

Problem problem_of(const KernelCall& call) {
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  const int axis = attrs<ResizeAttrs>(call).axis;
  Problem p = {1, src.dims[axis], dst.dims[axis], 1, call.inputs[2].dims[1]};
  for (int i = 0; i < axis; ++i) p.outer *= src.dims[i];
  for (int i = axis + 1; i < src.rank; ++i) p.inner *= src.dims[i];
  return p;
}

// A plan may come from a file: whether each range lies in the source and in its row of weights.
bool inside(const KernelCall& call, const Problem& p, const int32_t* ranges) {
  for (int64_t i = 0; i < p.to; ++i) {
    const int64_t first = ranges[2 * i], count = ranges[2 * i + 1];
    if (first >= 0 && count >= 0 && count <= p.taps && first + count <= p.from) continue;
    if (call.error) *call.error = {call.step + 1, Fault::range, i, {first, count, p.from}};
    return false;
  }
  return true;
}

void weigh(const float* src, float* dst, const float* weights, int64_t count, int64_t inner) {
  for_vectors(0, inner, [&](int64_t c, int64_t lanes) {
    vfloat sum = {};
    for (int64_t t = 0; t < count; ++t)
      sum += splat(weights[t]) * load_lanes(src + t * inner + c, lanes);
    store_lanes(dst + c, sum, lanes);
  });
}

void resize(const KernelCall& call) {
  const Problem p = problem_of(call);
  const float *src = input<float>(call, 0), *weights = input<float>(call, 2);
  const int32_t* ranges = input<int32_t>(call, 1);
  float* dst = output<float>(call, 0);
  if (!inside(call, p, ranges)) return;
  const int64_t work = (p.taps + 1) * p.inner;
  const int64_t rows = 1 + (1 << 14) / (work + 16);  // of one task
  parallel_blocks(p.outer * p.to, rows, work, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t i = row % p.to, first = ranges[2 * i] + row / p.to * p.from;
      weigh(src + first * p.inner, dst + row * p.inner, weights + i * p.taps, ranges[2 * i + 1],
            p.inner);
    }
  });
}

constexpr Kernel kResize[] = {{"vector", needs_float32, nullptr, resize}};

}  // namespace

KernelList resize_kernels(OpKind kind) {
  return kind == OpKind::resize ? list(kResize) : KernelList{nullptr, 0};
}

}  // namespace fastconv::cpu::FASTCONV_ISA
