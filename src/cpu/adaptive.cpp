// Optimisers that adapt the rate of each weight, over whole parameter blocks: one pass that reads
// weights, gradients and slots and writes weights and slots. `hyper` holds the scalars of the step,
// from the host; `decay` is rate * weight_decay (Loshchilov and Hutter 2019).
#include "kernels.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kBlock = 16384;

// Calls f(weights, gradients, slots), which changes weights and slots, for each vector.
template <int N, class F>
static inline void update(const KernelCall& call, int64_t work, const F& f) {
  const float *weights = input<float>(call, 0), *gradients = input<float>(call, 1);
  float* new_weights = output<float>(call, 0);
  const float* slots[N];
  float* new_slots[N];
  for (int k = 0; k < N; ++k) {
    slots[k] = input<float>(call, 3 + k);
    new_slots[k] = output<float>(call, 1 + k);
  }
  parallel_blocks(elements(call.inputs[0]), kBlock, work, [&](int64_t begin, int64_t end) {
    for_vectors(begin, end, [&](int64_t i, int64_t lanes) {
      vfloat w = load_lanes(weights + i, lanes), s[N];
      for (int k = 0; k < N; ++k) s[k] = load_lanes(slots[k] + i, lanes);
      f(w, load_lanes(gradients + i, lanes), s);
      store_lanes(new_weights + i, w, lanes);
      for (int k = 0; k < N; ++k) store_lanes(new_slots[k] + i, s[k], lanes);
    });
  });
}

// Tieleman and Hinton 2012: v <- rho v + (1 - rho) g^2; w <- w - rate g / sqrt(v + epsilon). With
// `centered` the square of the average gradient is taken off v: it is never above v, but rounding
// may put it there.
template <bool momentum, bool centered>
static inline void rmsprop_as(const KernelCall& call) {
  const float* hyper = input<float>(call, 2);
  const float rate = hyper[0], decay = hyper[1], rho = hyper[2], rest = hyper[3];
  const float epsilon = hyper[4], inertia = hyper[5];
  update<1 + momentum + centered>(call, 12, [=](vfloat& w, vfloat g, vfloat* s) {
    s[0] = s[0] * rho + g * g * rest;
    vfloat spread = s[0];
    if constexpr (centered) {
      vfloat& average = s[1 + momentum];
      average = average * rho + g * rest;
      spread = max(spread - average * average, vfloat{});
    }
    vfloat step = g * rate / sqrt(spread + epsilon);
    if constexpr (momentum) s[1] = step = s[1] * inertia + step;
    w = w - (w * decay + step);
  });
}

void rmsprop(const KernelCall& call) {
  const bool centered = attrs<RmspropAttrs>(call).centered;
  const bool momentum = call.n_inputs > 4 + centered;
  if (momentum && centered)
    rmsprop_as<true, true>(call);
  else if (momentum)
    rmsprop_as<true, false>(call);
  else if (centered)
    rmsprop_as<false, true>(call);
  else
    rmsprop_as<false, false>(call);
}

// Duchi, Hazan and Singer 2011: a <- a + g^2; w <- w - rate g / sqrt(a + epsilon).
void adagrad(const KernelCall& call) {
  const float* hyper = input<float>(call, 2);
  const float rate = hyper[0], decay = hyper[1], epsilon = hyper[2];
  update<1>(call, 10, [=](vfloat& w, vfloat g, vfloat* s) {
    s[0] = s[0] + g * g;
    w = w - (w * decay + g * rate / sqrt(s[0] + epsilon));
  });
}

// Zeiler 2012: a <- rho a + (1 - rho) g^2; d = g sqrt(b + epsilon) / sqrt(a + epsilon);
// b <- rho b + (1 - rho) d^2; w <- w - rate d.
void adadelta(const KernelCall& call) {
  const float* hyper = input<float>(call, 2);
  const float rate = hyper[0], decay = hyper[1], rho = hyper[2], rest = hyper[3];
  const float epsilon = hyper[4];
  update<2>(call, 16, [=](vfloat& w, vfloat g, vfloat* s) {
    s[0] = s[0] * rho + g * g * rest;
    const vfloat step = g * sqrt(s[1] + epsilon) / sqrt(s[0] + epsilon);
    s[1] = s[1] * rho + step * step * rest;
    w = w - (w * decay + step * rate);
  });
}

