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
  bool found_before;  // by report_first's first look

  __device__ void operator()(Shared& shared) const {
    if (found_before && error->position == 0) return;
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

// Position i is bad if is_bad(i); values(i, out) tells what is there. One block finds the first of
// them; where it would have much to read, all look first whether there is any.
template <class IsBad, class Values>
void report_first(const KernelCall& call, Fault fault, int64_t count, const IsBad& is_bad,
                  const Values& values) {
  constexpr int64_t kFew = 8192;
  KernelError* error = call.error;
  const bool many = count > kFew;
  if (many)
    for_each(call, count, [=] __device__(int64_t i) {
      if (is_bad(i)) error->position = 1;  // which is 0 while there is no error
    });
  launch(call, FirstFault<IsBad, Values>{error, call.step, fault, count, is_bad, values, many}, 1);
}

}  // namespace fastconv::cuda
