// Element by element: unary, binary with broadcasting, cast, fill, copy. The output may be the
// memory of input 0 where both have the same shape.
#include "activation.h"
#include "broadcast.h"
#include "convert.h"
#include "kernels.h"
#include "map.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

inline vfloat truth(vint mask) { return mask ? splat(1.0f) : splat(0.0f); }

template <UnaryOp Op>
inline vfloat apply(vfloat x) {
  if constexpr (Op == UnaryOp::negative)
    return -x;
  else if constexpr (Op == UnaryOp::absolute)
    return abs(x);
  else if constexpr (Op == UnaryOp::exp)
    return exp(x);
  else if constexpr (Op == UnaryOp::log)
    return log(x);
  else if constexpr (Op == UnaryOp::sqrt)
    return sqrt(x);
  else if constexpr (Op == UnaryOp::rsqrt)
    return 1.0f / sqrt(x);
  else if constexpr (Op == UnaryOp::square)
    return x * x;
  else if constexpr (Op == UnaryOp::reciprocal)
    return 1.0f / x;
  else if constexpr (Op == UnaryOp::sign)
    return sign(x);
  else if constexpr (Op == UnaryOp::floor)
    return floor(x);
  else if constexpr (Op == UnaryOp::round)
    return round(x);
  else if constexpr (Op == UnaryOp::sin)
    return sin(x);
  else if constexpr (Op == UnaryOp::cos)
    return cos(x);
  else if constexpr (Op == UnaryOp::erf)
    return erf(x);
  else
    return truth(abs(x) < kInfinity);
}

template <UnaryOp Op>
void run_unary_op(const KernelCall& call) {
  constexpr bool cheap = Op == UnaryOp::negative || Op == UnaryOp::absolute ||
                         Op == UnaryOp::square || Op == UnaryOp::floor;
  with_float(call, [&](auto type) {
    using T = typename decltype(type)::type;
    map(input<T>(call, 0), output<T>(call, 0), elements(call.outputs[0]), cheap ? 1 : 8,
        [](vfloat x) { return apply<Op>(x); });
  });
}

void run_unary(const KernelCall& call) {
  using enum UnaryOp;
  switch (attrs<UnaryAttrs>(call).op) {
    case negative: return run_unary_op<negative>(call);
    case absolute: return run_unary_op<absolute>(call);
    case exp: return run_unary_op<exp>(call);
    case log: return run_unary_op<log>(call);
    case sqrt: return run_unary_op<sqrt>(call);
    case rsqrt: return run_unary_op<rsqrt>(call);
    case square: return run_unary_op<square>(call);
    case reciprocal: return run_unary_op<reciprocal>(call);
    case sign: return run_unary_op<sign>(call);
    case floor: return run_unary_op<floor>(call);
    case round: return run_unary_op<round>(call);
    case sin: return run_unary_op<sin>(call);
    case cos: return run_unary_op<cos>(call);
    case erf: return run_unary_op<erf>(call);
    case is_finite: return run_unary_op<is_finite>(call);
  }
}

template <BinaryOp Op>
struct BinaryTag {
  static constexpr BinaryOp value = Op;
};

template <class F>
inline void with_binary(BinaryOp op, const F& f) {
  using enum BinaryOp;
  switch (op) {
    case add: return f(BinaryTag<add>{});
    case subtract: return f(BinaryTag<subtract>{});
    case multiply: return f(BinaryTag<multiply>{});
    case divide: return f(BinaryTag<divide>{});
    case maximum: return f(BinaryTag<maximum>{});
    case minimum: return f(BinaryTag<minimum>{});
    case power: return f(BinaryTag<power>{});
    case equal: return f(BinaryTag<equal>{});
    case greater: return f(BinaryTag<greater>{});
    case greater_equal: return f(BinaryTag<greater_equal>{});
  }
}

inline vfloat as_number(vint mask, vfloat) { return truth(mask); }
template <class T>
inline T as_number(bool yes, T) {
  return yes;
}

// For vectors and for numbers. Comparisons give 1 or 0; maximum and minimum hand NaN on.
template <BinaryOp Op, class T>
inline T apply(T a, T b) {
  if constexpr (Op == BinaryOp::add)
    return a + b;
  else if constexpr (Op == BinaryOp::subtract)
    return a - b;
  else if constexpr (Op == BinaryOp::multiply)
    return a * b;
  else if constexpr (Op == BinaryOp::divide)
    return a / b;
  else if constexpr (Op == BinaryOp::maximum)
    return ((a > b) | (a != a)) ? a : b;
  else if constexpr (Op == BinaryOp::minimum)
    return ((a < b) | (a != a)) ? a : b;
  else if constexpr (Op == BinaryOp::power)
    return pow(a, b);
  else if constexpr (Op == BinaryOp::equal)
    return as_number(a == b, a);
  else if constexpr (Op == BinaryOp::greater)
    return as_number(a > b, a);
  else
    return as_number(a >= b, a);
}