// Kingma and Ba 2015: m <- m + (1 - b1) (g - m); v <- v + (1 - b2) (g^2 - v);
// w <- w - (rate m + rate_g g) / (scale sqrt(v) + epsilon). The bias corrections are in the rates
// and the scale; rate_g is 0 but for Nadam (Dozat 2016). With a third slot (amsgrad; Reddi, Kale
// and Kumar 2018) it keeps the largest v, which divides.
template <bool amsgrad>
static inline void adam_as(const KernelCall& call) {
  const float* hyper = input<float>(call, 2);
  const float rate = hyper[0], decay = hyper[1], rate_g = hyper[2], rest_1 = hyper[3];
  const float rest_2 = hyper[4], scale = hyper[5], epsilon = hyper[6];
  update<2 + amsgrad>(call, 14, [=](vfloat& w, vfloat g, vfloat* s) {
    s[0] = s[0] + (g - s[0]) * rest_1;
    s[1] = s[1] + (g * g - s[1]) * rest_2;
    if constexpr (amsgrad) s[2] = max(s[2], s[1]);
    const vfloat root = sqrt(s[1 + amsgrad]) * scale + epsilon;
    w = w - (w * decay + (s[0] * rate + g * rate_g) / root);
  });
}

void adam(const KernelCall& call) {
  if (call.n_inputs > 5)
    adam_as<true>(call);
  else
    adam_as<false>(call);
}

// Kingma and Ba 2015, section 7.1: m <- m + (1 - b1) (g - m); u <- max(b2 u, |g|);
// w <- w - rate m / (u + epsilon), with the bias correction in the rate.
void adamax(const KernelCall& call) {
  const float* hyper = input<float>(call, 2);
  const float rate = hyper[0], decay = hyper[1], rest = hyper[2], beta = hyper[3];
  const float epsilon = hyper[4];
  update<2>(call, 12, [=](vfloat& w, vfloat g, vfloat* s) {
    s[0] = s[0] + (g - s[0]) * rest;
    s[1] = max(s[1] * beta, abs(g));
    w = w - (w * decay + s[0] * rate / (s[1] + epsilon));
  });
}

// Chen et al. 2023: w <- w - rate sign(b1 m + (1 - b1) g); m <- b2 m + (1 - b2) g.
void lion(const KernelCall& call) {
  const float* hyper = input<float>(call, 2);
  const float rate = hyper[0], decay = hyper[1];
  const float beta_1 = hyper[2], rest_1 = hyper[3], beta_2 = hyper[4], rest_2 = hyper[5];
  update<1>(call, 8, [=](vfloat& w, vfloat g, vfloat* s) {
    const vfloat way = s[0] * beta_1 + g * rest_1;
    const vfloat step = copy_sign(splat(rate), way);
    w = w - (w * decay + (way == 0.0f ? vfloat{} : is_nan(way) ? way : step));
    s[0] = s[0] * beta_2 + g * rest_2;
  });
}

constexpr Kernel kRmsprop[] = {{"rmsprop", needs_float32, nullptr, rmsprop}};
constexpr Kernel kAdagrad[] = {{"adagrad", needs_float32, nullptr, adagrad}};
constexpr Kernel kAdadelta[] = {{"adadelta", needs_float32, nullptr, adadelta}};
constexpr Kernel kAdam[] = {{"adam", needs_float32, nullptr, adam}};
constexpr Kernel kAdamax[] = {{"adamax", needs_float32, nullptr, adamax}};
constexpr Kernel kLion[] = {{"lion", needs_float32, nullptr, lion}};

}  // namespace

KernelList adaptive_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::rmsprop: return list(kRmsprop);
    case OpKind::adagrad: return list(kAdagrad);
    case OpKind::adadelta: return list(kAdadelta);
    case OpKind::adam: return list(kAdam);
    case OpKind::adamax: return list(kAdamax);
    case OpKind::lion: return list(kLion);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
