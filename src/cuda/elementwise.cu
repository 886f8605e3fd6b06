// Element by element: unary, binary with broadcasting, select, cast, fill, copy. The output may be
// the memory of input 0 where both have the same shape.
#include "activation.h"
#include "convert.h"
#include "map.h"
#include "sine.h"

namespace fastconv::cuda {
namespace {

__device__ inline float apply(UnaryOp op, float x) {
  switch (op) {
    case UnaryOp::negative: return -x;
    case UnaryOp::absolute: return fabsf(x);
    case UnaryOp::exp: return expf(x);
    case UnaryOp::log: return logf(x);
    case UnaryOp::sqrt: return sqrtf(x);
    case UnaryOp::rsqrt: return 1.0f / sqrtf(x);
    case UnaryOp::square: return x * x;
    case UnaryOp::reciprocal: return 1.0f / x;
    case UnaryOp::sign: return sign(x);
    case UnaryOp::floor: return floorf(x);
    case UnaryOp::round: return rintf(x);
    case UnaryOp::sin: return sine(x);
    case UnaryOp::cos: return cosine(x);
    case UnaryOp::erf: return erff(x);
    case UnaryOp::is_finite: return fabsf(x) < INFINITY ? 1.0f : 0.0f;
  }
  return x;
}

template <class T>
void unary(const KernelCall& call) {
  const UnaryOp op = attrs<UnaryAttrs>(call).op;
  const T* src = input<T>(call, 0);
  T* dst = output<T>(call, 0);
  const int64_t count = elements(call.outputs[0]);
  map(call, dst, count, [=] __device__(float x) { return apply(op, x); }, src);
}

void run_unary(const KernelCall& call) {
  with_float(call, [&](auto tag) { unary<typename decltype(tag)::type>(call); });
}

// All but power. Comparisons give 1 or 0; maximum and minimum hand NaN on.
template <class T>
__device__ __forceinline__ T apply(BinaryOp op, T a, T b) {
  switch (op) {
    case BinaryOp::add: return a + b;
    case BinaryOp::subtract: return a - b;
    case BinaryOp::multiply: return a * b;
    case BinaryOp::divide: return a / b;
    case BinaryOp::maximum: return a > b || a != a ? a : b;
    case BinaryOp::minimum: return a < b || a != a ? a : b;
    case BinaryOp::power: return a;
    case BinaryOp::equal: return a == b;
    case BinaryOp::greater: return a > b;
    case BinaryOp::greater_equal: return a >= b;
  }
  return a;
}

// In the type of its arithmetic.
template <class T>
__device__ __forceinline__ auto value_of(T x) {
  if constexpr (Half<T>)
    return to_float(x);
  else
    return x;
}
template <class T>
__device__ __forceinline__ void put(T* p, T x) {
  *p = x;
}
template <Half T>
__device__ __forceinline__ void put(T* p, float x) {
  store(p, x);
}

template <class T, class F>
struct BroadcastBinary {
  static constexpr int kThreads = 256, kEach = 4;
  F f;
  const T *a, *b;
  T* dst;
  int64_t count;
  Axes<2> axes;

