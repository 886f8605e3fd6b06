// Every tile of the products on tensor cores, in every direction of a convolution, against plain
// loops: a product takes its tile by its size, and those of tests are small.
#include <string.h>

#include "conv_tensor.cu"
#include "conv_tensor_data.cu"
#include "conv_tensor_weights.cu"

namespace fastconv::cuda {

KernelList kernels(const Backend&, OpKind) { return {nullptr, 0}; }
bool tiles(const Backend&, OpKind, const char*, const DeviceCall&) { return false; }

namespace {

constexpr int C = 136, K = 72, H = 11, W = 12, R = 3;
constexpr int kWeights = R * R * C * K;

// Small integers: sums are exact, in any order.
template <class T>
struct Map {
  alignas(64) T values[kWeights];  // the largest of them
  void fill(int seed) {
    for (int i = 0; i < (int)(sizeof values / sizeof *values); ++i)
      values[i] = convert<T>((float)((i * 31 + i / 7 + seed) % 5 - 2));
  }
};

// T: of the operands.
template <class T>
struct Case {
  WindowGeometry g;
  Map<T> src, weights, ddst, dst, dsrc;
  Map<float> dweights, want_dst, want_dsrc, want_dweights;
  alignas(64) float partial[1 << 22];
};
template <class T>
Case<T> c;

WindowGeometry geometry_of(int stride) {
  const int P = (H - 1) / stride + 1, Q = (W - 1) / stride + 1;
  return {1,         C,         K,        1, {1, H, W}, {1, R, R}, {1, P, Q}, {1, stride, stride},
          {1, 1, 1}, {0, 1, 1}, {0, 1, 1}};
}

void plain(auto& c) {
  const WindowGeometry& g = c.g;
  for (Map<float>* map : {&c.want_dst, &c.want_dsrc, &c.want_dweights})
    for (float& x : map->values) x = 0;
  for (int p = 0; p < g.output[1]; ++p)
    for (int q = 0; q < g.output[2]; ++q)
      for (int tap = 0; tap < R * R; ++tap) {
        const int64_t h = p * g.stride[1] + tap / R - 1, w = q * g.stride[2] + tap % R - 1;
        if (h < 0 || w < 0 || h >= H || w >= W) continue;
        for (int i = 0; i < C; ++i)
          for (int k = 0; k < K; ++k) {
            const int64_t from = (h * W + w) * C + i, to = (p * g.output[2] + q) * K + k;
            const int at = (tap * C + i) * K + k;
            const float x = widen(c.src.values[from]), weight = widen(c.weights.values[at]);
            const float dy = widen(c.ddst.values[to]);
            c.want_dst.values[to] += x * weight;
            c.want_dsrc.values[from] += dy * weight;
            c.want_dweights.values[at] += x * dy;
          }
      }
}

template <int Tile, class A, class B, class Result, class T>
void run(const KernelCall& call, int splits, const A& a, const B& b, const Result& result,
         const TensorSize& size, T* dst, float* partial) {
  constexpr int64_t kStep = kStepDepth<typename A::Element>;
  const int64_t depth = ceil_div(ceil_div(size.k, splits), kStep) * kStep;
  const TensorCut cut = {Tile, ceil_div(size.k, depth), depth};
  Finish<T> finish = {};
  finish.dst = dst;
  run_tensor_tiles<Tile, false>(call, a, b, result, size, cut, finish,
                                cut.splits > 1 ? partial : nullptr, nullptr);
  if (cut.splits > 1) join_splits(call, result, size, cut.splits, finish, partial);
}

template <int Tile, class T>
void run_all(const KernelCall& call, int splits, Case<T>& c) {
  const WindowGeometry& g = c.g;
  const TensorShape s = tensor_shape(g, sizeof(T), true);
  const Correlation windows = windows_of(g, s), covers = covers_of(g, s);
  run<Tile>(call, splits, WindowRows<T>{windows, c.src.values},
            MatrixRows<T>{c.weights.values, K, K}, PixelResult{windows, K, K},
            {output_pixels(g), K, R * R * C, 1}, c.dst.values, c.partial);
  run<Tile>(call, splits, WindowRows<T>{covers, c.ddst.values},
            TurnedFilters<T>(covers, c.weights.values, K, C * K, K), PixelResult{covers, C, C},
            size_of(g, covers), c.dsrc.values, c.partial);
  run<Tile>(call, splits, WindowColumns<T>{windows, c.src.values, (int32_t)output_pixels(g)},
            MatrixRows<T>{c.ddst.values, K, K}, FilterResult{Divisor(C), Divisor(C), 1, C, K, K},
            size_of(g, s), c.dweights.values, c.partial);
}

template <class T>
int64_t differences(const Map<T>& actual, const Map<float>& expected, int64_t count) {
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; ++i)
    wrong += !(widen(actual.values[i]) == widen(convert<T>(expected.values[i])));
  return wrong;
}

template <class T>
int64_t wrong(const Backend& backend, int tile, int splits, int stride) {
  const KernelError none{};
  KernelCall call{};
  call.error = const_cast<KernelError*>(&none);
  Case<T>& c = cuda::c<T>;
  c.g = geometry_of(stride);
  c.src.fill(1), c.weights.fill(2), c.ddst.fill(3);
  plain(c);
  if (tile == 0) run_all<0>(call, splits, c);
  if (tile == 1) run_all<1>(call, splits, c);
  if (tile == 2) run_all<2>(call, splits, c);
  if (tile == 3) run_all<3>(call, splits, c);
  if (backend.device->wait(backend)) return -1;
  return differences(c.dst, c.want_dst, output_pixels(c.g) * K) +
         differences(c.dsrc, c.want_dsrc, H * W * C) +
         differences(c.dweights, c.want_dweights, kWeights);
}

}  // namespace

// Results that are wrong, or -1 after a fault of the emulator.
extern "C" __attribute__((visibility("default"))) int64_t wrong(const Backend* backend,
                                                                const char* type, int tile,
                                                                int splits, int stride) {
  if (strcmp(type, "tf32") == 0) return wrong<float>(*backend, tile, splits, stride);
  if (strcmp(type, "float16") == 0) return wrong<Float16>(*backend, tile, splits, stride);
  return wrong<BFloat16>(*backend, tile, splits, stride);
}

}  // namespace fastconv::cuda