template <class T>
constexpr bool kVectors = false;  // whether the arithmetic is that of vfloat
template <>
inline constexpr bool kVectors<float> = true;
template <>
inline constexpr bool kVectors<BFloat16> = true;

// One row; a stride of 0 repeats the operand.
template <BinaryOp Op, class T>
  requires kVectors<T>
inline void binary_row(const T* a, int64_t step_a, const T* b, int64_t step_b, T* dst,
                       int64_t count) {
  if (step_a == 1 && step_b == 1) {
    map_range(a, b, dst, count, [](vfloat x, vfloat y) { return apply<Op>(x, y); });
  } else if (step_a == 1) {
    map_range(a, dst, count, [y = splat(to_float(*b))](vfloat x) { return apply<Op>(x, y); });
  } else if (step_b == 1) {
    map_range(b, dst, count, [x = splat(to_float(*a))](vfloat y) { return apply<Op>(x, y); });
  } else {
    const vfloat value = apply<Op>(splat(to_float(*a)), splat(to_float(*b)));
    map_range(dst, dst, count, [value](vfloat) { return value; });
  }
}

template <BinaryOp Op, class T>
inline void binary_row(const T* a, int64_t step_a, const T* b, int64_t step_b, T* dst,
                       int64_t count) {
  if (step_a == 1 && step_b == 1) {
    for (int64_t i = 0; i < count; ++i) dst[i] = apply<Op>(a[i], b[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) dst[i] = apply<Op>(a[i * step_a], b[i * step_b]);
  }
}

// Short rows are gathered into buffers of about this many elements, which fit the first cache.
constexpr int64_t kGather = 1024;
constexpr int64_t kShortRow = 64;

// Rows [begin, end) of one operand, side by side.
template <class T>
inline void gather_rows(const BroadcastPlan& plan, const T* src, bool first, int64_t begin,
                        int64_t end, T* buffer) {
  const int64_t inner = plan.inner(), step = first ? plan.inner_a() : plan.inner_b();
  for (int64_t row = begin; row < end; ++row, buffer += inner) {
    const Offsets at = plan.row_offsets(row);
    const T* from = src + (first ? at.a : at.b);
    for (int64_t i = 0; i < inner; ++i) buffer[i] = from[i * step];
  }
}

// An operand of a task over short rows: in place if dense, gathered otherwise, and gathered only
// once if every row is the same.
template <class T>
struct ShortRows {
  const BroadcastPlan& plan;
  const T* src;
  bool first, dense, same;
  T buffer[kGather];
  int64_t gathered = 0;

  ShortRows(const BroadcastPlan& p, const T* source, bool is_first)
      : plan(p), src(source), first(is_first) {
    const int64_t* strides = first ? p.a : p.b;
    int64_t step = 1;
    dense = true;
    for (int i = p.rank - 1; i >= 0; step *= p.dims[i--]) dense &= strides[i] == step;
    same = p.rank == 2 && strides[0] == 0;
  }

  const T* rows(int64_t begin, int64_t end) {
    if (dense) return src + begin * plan.inner();
    if (!same || gathered < end - begin) gather_rows(plan, src, first, begin, end, buffer);
    gathered = end - begin;
    return buffer;
  }
};

template <BinaryOp Op, class T>
void binary_short_rows(const BroadcastPlan& plan, const T* a, const T* b, T* dst, int64_t work) {
  const int64_t inner = plan.inner(), step = kGather / inner, block = 16 * step;
  parallel_blocks(plan.rows, block, inner * work * 2, [&](int64_t begin, int64_t end) {
    ShortRows<T> rows_a(plan, a, true), rows_b(plan, b, false);
    for (int64_t row = begin; row < end; row += step) {
      const int64_t stop = row + step < end ? row + step : end;
      binary_row<Op>(rows_a.rows(row, stop), 1, rows_b.rows(row, stop), 1, dst + row * inner,
                     (stop - row) * inner);
    }
  });
}

template <class T>
void run_binary(const KernelCall& call) {
  const T *a = input<T>(call, 0), *b = input<T>(call, 1);
  T* dst = output<T>(call, 0);
  const BroadcastPlan plan = plan_broadcast(call.inputs[0], call.inputs[1], call.outputs[0]);
  if (plan.inner() == 0 || plan.rows == 0) return;
  with_binary(attrs<BinaryAttrs>(call).op, [&](auto tag) {
    constexpr BinaryOp op = tag.value;
    constexpr int64_t work = op == BinaryOp::power ? 16 : 1;
    if constexpr (op != BinaryOp::power || kVectors<T>) {
      if constexpr (kVectors<T>)
        if (plan.rank == 1 && plan.inner_a() == 1 && plan.inner_b() == 1)
          return map(a, b, dst, plan.inner(), work,
                     [](vfloat x, vfloat y) { return apply<op>(x, y); });
      if (plan.rank > 1 && plan.inner() < kShortRow)
        return binary_short_rows<op>(plan, a, b, dst, work);
      for_broadcast_rows(plan, work, [&](int64_t at, Offsets from, int64_t count) {
        binary_row<op>(a + from.a, plan.inner_a(), b + from.b, plan.inner_b(), dst + at, count);
      });
    }
  });
}

const char* wide_declines(const KernelCall& call) {
  const Dtype dtype = call.inputs[0].dtype;
  const BinaryOp op = attrs<BinaryAttrs>(call).op;
  if (dtype != Dtype::float64 && dtype != Dtype::int64) return "only float64 and int64";
  if (op == BinaryOp::power) return "no power in float64 and int64";
  if (op == BinaryOp::divide && dtype == Dtype::int64) return "no division of integers";
  return nullptr;
}

void run_wide_binary(const KernelCall& call) {
  if (call.inputs[0].dtype == Dtype::float64)
    run_binary<double>(call);
  else
    run_binary<int64_t>(call);
}

void run_select(const KernelCall& call) {
  const float *condition = input<float>(call, 0), *a = input<float>(call, 1);
  const float* b = input<float>(call, 2);
  float* dst = output<float>(call, 0);
  const bool in_place = dst == condition || dst == a || dst == b;
  map_blocks(
      dst, elements(call.outputs[0]), 1, in_place, [=](int64_t begin, int64_t end, bool streams) {
        for_vectors(begin, end, [=](int64_t i, int64_t lanes) {
          const vfloat yes = load_lanes(a + i, lanes), no = load_lanes(b + i, lanes);
          const vfloat value = load_lanes(condition + i, lanes) != 0 ? yes : no;
          streams&& lanes == kLanes ? stream(dst + i, value) : store_lanes(dst + i, value, lanes);
        });
      });
}

// May run in place where both types have one size: each iteration touches only its own element.
template <class From, class To>
inline void cast_range(const From* src, To* dst, int64_t count) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    From from;
    __builtin_memcpy(&from, src + i, sizeof from);
    const To to = convert<To>(from);
    __builtin_memcpy(dst + i, &to, sizeof to);
  }
}

