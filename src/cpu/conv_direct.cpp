// Convolution in plain loops, for geometries that no other kernel takes.
#include "conv.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// src N D H W C, weights T R S C/groups K, dst N O P Q K.
struct Shape {
  int64_t C, K;    // of all groups
  int64_t Cg, Kg;  // of one group
  const WindowGeometry* g;
};

Shape shape_of(const WindowGeometry& g) {
  return {g.in_channels, g.out_channels, g.in_channels / g.groups, g.out_channels / g.groups, &g};
}

vfloat load_columns(const float* p, int64_t count) {
  return count >= kLanes ? load(p) : load_part(p, count);
}

void store_columns(float* p, vfloat v, int64_t count) {
  if (count >= kLanes)
    store(p, v);
  else
    store_part(p, v, count);
}

// The output whose window reads an input pixel through a tap, or -1.
int64_t output_pixel(const WindowGeometry& g, int64_t pixel, int64_t tap) {
  int64_t at[3];
  for (int a = 2; a >= 0; --a) {
    const int64_t origin = pixel % g.input[a] + g.pad_before[a] - tap % g.kernel[a] * g.dilation[a];
    at[a] = origin / g.stride[a];
    if (origin < 0 || origin % g.stride[a] != 0 || at[a] >= g.output[a]) return -1;
    pixel /= g.input[a];
    tap /= g.kernel[a];
  }
  return ((pixel * g.output[0] + at[0]) * g.output[1] + at[1]) * g.output[2] + at[2];
}

int64_t pixels(const int64_t* size) { return size[0] * size[1] * size[2]; }

float dot(const float* a, const float* b, int64_t count) {
  vfloat total = {};
  for (int64_t i = 0; i < count; i += kLanes)
    total += load_columns(a + i, count - i) * load_columns(b + i, count - i);
  return sum(total);
}

}  // namespace

void conv_direct(const KernelCall& call) {
  const GatherCall c = gather_call(call, false);
  const Shape s = shape_of(*c.problem.geometry);
  const int64_t outputs = s.g->batch * pixels(s.g->output), taps = window_taps(*s.g);
  parallel_for(outputs, s.K * s.Cg * taps, [&](int64_t output) {
    for (int64_t k = 0, count; k < s.K; k += count) {
      const int64_t group = k / s.Kg, rest = (group + 1) * s.Kg - k;
      count = rest < kLanes ? rest : kLanes;
      vfloat total = {};
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t pixel = input_pixel(*s.g, output, tap);
        if (pixel < 0) continue;
        const float* x = c.in + pixel * s.C + group * s.Cg;
        const float* w = c.weights + tap * s.Cg * s.K + k;
        for (int64_t i = 0; i < s.Cg; ++i) total += load_columns(w + i * s.K, count) * x[i];
      }
      total = Shift(c.finish, k, count)(total);
      float* dst = c.out + output * s.K + k;
      store_columns(dst, finished(c.finish, total, dst, count), count);
    }
  });
}

void conv_backward_data_direct(const KernelCall& call) {
  const GatherCall c = gather_call(call, true);
  const Shape s = shape_of(*c.problem.geometry);
  const int64_t positions = s.g->batch * pixels(s.g->input), taps = window_taps(*s.g);
  parallel_for(positions, s.K * s.Cg * taps, [&](int64_t position) {
    float* dsrc = c.out + position * s.C;
    for (int64_t i = 0; i < s.C; ++i) dsrc[i] = 0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t pixel = output_pixel(*s.g, position, tap);
      if (pixel < 0) continue;
      for (int64_t i = 0; i < s.C; ++i) {
        const int64_t k = i / s.Cg * s.Kg;
        dsrc[i] += dot(c.in + pixel * s.K + k, c.weights + (tap * s.Cg + i % s.Cg) * s.K + k, s.Kg);
      }
    }
    finish_row(c.finish, dsrc, s.C, dsrc);
  });
}

void conv_backward_weights_direct(const KernelCall& call) {
  const Shape s = shape_of(geometry(call));
  const float *src = input<float>(call, 0), *ddst = input<float>(call, 1);
  float* dweights = output<float>(call, 0);
  const int64_t outputs = s.g->batch * pixels(s.g->output), taps = window_taps(*s.g);
  parallel_for(taps * s.Cg, outputs * s.K, [&](int64_t task) {
    const int64_t tap = task / s.Cg, i = task % s.Cg;
    float* dw = dweights + task * s.K;
    for (int64_t k = 0; k < s.K; ++k) dw[k] = 0;
    for (int64_t output = 0; output < outputs; ++output) {
      const int64_t pixel = input_pixel(*s.g, output, tap);
      if (pixel < 0) continue;
      for (int64_t group = 0; group < s.g->groups; ++group) {
        const float x = src[pixel * s.C + group * s.Cg + i];
        const float* dy = ddst + output * s.K + group * s.Kg;
        for (int64_t k = 0; k < s.Kg; ++k) dw[group * s.Kg + k] += x * dy[k];
      }
    }
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