  __device__ void operator()() const {
    const int64_t first = (int64_t)blockIdx.x * (kThreads * kEach) + threadIdx.x;
    decltype(value_of(T{})) x[kEach] = {}, y[kEach] = {};
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int64_t at = first + i * kThreads;
      if (at >= count) continue;
      const auto from = axes.offsets(at);
      x[i] = value_of(a[from.at[0]]);
      y[i] = value_of(b[from.at[1]]);
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int64_t at = first + i * kThreads;
      if (at < count) put(dst + at, f(x[i], y[i]));
    }
  }
};

Axes<2> broadcast_axes(const KernelCall& call) {
  const Tensor& dst = call.outputs[0];
  int64_t steps[2][kMaxRank];
  for (int k = 0; k < 2; ++k) broadcast_strides(call.inputs[k], dst.rank, steps[k]);
  Axes<2> axes;
  for (int i = 0; i < dst.rank; ++i) axes.append(dst.dims[i], {steps[0][i], steps[1][i]});
  return axes;
}

template <class T, class F>
void broadcast_binary(const KernelCall& call, const Axes<2>& axes, const F& f) {
  using Kernel = BroadcastBinary<T, F>;
  const int64_t count = elements(call.outputs[0]);
  launch(call, Kernel{f, input<T>(call, 0), input<T>(call, 1), output<T>(call, 0), count, axes},
         ceil_div(count, Kernel::kThreads * Kernel::kEach));
}

// Of float, bfloat16 or float16; f gives a float.
template <class T>
void binary(const KernelCall& call) {
  const BinaryOp op = attrs<BinaryAttrs>(call).op;
  const T *a = input<T>(call, 0), *b = input<T>(call, 1);
  T* dst = output<T>(call, 0);
  const int64_t count = elements(call.outputs[0]);
  const Axes<2> axes = broadcast_axes(call);
  const bool dense = axes.dense(0) && axes.dense(1);
  const auto raise = [=] __device__(float x, float y) { return powf(x, y); };
  const auto light = [=] __device__(float x, float y) { return apply(op, x, y); };
  if (op == BinaryOp::power && dense)
    map(call, dst, count, raise, a, b);
  else if (op == BinaryOp::power)
    broadcast_binary<T>(call, axes, raise);
  else if (dense)
    map_light(call, dst, count, light, a, b);
  else
    broadcast_binary<T>(call, axes, light);
}

void run_binary(const KernelCall& call) {
  with_float(call, [&](auto tag) { binary<typename decltype(tag)::type>(call); });
}

const char* wide_declines(const KernelCall& call) {
  const Dtype dtype = call.inputs[0].dtype;
  const BinaryOp op = attrs<BinaryAttrs>(call).op;
  if (dtype != Dtype::float64 && dtype != Dtype::int64) return "only float64 and int64";
  if (op == BinaryOp::power) return "no power in float64 and int64";
  if (op == BinaryOp::divide && dtype == Dtype::int64) return "no division of integers";
  return nullptr;
}

template <class T>
void wide_binary(const KernelCall& call) {
  const BinaryOp op = attrs<BinaryAttrs>(call).op;
  broadcast_binary<T>(call, broadcast_axes(call),
                      [=] __device__(T x, T y) { return apply(op, x, y); });
}

void run_wide_binary(const KernelCall& call) {
  if (call.inputs[0].dtype == Dtype::float64)
    wide_binary<double>(call);
  else
    wide_binary<int64_t>(call);
}

void run_select(const KernelCall& call) {
  map_light(
      call, output<float>(call, 0), elements(call.outputs[0]),
      [=] __device__(float condition, float a, float b) { return condition != 0 ? a : b; },
      input<float>(call, 0), input<float>(call, 1), input<float>(call, 2));
}

// Between float32 and a half.
void run_narrow_cast(const KernelCall& call) {
  const Dtype src = call.inputs[0].dtype, dst = call.outputs[0].dtype;
  const int64_t count = elements(call.outputs[0]);
  const auto same = [] __device__(float x) { return x; };
  with_half(is_half(src) ? src : dst, [&](auto type) {
    using T = typename decltype(type)::type;
    if (is_half(src))
      map_light(call, output<float>(call, 0), count, same, input<T>(call, 0));
    else
      map_light(call, output<T>(call, 0), count, same, input<float>(call, 0));
  });
}

const char* narrow_cast_declines(const KernelCall& call) {
  const Dtype src = call.inputs[0].dtype, dst = call.outputs[0].dtype;
  const bool widens = is_half(src) && dst == Dtype::float32;
  const bool narrows = src == Dtype::float32 && is_half(dst);
  return widens || narrows ? nullptr : "only between float32 and bfloat16 or float16";
}

template <class From, class To>
void cast(const KernelCall& call, const From* src, To* dst) {
  for_each(call, elements(call.outputs[0]),
           [=] __device__(int64_t i) { dst[i] = convert<To>(src[i]); });
}

void run_cast(const KernelCall& call) {
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  with_type(src.dtype, [&](auto from) {
    with_type(dst.dtype, [&](auto to) {
      using From = typename decltype(from)::type;
      using To = typename decltype(to)::type;
      cast(call, static_cast<const From*>(src.data), static_cast<To*>(dst.data));
    });
  });
}

template <class T>
void fill(const KernelCall& call, int64_t count, const T& value) {
  T* dst = output<T>(call, 0);
  for_each(call, count, [=] __device__(int64_t i) { dst[i] = value; });
}

void run_fill(const KernelCall& call) {
  const Tensor& dst = call.outputs[0];
  const double value = attrs<FillAttrs>(call).value;
  with_type(dst.dtype, [&](auto tag) {
    const auto element = convert<typename decltype(tag)::type>(value);
    if (is_aligned(dst.data) && bytes(dst) % kPackBytes == 0)
      fill(call, bytes(dst) / kPackBytes, chunk_of(&element, sizeof element));
    else
      fill(call, elements(dst), element);
  });
}

void run_copy(const KernelCall& call) {
  const char* src = input<char>(call, 0);
  char* dst = output<char>(call, 0);
  const int64_t count = bytes(call.outputs[0]);
  if (src == dst) return;
  const bool words = count % 4 == 0 &&
                     (reinterpret_cast<uintptr_t>(src) | reinterpret_cast<uintptr_t>(dst)) % 4 == 0;
  if (words)
    map_light(
        call, reinterpret_cast<float*>(dst), count / 4, [=] __device__(float x) { return x; },
        reinterpret_cast<const float*>(src));
  else
    for_each(call, count, [=] __device__(int64_t i) { dst[i] = src[i]; });
}

constexpr Kernel kUnary[] = {{"map", needs_float, nullptr, run_unary}};
constexpr Kernel kBinary[] = {{"map", needs_float, nullptr, run_binary},
                              {"wide", wide_declines, nullptr, run_wide_binary}};
constexpr Kernel kSelect[] = {{"map", needs_float32, nullptr, run_select}};
constexpr Kernel kCast[] = {{"map", narrow_cast_declines, nullptr, run_narrow_cast},
                            {"cast", nullptr, nullptr, run_cast}};
constexpr Kernel kFill[] = {{"fill", nullptr, nullptr, run_fill}};
constexpr Kernel kCopy[] = {{"copy", nullptr, nullptr, run_copy}};

}  // namespace

KernelList elementwise_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::unary: return list(kUnary);
    case OpKind::binary: return list(kBinary);
    case OpKind::select: return list(kSelect);
    case OpKind::cast: return list(kCast);
    case OpKind::fill: return list(kFill);
    case OpKind::copy: return list(kCopy);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cuda