// Between float32 and bfloat16.
void run_vector_cast(const KernelCall& call) {
  const int64_t count = elements(call.outputs[0]);
  const auto same = [](vfloat x) { return x; };
  if (is_bfloat16(call))
    map(input<BFloat16>(call, 0), output<float>(call, 0), count, 1, same);
  else
    map(input<float>(call, 0), output<BFloat16>(call, 0), count, 1, same);
}

const char* vector_cast_declines(const KernelCall& call) {
  const Dtype src = call.inputs[0].dtype, dst = call.outputs[0].dtype;
  const bool widens = src == Dtype::bfloat16 && dst == Dtype::float32;
  const bool narrows = src == Dtype::float32 && dst == Dtype::bfloat16;
  return widens || narrows ? nullptr : "only between float32 and bfloat16";
}

void run_cast(const KernelCall& call) {
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  with_type(src.dtype, [&](auto from) {
    with_type(dst.dtype, [&](auto to) {
      using From = typename decltype(from)::type;
      using To = typename decltype(to)::type;
      parallel_blocks(elements(dst), kMapBlock, 2, [&](int64_t begin, int64_t end) {
        cast_range(static_cast<const From*>(src.data) + begin, static_cast<To*>(dst.data) + begin,
                   end - begin);
      });
    });
  });
}

void run_fill(const KernelCall& call) {
  const Tensor& dst = call.outputs[0];
  const double value = attrs<FillAttrs>(call).value;
  with_type(dst.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T element = convert<T>(value);
    T* to = static_cast<T*>(dst.data);
    parallel_blocks(elements(dst), kMapBlock, 1, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = element;
    });
  });
}

void run_copy(const KernelCall& call) {
  const char* src = input<char>(call, 0);
  char* dst = output<char>(call, 0);
  const int64_t words = bytes(call.outputs[0]) / 4, rest = bytes(call.outputs[0]) % 4;
  if (src == dst) return;
  map(reinterpret_cast<const float*>(src), reinterpret_cast<float*>(dst), words, 4,
      [](vfloat x) { return x; });
  __builtin_memcpy(dst + 4 * words, src + 4 * words, (size_t)rest);
}

void run_vector_binary(const KernelCall& call) {
  with_float(call, [&](auto tag) { run_binary<typename decltype(tag)::type>(call); });
}

constexpr Kernel kUnary[] = {{"vector", needs_float, nullptr, run_unary}};
constexpr Kernel kBinary[] = {{"vector", needs_float, nullptr, run_vector_binary},
                              {"wide", wide_declines, nullptr, run_wide_binary}};
constexpr Kernel kSelect[] = {{"vector", needs_float32, nullptr, run_select}};
constexpr Kernel kCast[] = {{"vector", vector_cast_declines, nullptr, run_vector_cast},
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

}  // namespace fastconv::cpu::FASTCONV_ISA
