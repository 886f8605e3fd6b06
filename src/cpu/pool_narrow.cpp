// Maximum and average pooling of few channels, line by line: vectors hold neighbouring pixels. The
// rows of the windows are combined first, for all columns of the line, then the columns.
#include "pool_window.h"
#include "vector_math.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kMostFloats = 4096;  // of a line, its padding included
constexpr int64_t kTaskWork = 65536;

struct Value {
  vfloat x;
  vint position;
};

// The first NaN, else the first maximum, in row-major order: equal ones are told by position.
template <bool Indices>
struct Maximum {
  static constexpr bool indices = Indices;
  static constexpr float kNeutral = -kInfinity;
  // One selection a comparison: GCC takes a mask that was computed from others apart, bit by bit.
  static Value combine(const Value& a, const Value& b) {
    const vfloat larger = b.x > a.x ? b.x : a.x;
    const vfloat x = is_nan(b.x) ? b.x : larger;
    if constexpr (!Indices) return {x, a.position};
    const vint first = b.position < a.position ? b.position : a.position;
    const vint of_larger = b.x > a.x ? b.position : a.position;
    const vint of_number = b.x == a.x ? first : of_larger;
    const vint of_nan = is_nan(a.x) ? first : b.position;
    return {x, is_nan(b.x) ? of_nan : of_number};
  }
  static vfloat result(const PoolAttrs&, vfloat x, int64_t) { return x; }
};

struct Average {
  static constexpr bool indices = false;
  static constexpr float kNeutral = 0;
  static Value combine(const Value& a, const Value& b) { return {a.x + b.x, a.position}; }
  static vfloat result(const PoolAttrs& a, vfloat x, int64_t count) {
    const int64_t* k = a.geometry.kernel;
    const int64_t divisor = a.count_include_pad ? k[0] * k[1] * k[2] : count;
    return divisor > 0 ? x / splat((float)divisor) : vfloat{};
  }
};

// One line of windows, [columns][C] with column j at pixel j - pad_before[2] = offset[j].
// Vectors may reach behind the end.
struct Line {
  int64_t columns;
  alignas(64) float x[kMostFloats + kLanes];
  int32_t position[kMostFloats + kLanes], offset[kMostFloats + kLanes];
};

int64_t columns_of(const WindowGeometry& g) {
  return (g.output[2] - 1) * g.stride[2] + (g.kernel[2] - 1) * g.dilation[2] + 1;
}

template <class Op>
void start(const WindowGeometry& g, Line& line) {
  line.columns = columns_of(g);
  int64_t at = 0;
  for (int64_t j = 0; j < line.columns; ++j)
    for (int64_t c = 0; c < g.in_channels; ++c, ++at) {
      line.x[at] = Op::kNeutral;  // stays in the padding
      line.position[at] = INT32_MAX;
      line.offset[at] = (int32_t)(j - g.pad_before[2]);
    }
}

// Combines the line with one row of the input, whose first pixel has the given position.
template <class Op>
void add_row(const WindowGeometry& g, const float* row, int64_t position, bool first, Line& line) {
  const int64_t pad = g.pad_before[2], C = g.in_channels;
  const int64_t begin = pad > 0 ? pad : 0, stop = g.input[2] + pad;
  const int64_t end = stop < line.columns ? stop : line.columns;
  for_vectors(begin * C, end * C, [&](int64_t i, int64_t lanes) {
    Value v = {load_lanes(row + i - pad * C, lanes), {}};
    if (Op::indices) v.position = load(line.offset + i) + (int32_t)position;
    if (!first) v = Op::combine({load(line.x + i), load(line.position + i)}, v);
    store_lanes(line.x + i, v.x, lanes);
    if (Op::indices) store_lanes(line.position + i, v.position, lanes);
  });
}

