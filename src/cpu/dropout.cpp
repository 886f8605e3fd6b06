// Dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014).
//
// The mask is the same on every backend. Element i takes word i % 4 of Philox4x32-10 with
//   counter = (i / 4 low, i / 4 high, step low, stream),  key = (seed low, seed high),
// each 32 bits, and is kept if (word >> 8) >= ceil(rate * 2^24), rate taken as float32.
#include "bytes.h"
#include "kernels.h"
#include "philox.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kBlock = 256 * kGroup;

Stream stream(const KernelCall& call) {
  const int64_t* random = input<int64_t>(call, 1);
  return {(uint64_t)random[0], (uint32_t)random[1], attrs<DropoutAttrs>(call).stream};
}

// dst = keep ? src / (1 - rate) : 0
template <class T>
static inline void scale_kept(const T* src, T* dst, vint keep, float scale, int64_t lanes) {
  const vfloat x = load_lanes(src, lanes);
  store_lanes(dst, keep ? x * scale : vfloat{}, lanes);
}

float kept_scale(const KernelCall& call) { return 1.0f / (1.0f - attrs<DropoutAttrs>(call).rate); }

template <class T>
void dropout(const KernelCall& call) {
  const Stream s = stream(call);
  const vint threshold = splat(bits_below(attrs<DropoutAttrs>(call).rate));
  const float scale = kept_scale(call);
  const T* src = input<T>(call, 0);
  T* dst = output<T>(call, 0);
  uint8_t* mask = call.n_outputs > 1 ? output<uint8_t>(call, 1) : nullptr;
  parallel_blocks(elements(call.inputs[0]), kBlock, 8, [&](int64_t begin, int64_t end) {
    const auto drop = [&](int64_t i, vint word, int64_t lanes) {
      const vint keep = upper_bits(word) >= threshold;
      scale_kept(src + i, dst + i, keep, scale, lanes);
      if (mask) store_bytes(mask + i, keep & 1, lanes);
    };
    for (int64_t first = begin; first < end; first += kGroup) {
      vint words[kVectors];
      draw(s, first, words);
      for (int v = 0; v < kVectors; ++v) {
        const int64_t i = first + v * kLanes, left = end - i;
        if (left >= kLanes)
          drop(i, words[v], kLanes);
        else if (left > 0)
          drop(i, words[v], left);
      }
    }
  });
}

template <class T>
void dropout_backward(const KernelCall& call) {
  const float scale = kept_scale(call);
  const T* ddst = input<T>(call, 0);
  const uint8_t* mask = input<uint8_t>(call, 1);
  T* dsrc = output<T>(call, 0);
  parallel_blocks(elements(call.inputs[0]), kBlock, 2, [&](int64_t begin, int64_t end) {
    for_vectors(begin, end, [&](int64_t i, int64_t lanes) {
      scale_kept(ddst + i, dsrc + i, load_bytes(mask + i, lanes) != 0, scale, lanes);
    });
  });
}

void run(const KernelCall& call) {
  with_float(call, [&](auto tag) { dropout<typename decltype(tag)::type>(call); });
}
void run_backward(const KernelCall& call) {
  with_float(call, [&](auto tag) { dropout_backward<typename decltype(tag)::type>(call); });
}

constexpr Kernel kDropout[] = {{"dropout", needs_float, nullptr, run}};
constexpr Kernel kDropoutBackward[] = {{"dropout_backward", needs_float, nullptr, run_backward}};

}  // namespace

KernelList dropout_kernels(OpKind kind) {
  if (kind == OpKind::dropout) return list(kDropout);
  if (kind == OpKind::dropout_backward) return list(kDropoutBackward);
  return {nullptr, 0};
}

}  // namespace fastconv::cpu::FASTCONV_ISA
