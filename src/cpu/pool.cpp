// Pooling, forward: a window slides over N D H W C, every channel for itself. What is done with
// the window's elements is one small class per op; here stands the walk.
#include "pool_window.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

// Lane i becomes lane i - lanes; what comes in at the end does not matter.
template <class Vector>
static inline Vector shift(Vector v, int64_t lanes) {
  Vector pair[2] = {v, v}, result;
  __builtin_memcpy(&result, reinterpret_cast<const char*>(pair) + 4 * lanes, sizeof result);
  return result;
}

// The first NaN, else the first maximum: taps come in row-major order.
class Maximum {
 public:
  static constexpr float kNeutral = -__builtin_inff();
  Maximum(const PoolAttrs&, vint first) : value_(splat(kNeutral)), index_(first) {}
  void add(vfloat x, vint position) { take(~(x <= value_) & (value_ == value_), x, position); }
  void end_row() {}
  void merge(const Maximum& later) {
    const vint nan = is_nan(value_) & is_nan(later.value_);
    const vint tie = (later.value_ == value_) | nan;
    const vint better = ~(later.value_ <= value_) & (value_ == value_);
    take(better | (tie & (later.index_ < index_)), later.value_, later.index_);
  }
  vfloat result(const PoolAttrs&, int64_t) const { return value_; }
  vint index() const { return index_; }
  Maximum shifted(int64_t lanes) const {
    Maximum result = *this;
    result.value_ = shift(value_, lanes);
    result.index_ = shift(index_, lanes);
    return result;
  }

 private:
  void take(vint when, vfloat value, vint index) {
    value_ = when ? value : value_;
    index_ = when ? index : index_;
  }
  vfloat value_;
  vint index_;
};

// The value alone. Comparing loses NaN but the sum keeps it, and then the window is walked again.
class Largest {
 public:
  using Exact = Maximum;
  static constexpr float kNeutral = -__builtin_inff();
  Largest(const PoolAttrs&, vint) {}
  bool is_exact() const { return !any_nan(sum_); }
  void add(vfloat x, vint) {
    value_ = max(x, value_);
    sum_ += x;
  }
  void end_row() {}
  void merge(const Largest& later) {
    value_ = max(later.value_, value_);
    sum_ += later.sum_;
  }
  vfloat result(const PoolAttrs&, int64_t) const { return value_; }
  vint index() const { return vint{}; }
  Largest shifted(int64_t lanes) const {
    Largest result = *this;
    result.value_ = shift(value_, lanes);
    result.sum_ = shift(sum_, lanes);
    return result;
  }

 private:
  vfloat value_ = splat(kNeutral), sum_ = {};
};

// Rows are summed apart, which keeps the rounding of large windows small.
class Sum {
 public:
  static constexpr float kNeutral = 0;
  Sum(const PoolAttrs&, vint) {}
  void add(vfloat x, vint) { row_ += x; }
  void end_row() {
    total_ += row_;
    row_ = vfloat{};
  }
  void merge(const Sum& later) { total_ += later.total_; }
  vint index() const { return vint{}; }
  Sum shifted(int64_t lanes) const {
    Sum result = *this;
    result.total_ = shift(total_, lanes);
    return result;
  }

 protected:
  vfloat total_ = {}, row_ = {};
};

class Average : public Sum {
 public:
  using Sum::Sum;
  Average shifted(int64_t lanes) const { return Average(Sum::shifted(lanes)); }
  explicit Average(const Sum& sum) : Sum(sum) {}
  vfloat result(const PoolAttrs& a, int64_t count) const {
    const int64_t* k = a.geometry.kernel;
    const int64_t divisor = a.count_include_pad ? k[0] * k[1] * k[2] : count;
    return divisor > 0 ? total_ / splat((float)divisor) : vfloat{};
  }
};

class AbsoluteSum : public Sum {
 public:
  using Sum::Sum;
  explicit AbsoluteSum(const Sum& sum) : Sum(sum) {}
  void add(vfloat x, vint) { row_ += abs(x); }
  AbsoluteSum shifted(int64_t lanes) const { return AbsoluteSum(Sum::shifted(lanes)); }
  vfloat result(const PoolAttrs&, int64_t) const { return total_; }
};

class Euclidean : public Sum {
 public:
  using Sum::Sum;
  explicit Euclidean(const Sum& sum) : Sum(sum) {}
  void add(vfloat x, vint) { row_ += x * x; }
  Euclidean shifted(int64_t lanes) const { return Euclidean(Sum::shifted(lanes)); }
  vfloat result(const PoolAttrs&, int64_t) const { return sqrt(total_); }
};

