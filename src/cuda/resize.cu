// Interpolation along one axis: rows of the source, weighted and summed. What the weights mean
// (filter, borders) is decided where the graph is built; a gradient is the same with others.
#include "first_fault.h"

namespace fastconv::cuda {
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
void check_ranges(const KernelCall& call, const Problem& p, const int32_t* ranges) {
  report_first(
      call, Fault::range, p.to,
      [=] __device__(int64_t i) {
        const int64_t first = ranges[2 * i], count = ranges[2 * i + 1];
        return first < 0 || count < 0 || count > p.taps || first + count > p.from;
      },
      [=] __device__(int64_t i, int64_t* values) {
        values[0] = ranges[2 * i];
        values[1] = ranges[2 * i + 1];
        values[2] = p.from;
      });
}

void resize(const KernelCall& call) {
  const Problem p = problem_of(call);
  const float *src = input<float>(call, 0), *weights = input<float>(call, 2);
  const int32_t* ranges = input<int32_t>(call, 1);
  float* dst = output<float>(call, 0);
  const Divisor inner(p.inner), to(p.to);
  check_ranges(call, p, ranges);
  for_each(call, elements(call.outputs[0]), [=] __device__(int64_t i) {
    const int64_t row = inner(i), column = i - row * p.inner;
    const int64_t outer = to(row), at = row - outer * p.to;
    const float* from = src + (outer * p.from + ranges[2 * at]) * p.inner + column;
    const float* weight = weights + at * p.taps;
    float sum = 0;
    for (int t = 0; t < ranges[2 * at + 1]; ++t) sum += weight[t] * from[t * p.inner];
    dst[i] = sum;
  });
}

constexpr Kernel kResize[] = {{"elements", needs_float32, nullptr, resize}};

}  // namespace

KernelList resize_kernels(OpKind kind) {
  return kind == OpKind::resize ? list(kResize) : KernelList{nullptr, 0};
}

}  // namespace fastconv::cuda
