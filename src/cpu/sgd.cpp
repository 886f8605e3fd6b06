// Stochastic gradient descent over whole parameter blocks, with momentum (Polyak 1964) or
// Nesterov's (Sutskever, Martens, Dahl and Hinton 2013, section 2).
#include "kernels.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kBlock = 16384;

struct Block {
  const float *weights, *gradients, *velocity;
  float *new_weights, *new_velocity;
  float rate, momentum;
};

static inline void plain(const Block& b, int64_t begin, int64_t end) {
  for_vectors(begin, end, [&](int64_t i, int64_t lanes) {
    const vfloat step = load_lanes(b.gradients + i, lanes) * b.rate;
    store_lanes(b.new_weights + i, load_lanes(b.weights + i, lanes) - step, lanes);
  });
}

template <bool nesterov>
static inline void with_momentum(const Block& b, int64_t begin, int64_t end) {
  for_vectors(begin, end, [&](int64_t i, int64_t lanes) {
    const vfloat step = load_lanes(b.gradients + i, lanes) * b.rate;
    const vfloat velocity = load_lanes(b.velocity + i, lanes) * b.momentum - step;
    const vfloat move = nesterov ? velocity * b.momentum - step : velocity;
    store_lanes(b.new_weights + i, load_lanes(b.weights + i, lanes) + move, lanes);
    store_lanes(b.new_velocity + i, velocity, lanes);
  });
}

void sgd(const KernelCall& call) {
  const bool velocity = call.n_inputs > 3, nesterov = attrs<SgdAttrs>(call).nesterov;
  const float* hyper = input<float>(call, 2);
  const Block b{input<float>(call, 0),
                input<float>(call, 1),
                velocity ? input<float>(call, 3) : nullptr,
                output<float>(call, 0),
                velocity ? output<float>(call, 1) : nullptr,
                hyper[0],
                hyper[1]};
  const int64_t count = elements(call.inputs[0]);
  parallel_blocks(count, kBlock, velocity ? 4 : 3, [&](int64_t begin, int64_t end) {
    if (!velocity)
      plain(b, begin, end);
    else if (nesterov)
      with_momentum<true>(b, begin, end);
    else
      with_momentum<false>(b, begin, end);
  });
}

constexpr Kernel kSgd[] = {{"sgd", needs_float32, nullptr, sgd}};

}  // namespace

KernelList sgd_kernels(OpKind kind) {
  return kind == OpKind::sgd ? list(kSgd) : KernelList{nullptr, 0};
}

}  // namespace fastconv::cpu::FASTCONV_ISA