// |x|^p leaves the range of float soon, so the largest |x| so far is taken out of the sum.
class LpNorm {
 public:
  static constexpr float kNeutral = 0;
  LpNorm(const PoolAttrs& a, vint) : p_(splat(a.p)) {}
  void add(vfloat x, vint) { row_.merge({abs(x), splat(1.0f)}, p_); }
  void end_row() {
    total_.merge(row_, p_);
    row_ = Scaled{};
  }
  void merge(const LpNorm& later) { total_.merge(later.total_, p_); }
  vint index() const { return vint{}; }
  LpNorm shifted(int64_t lanes) const {
    LpNorm result = *this;
    result.total_ = {shift(total_.scale, lanes), shift(total_.sum, lanes)};
    return result;
  }
  vfloat result(const PoolAttrs&, int64_t) const {
    return total_.scale * pow(total_.sum, 1.0f / p_);
  }

 private:
  struct Scaled {  // the sum of |x|^p is scale^p sum
    vfloat scale = {}, sum = {};
    void merge(const Scaled& other, vfloat p) {
      const vint more = other.scale > scale;
      const vfloat large = more ? other.scale : scale, small = more ? scale : other.scale;
      const vfloat weight = pow(small == large ? splat(1.0f) : small / large, p);
      sum = more ? other.sum + sum * weight : sum + other.sum * weight;
      scale = large;
    }
  };
  vfloat p_;
  Scaled total_, row_;
};

// One call of an op, for one sample.
template <class T>
struct Map {
  const PoolAttrs& attrs;
  const T* src;
  int64_t position(const Window& win, int64_t t, int64_t r) const {
    const WindowGeometry& g = attrs.geometry;
    const int64_t d = win.d.first + t * g.dilation[0], h = win.h.first + r * g.dilation[1];
    return (d * g.input[1] + h) * g.input[2] + win.w.first;
  }
};

// Feeds a window to `count` neighbouring vectors of channels, from channel c on.
template <int count, bool full, class Op, class T>
static inline void walk(const Map<T>& map, const Window& win, int64_t c, int64_t lanes, Op* ops) {
  const WindowGeometry& g = map.attrs.geometry;
  const int64_t C = g.in_channels;
  for (int64_t t = 0; t < win.d.count; ++t) {
    for (int64_t r = 0; r < win.h.count; ++r) {
      int64_t position = map.position(win, t, r);
      for (int64_t s = 0; s < win.w.count; ++s, position += g.dilation[2]) {
        const T* p = map.src + position * C + c;
        for (int v = 0; v < count; ++v)
          ops[v].add(full ? load(p + v * kLanes) : load_part(p, lanes), splat((int32_t)position));
      }
      for (int v = 0; v < count; ++v) ops[v].end_row();
    }
  }
}

// The same for few channels in a wide window: as many neighbouring positions as fit stand in the
// lanes of one vector, and are merged at the end.
template <class Op, class T>
static inline void walk_narrow(const Map<T>& map, const Window& win, Op& op) {
  const int64_t C = map.attrs.geometry.in_channels, group = kLanes / C;
  vint offset;
  for (int i = 0; i < kLanes; ++i) offset[i] = (int32_t)(i / C);
  for (int64_t t = 0; t < win.d.count; ++t) {
    for (int64_t r = 0; r < win.h.count; ++r) {
      const int64_t position = map.position(win, t, r);
      for (int64_t s = 0; s < win.w.count; s += group) {
        const int64_t left = win.w.count - s, lanes = (left < group ? left : group) * C;
        const vfloat x = load_part(map.src + (position + s) * C, lanes);
        const vint position_of_lane = splat((int32_t)(position + s)) + offset;
        op.add(first_lanes(lanes) ? x : splat(Op::kNeutral), position_of_lane);
      }
      op.end_row();
    }
  }
  const Op all = op;
  for (int64_t i = 1; i < group; ++i) op.merge(all.shifted(i * C));
}

// Few channels: neighbouring outputs of a line stand side by side in the lanes, while their windows
// lie inside the line.
template <class T>
class Neighbours {
 public:
  Neighbours(const WindowGeometry& g, const T* src)
      : g_(g), count_(g.stride[2] <= 2 ? kLanes / g.in_channels : 0) {
    end_ = src + g.batch * g.input[0] * g.input[1] * g.input[2] * g.in_channels;
    for (int i = 0; i < kLanes && count_ > 1; ++i) {
      const int64_t output = i / g.in_channels * g.stride[2];
      offset_[i] = (int32_t)output;
      order_[i] = (int32_t)(output * g.in_channels + i % g.in_channels);
    }
  }
  int64_t count() const { return count_; }
  int64_t lanes() const { return count_ * g_.in_channels; }
  vint positions(int64_t first) const { return splat((int32_t)first) + offset_; }