// Puts pixels of fewer than kLanes channels together to whole vectors: each goes behind those that
// a vector holds already, and what does not fit begins the next.
template <class T, class Vector>
class PixelWriter {
 public:
  explicit PixelWriter(T* dst) : dst_(dst) {
    for (int i = 0; i < kLanes; ++i) lane_[i] = i;
  }
  void append(Vector pixel, int64_t C) {
    const int32_t held = (int32_t)held_, fits = kLanes - held;
    made_ = __builtin_shuffle(made_, pixel, lane_ < held ? lane_ : lane_ + fits);
    held_ += C;
    if (held_ < kLanes) return;
    store(dst_, made_);
    dst_ += kLanes;
    held_ -= kLanes;
    made_ = __builtin_shuffle(pixel, lane_ + fits);
  }
  void finish() { store_part(dst_, made_, held_); }

 private:
  T* dst_;
  int64_t held_ = 0;
  Vector made_ = {};
  vint lane_;
};

// The windows of a line whose rows are combined.
template <class Op>
void combine_columns(const PoolAttrs& a, int64_t rows, const Line& line, float* dst,
                     int32_t* indices) {
  const WindowGeometry& g = a.geometry;
  const int64_t C = g.in_channels, step = g.dilation[2] * C;
  PixelWriter<float, vfloat> values(dst);
  PixelWriter<int32_t, vint> positions(indices);
  for (int64_t q = 0; q < g.output[2]; ++q) {
    const int64_t at = q * g.stride[2] * C;
    Value v = {load(line.x + at), load(line.position + at)};
    for (int64_t s = 1; s < g.kernel[2]; ++s)
      v = Op::combine(v, {load(line.x + at + s * step), load(line.position + at + s * step)});
    values.append(Op::result(a, v.x, rows * span(g, 2, q).count), C);
    if (Op::indices) positions.append(v.position, C);
  }
  values.finish();
  if (Op::indices) positions.finish();
}

// Output line `row` of N O P.
template <class Op>
void pool_line(const PoolAttrs& a, const float* src, int64_t row, Line& line, float* dst,
               int32_t* indices) {
  const WindowGeometry& g = a.geometry;
  const int64_t H = g.input[1], W = g.input[2], C = g.in_channels, floats = g.output[2] * C;
  const int64_t n = row / (g.output[0] * g.output[1]);
  const Span d = span(g, 0, row / g.output[1] % g.output[0]), h = span(g, 1, row % g.output[1]);
  for (int64_t t = 0; t < d.count; ++t)
    for (int64_t r = 0; r < h.count; ++r) {
      const int64_t y = (d.first + t * g.dilation[0]) * H + h.first + r * g.dilation[1];
      add_row<Op>(g, src + (n * g.input[0] * H + y) * W * C, y * W, t + r == 0, line);
    }
  combine_columns<Op>(a, d.count * h.count, line, dst + row * floats, indices + row * floats);
}

template <class Op>
void pool(const KernelCall& call) {
  const PoolAttrs& a = attrs<PoolAttrs>(call);
  const WindowGeometry& g = a.geometry;
  const int64_t work = columns_of(g) * g.in_channels * (g.kernel[0] * g.kernel[1] + g.kernel[2]);
  parallel_blocks(g.batch * g.output[0] * g.output[1], ceil_div(kTaskWork, work), work,
                  [&](int64_t begin, int64_t end) {
                    Line line;
                    start<Op>(g, line);
                    for (int64_t row = begin; row < end; ++row)
                      pool_line<Op>(a, input<float>(call, 0), row, line, output<float>(call, 0),
                                    Op::indices ? output<int32_t>(call, 1) : nullptr);
                  });
}

}  // namespace

const char* pool_narrow_declines(const KernelCall& call) {
  const WindowGeometry& g = attrs<PoolAttrs>(call).geometry;
  if (const char* reason = needs_float32(call)) return reason;
  if (g.in_channels >= kLanes) return "enough channels to fill a vector";
  if (columns_of(g) * g.in_channels > kMostFloats) return "too long a line";
  if (g.input[0] * g.input[1] * g.input[2] > INT32_MAX)
    return "positions do not fit an int32 index";
  return nullptr;
}

void max_pool_narrow(const KernelCall& call) {
  const bool indices = call.n_outputs > 1 && call.outputs[1].data;
  indices ? pool<Maximum<true>>(call) : pool<Maximum<false>>(call);
}

void average_pool_narrow(const KernelCall& call) { pool<Average>(call); }

}  // namespace fastconv::cpu::FASTCONV_ISA
