// Reports bad data: the first of them, whichever thread finds it. Later kernels then do nothing.
#pragma once
#include "kernels.h"

namespace fastconv::cuda {

template <class IsBad, class Values>
struct FirstFault {
  static constexpr int kThreads = 256;
  struct Shared {
    int64_t partial[kWarp];
  };
  KernelError* error;
  int32_t step;
  Fault fault;
  int64_t count;
  IsBad is_bad;
  Values values;

  __device__ void operator()(Shared& shared) const {
    int64_t first = count;
    for (int64_t i = threadIdx.x; i < count && first == count; i += kThreads)
      if (is_bad(i)) first = i;
    first = join_block<kThreads>(first, Smaller{}, shared.partial);
    if (threadIdx.x != 0 || first == count) return;
    error->step = step + 1;
    error->fault = fault;
    error->position = first;
    values(first, error->values);
  }
};

// Position i is bad if is_bad(i); values(i, out) tells what is there.
template <class IsBad, class Values>
void report_first(const KernelCall& call, Fault fault, int64_t count, const IsBad& is_bad,
                  const Values& values) {
  launch(call, FirstFault<IsBad, Values>{call.error, call.step, fault, count, is_bad, values}, 1);
}

}  // namespace fastconv::cuda