  // The outputs [begin, end) of a line from which `count` can be taken together.
  Cover fit(const Map<T>& map, const Window& win) const {
    if (count_ < 2 || win.d.count * win.h.count == 0) return {0, 0};
    const int64_t reach = (g_.kernel[2] - 1) * g_.dilation[2] - g_.pad_before[2];
    const int64_t inside = g_.input[2] - reach - 1 - (count_ - 1) * g_.stride[2];
    // The last loads must not leave the source.
    const Window line = {win.d, win.h, {0, 1}};
    const T* last = map.src + map.position(line, win.d.count - 1, win.h.count - 1) * C();
    const int64_t room = end_ - last - 2 * kLanes;
    const int64_t readable = room < 0 ? -1 : room / C() - reach;
    const int64_t most = inside < readable ? inside : readable;
    const int64_t end = most < 0 ? 0 : most / g_.stride[2] + 1, fits = g_.output[2] - count_ + 1;
    return {ceil_div(g_.pad_before[2], g_.stride[2]), end < fits ? end : fits};
  }

  template <class Op>
  void walk(const Map<T>& map, const Window& win, Op& op) const {
    for (int64_t t = 0; t < win.d.count; ++t) {
      for (int64_t r = 0; r < win.h.count; ++r) {
        int64_t position = map.position(win, t, r);
        for (int64_t s = 0; s < win.w.count; ++s, position += g_.dilation[2]) {
          const T* p = map.src + position * C();
          op.add(__builtin_shuffle(load(p), load(p + kLanes), order_), positions(position));
        }
        op.end_row();
      }
    }
  }

 private:
  int64_t C() const { return g_.in_channels; }

  const WindowGeometry& g_;
  int64_t count_;
  const T* end_;
  vint offset_ = {}, order_ = {};
};

constexpr int kUnroll = 4;
constexpr int64_t kChunk = kUnroll * kLanes;  // channels of one task when there are few rows

template <class T>
struct Result {
  T* dst;
  int32_t* indices;  // may be null
  bool streams;      // past the caches
};

// `again` walks the window with another op.
template <class Op, class T, class Again>
static inline void keep(const Map<T>& map, const Window& win, const Op& op, const Result<T>& out,
                        int64_t c, int64_t lanes, const Again& again) {
  if constexpr (requires { op.is_exact(); })
    if (!op.is_exact()) {
      typename Op::Exact exact(map.attrs, vint{});
      again(exact);
      return keep(map, win, exact, out, c, lanes, again);
    }
  const vfloat value = op.result(map.attrs, win.count());
  out.streams ? stream(out.dst + c, value) : store_lanes(out.dst + c, value, lanes);
  if (!out.indices) return;
  out.streams ? stream(out.indices + c, op.index())
              : store_lanes(out.indices + c, op.index(), lanes);
}

// Channels [begin, end) of one output position.
template <class Op, class T>
static inline void pool_position(const Map<T>& map, const Window& win, const Result<T>& out,
                                 int64_t begin, int64_t end) {
  const int64_t C = map.attrs.geometry.in_channels;
  const vint first = splat((int32_t)map.position(win, 0, 0));
  int64_t c = begin;
  for (; c + kChunk <= end; c += kChunk) {
    Op ops[kUnroll] = {
        {map.attrs, first}, {map.attrs, first}, {map.attrs, first}, {map.attrs, first}};
    walk<kUnroll, true>(map, win, c, kLanes, ops);
    for (int v = 0; v < kUnroll; ++v)
      keep(map, win, ops[v], out, c + v * kLanes, kLanes,
           [&](auto& op) { walk<1, true>(map, win, c + v * kLanes, kLanes, &op); });
  }
  const bool wide =
      2 * C <= kLanes && map.attrs.geometry.dilation[2] == 1 && win.w.count * C >= kLanes;
  for (; c < end; c += kLanes) {
    if (c + kLanes > C && C >= kLanes) c = C - kLanes;
    const auto walk_once = [&](auto& op) {
      if (C >= kLanes) return walk<1, true>(map, win, c, kLanes, &op);
      wide ? walk_narrow(map, win, op) : walk<1, false>(map, win, 0, C, &op);
    };
    Op op(map.attrs, first);
    walk_once(op);
    keep(map, win, op, out, c, C < kLanes ? C : kLanes, walk_once);
  }
}

template <class Op, class T>
static inline void pool_neighbours(const Map<T>& map, const Window& win,
                                   const Neighbours<T>& neighbours, const Result<T>& out) {
  Op op(map.attrs, neighbours.positions(map.position(win, 0, 0)));
  const auto walk_once = [&](auto& any) { neighbours.walk(map, win, any); };
  walk_once(op);
  keep(map, win, op, out, 0, neighbours.lanes(), walk_once);
}

// Output row `row` of N O P.
template <class Op, class T>
static void pool_row(const KernelCall& call, const Neighbours<T>& neighbours, int64_t row,
                     int64_t begin, int64_t end, bool streams) {
  const PoolAttrs& a = attrs<PoolAttrs>(call);
  const WindowGeometry& g = a.geometry;
  const int64_t O = g.output[0], P = g.output[1], Q = g.output[2], C = g.in_channels;
  const int64_t n = row / (O * P), map_size = g.input[0] * g.input[1] * g.input[2] * C;
  const Map<T> map{a, input<T>(call, 0) + n * map_size};
  Window win{span(g, 0, row / P % O), span(g, 1, row % P), {}};
  int32_t* indices = call.n_outputs > 1 ? output<int32_t>(call, 1) : nullptr;
  const Cover fit = neighbours.fit(map, win);
  for (int64_t q = 0, step; q < Q; q += step) {
    const int64_t at = (row * Q + q) * C;
    win.w = span(g, 2, q);
    const Result<T> out{output<T>(call, 0) + at, indices ? indices + at : nullptr, streams};
    const bool together = q >= fit.begin && q < fit.end;
    step = together ? neighbours.count() : 1;
    if (together)
      pool_neighbours<Op>(map, win, neighbours, out);
    else
      pool_position<Op>(map, win, out, begin, end);
  }
}

// Work is cut into blocks of rows, and where there are only a few rows also by channels.
template <class Op, class T>
static void pool_as(const KernelCall& call) {
  const WindowGeometry& g = attrs<PoolAttrs>(call).geometry;
  const int64_t rows = g.batch * g.output[0] * g.output[1], C = g.in_channels;
  const int64_t taps = g.kernel[0] * g.kernel[1] * g.kernel[2];
  const int64_t chunk = rows < 16 && C > kChunk ? kChunk : C, chunks = ceil_div(C, chunk);
  const int64_t row_work = g.output[2] * taps * (chunk < kLanes ? kLanes : chunk);
  const int64_t block = row_work < 32768 ? ceil_div(32768, row_work) : 1;
  const Neighbours<T> neighbours(g, input<T>(call, 0));
  bool streams = C % kLanes == 0;
  for (int i = 0; i < call.n_outputs; ++i)
    if (call.outputs[i].data)
      streams &= worth_streaming(call.outputs[i].data, bytes(call.outputs[i]));
  parallel_for(ceil_div(rows, block) * chunks, block * row_work, [&](int64_t task) {
    const int64_t first = task / chunks * block, begin = task % chunks * chunk;
    const int64_t last = first + block < rows ? first + block : rows;
    const int64_t end = begin + chunk < C ? begin + chunk : C;
    for (int64_t row = first; row < last; ++row)
      pool_row<Op>(call, neighbours, row, begin, end, streams);
    if (streams) stream_end();
  });
}

template <class Op>
static void pool(const KernelCall& call) {
  with_float(call, [&](auto tag) { pool_as<Op, typename decltype(tag)::type>(call); });
}

void max_pool(const KernelCall& call) {
  const bool indices = call.n_outputs > 1 && call.outputs[1].data;
  indices ? pool<Maximum>(call) : pool<Largest>(call);
}

void lp_pool(const KernelCall& call) {
  const float p = attrs<PoolAttrs>(call).p;
  if (p == 2)
    pool<Euclidean>(call);
  else if (p == 1)
    pool<AbsoluteSum>(call);
  else
    pool<LpNorm>(call);
}

const char* max_declines(const KernelCall& call) {
  const int64_t* input = attrs<PoolAttrs>(call).geometry.input;
  if (input[0] * input[1] * input[2] > INT32_MAX) return "positions do not fit an int32 index";
  return needs_float(call);
}

constexpr Kernel kMax[] = {{"max_pool", max_declines, nullptr, max_pool},
                           {"max_pool_bytes", max_bytes_declines, nullptr, max_pool_bytes}};
constexpr Kernel kMaxBackward[] = {{"max_pool_backward", max_declines, nullptr, max_pool_backward}};
constexpr Kernel kAverage[] = {{"average_pool", needs_float, nullptr, pool<Average>}};
constexpr Kernel kAverageBackward[] = {
    {"average_pool_backward", needs_float, pool_backward_workspace, average_pool_backward}};
constexpr Kernel kLp[] = {{"lp_pool", needs_float, nullptr, lp_pool}};
constexpr Kernel kLpBackward[] = {
    {"lp_pool_backward", needs_float32, lp_pool_backward_workspace, lp_pool_backward}};

}  // namespace

KernelList pool_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::max_pool: return list(kMax);
    case OpKind::max_pool_backward: return list(kMaxBackward);
    case OpKind::average_pool: return list(kAverage);
    case OpKind::average_pool_backward: return list(kAverageBackward);
    case OpKind::lp_pool: return list(kLp);
    case OpKind::lp_pool_backward: return list(kLpBackward);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cpu::FASTCONV_ISA
