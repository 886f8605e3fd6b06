// How depthwise and grouped convolution walk: line by line of what is written, in blocks of
// neighbouring outputs. The input pixels of a block are found through a table of addresses, in
// which padding is a pixel of zeros; taps that meet the same pixel share its address, so that it is
// read once.
#pragma once
#include "conv.h"

namespace fastconv::cpu::FASTCONV_ISA {

constexpr int kBlock = 7;  // outputs whose sums stay in registers; divides 112, 56, 28, 14
constexpr int64_t kMostTaps = 1024;  // of a window
constexpr int64_t kMostWidth = 64;   // taps of its row that go with a whole block or more

static inline const char* line_declines(const KernelCall& call) {
  if (const char* reason = conv_needs_float(call)) return reason;
  if (window_taps(geometry(call)) > kMostTaps) return "too large a window";
  return nullptr;
}

// One line of outputs of one phase; T is the type of the arrays.
template <class T>
struct Line {
  int64_t index;            // among the lines N O P of what is written
  GatherAxis across;        // its axis 2
  int64_t pixel_floats;     // of the input, all groups
  int64_t rows;             // of the window that lie inside the input:
  const T* row[kMostTaps];  // their first pixels
  int64_t tap[kMostTaps];   // and first places in the weights T R S
  const T* next;            // the row below them, null if that lies outside
  const T* touched;         // the task has read the rows before this address
};

// Whether what is read outgrows the caches that a core has to itself.
static inline bool outgrows_core(const GatherProblem& p) {
  const WindowGeometry& g = *p.geometry;
  const int64_t* size = p.backward ? g.output : g.input;
  const int64_t channels = p.backward ? g.out_channels : g.in_channels;
  return g.batch * size[0] * size[1] * size[2] * channels >= int64_t{1} << 20;
}

// Reads memory in its order, which sets off the hardware that fetches ahead. The order of the
// products does not, and prefetch instructions do not either.
template <class T>
static inline void touch(const T* p, int64_t count) {
  const volatile char* bytes = reinterpret_cast<const char*>(p);
  for (int64_t i = 0; i < count * int64_t{sizeof(T)}; i += 64) static_cast<void>(bytes[i]);
}

template <class T>
static inline void touch_rows(Line<T>& line) {
  const int64_t floats = line.across.in_size * line.pixel_floats;
  for (int64_t r = 0; r < line.rows; ++r) {
    if (line.row[r] < line.touched) continue;
    touch(line.row[r], floats);
    line.touched = line.row[r] + floats;
  }
}

static inline GatherAxis axis_at(const GatherProblem& p, int a, int64_t at) {
  return p.backward ? backward_axis(*p.geometry, a, at % p.geometry->stride[a])
                    : forward_axis(*p.geometry, a);
}

template <class T>
static inline void find_rows(const GatherProblem& p, const T* in, Line<T>& line) {
  const int64_t* out_size = p.backward ? p.geometry->input : p.geometry->output;
  const int64_t y = line.index % out_size[1], z = line.index / out_size[1] % out_size[0];
  const int64_t n = line.index / out_size[1] / out_size[0];
  const GatherAxis deep = axis_at(p, 0, z), high = axis_at(p, 1, y);
  const int64_t first_z = deep.in_first + (z - deep.out_first) / deep.out_step * deep.in_step;
  const int64_t first_y = high.in_first + (y - high.out_first) / high.out_step * high.in_step;
  const int64_t line_floats = line.across.in_size * line.pixel_floats;
  line.rows = 0;
  for (int64_t t = 0; t < deep.taps; ++t)
    for (int64_t r = 0; r < high.taps; ++r) {
      const int64_t in_z = first_z + t * deep.tap_shift, in_y = first_y + r * high.tap_shift;
      if (in_z < 0 || in_z >= deep.in_size || in_y < 0 || in_y >= high.in_size) continue;
      const int64_t place_z = deep.tap_first + t * deep.tap_step;
      const int64_t place_y = high.tap_first + r * high.tap_step;
      line.row[line.rows] = in + ((n * deep.in_size + in_z) * high.in_size + in_y) * line_floats;
      line.tap[line.rows++] = (place_z * p.geometry->kernel[1] + place_y) * p.geometry->kernel[2];
    }
  const T* end = in + p.geometry->batch * deep.in_size * high.in_size * line_floats;
  line.next = line.rows > 0 ? line.row[line.rows - 1] + line_floats : end;
  if (line.next >= end) line.next = nullptr;
}

// The work is a list of items: the lines, each cut into `pieces` where there are few.
struct Items {
  int64_t pieces, count;
};

static inline Items items_of(const GatherProblem& p) {
  constexpr int64_t kEnough = 32;
  const int64_t* size = p.backward ? p.geometry->input : p.geometry->output;
  const int64_t lines = p.geometry->batch * size[0] * size[1];
  const int64_t most = ceil_div(size[2], 8 * kBlock);
  int64_t pieces = lines > 0 ? ceil_div(kEnough, lines) : 1;
  pieces = pieces < most ? pieces : most;
  return {pieces, lines * pieces};
}

// Calls body(line, begin, end) for the outputs [begin, end) of each line and phase that items
// [first, last) have a part in.
template <class T, class Body>
static inline void for_items(const GatherProblem& p, const T* in, const Items& items, int64_t first,
                             int64_t last, const Body& body) {
  const WindowGeometry& g = *p.geometry;
  Line<T> line;
  line.touched = nullptr;
  line.pixel_floats = p.backward ? g.out_channels : g.in_channels;
  for (int64_t item = first; item < last; ++item) {
    line.index = item / items.pieces;
    line.across = axis_at(p, 2, 0);
    find_rows(p, in, line);
    const int64_t phases = p.backward ? g.stride[2] : 1;
    for (int64_t phase = 0; phase < phases; ++phase) {
      line.across = axis_at(p, 2, phase);
      const int64_t count = line.across.count;
      const int64_t length = ceil_div(ceil_div(count, items.pieces), kBlock) * kBlock;
      const int64_t begin = item % items.pieces * length, end = begin + length;
      if (begin < count) body(line, begin, end < count ? end : count);
    }
  }
}

// Output m of a block meets tap s of a row of the window at pixel[s * tap_step + m * out_step].
template <class T>
struct PixelTable {
  bool shared;  // neighbouring taps meet neighbouring pixels
  int64_t row_step, tap_step, out_step;
  const T* pixel[kMostTaps * kBlock];
};

template <class T>
static inline void lay_out(const GatherAxis& across, int64_t outputs, PixelTable<T>& table) {
  const int64_t shared = (outputs - 1) * across.in_step + across.taps;
  table.shared = across.tap_shift == 1 && shared <= outputs * across.taps;
  table.row_step = table.shared ? shared : outputs * across.taps;
  table.tap_step = table.shared ? 1 : outputs;
  table.out_step = table.shared ? across.in_step : 1;
}

// The pixels of one row of the window, for a block that begins with output `first`.
template <class T>
static inline void fill_pixels(const Line<T>& line, int64_t row, int64_t first, const T* zeros,
                               const PixelTable<T>& table, const T** pixel) {
  const GatherAxis& w = line.across;
  const T* pixels = line.row[row];
  const int64_t x = w.in_first + first * w.in_step, floats = line.pixel_floats;
  const auto address = [&](int64_t at) {
    return at >= 0 && at < w.in_size ? pixels + at * floats : zeros;
  };
  if (table.shared) {
    for (int64_t i = 0; i < table.row_step; ++i) pixel[i] = address(x + i);
    return;
  }
  for (int64_t tap = 0; tap < w.taps; ++tap)
    for (int64_t m = 0; m < table.tap_step; ++m)
      *pixel++ = address(x + m * w.in_step + tap * w.tap_shift);
}

// Calls body(size, first) for blocks that cover outputs [first, end) of a line; the last one may
// overlap the one before. `size` converts to a constant.
template <int kOutputs>
struct BlockSize {
  static constexpr int value = kOutputs;
};

template <int kOutputs, class Body>
static inline void for_blocks(int64_t first, int64_t end, const Body& body) {
  const int64_t begin = first;
  for (; first + kOutputs <= end; first += kOutputs) body(BlockSize<kOutputs>{}, first);
  if constexpr (kOutputs > 1) {
    constexpr int kHalf = (kOutputs + 1) / 2;
    if (first == end) return;
    if (end - first > kHalf && end - begin >= kOutputs)
      body(BlockSize<kOutputs>{}, end - kOutputs);
    else
      for_blocks<kHalf>(first, end, body);
  }
}

// Calls body(m, tap, x) for the pairs of outputs and taps of a row, with each pixel read once.
template <int kOutputs, int kTaps, int kStep, class Pixel, class Body>
static inline void for_products(const Pixel& pixel, const Body& body) {
  constexpr int kPixels = (kOutputs - 1) * kStep + kTaps;
#pragma GCC unroll 32
  for (int i = 0; i < kPixels; ++i) {
    const vfloat x = pixel(i);
#pragma GCC unroll 8
    for (int tap = 0; tap < kTaps; ++tap) {
      const int at = i - tap;
      if (at >= 0 && at % kStep == 0 && at / kStep < kOutputs) body(at / kStep, tap, x);
    }
  }
}

// The taps and steps of a row that have code of their own; kTaps 0 is the loop for all others.
template <int kTaps, int kStep>
struct RowShape {
  static constexpr int taps = kTaps, step = kStep;
};

template <class Body>
static inline void with_row_shape(const GatherAxis& across, const Body& body) {
  const int64_t taps = across.tap_shift == 1 ? across.taps : 0;
  if (across.in_step == 1) {
    if (taps == 2) return body(RowShape<2, 1>{});
    if (taps == 3) return body(RowShape<3, 1>{});
    if (taps == 5) return body(RowShape<5, 1>{});
    if (taps == 7) return body(RowShape<7, 1>{});
  }
  if (across.in_step == 2) {
    if (taps == 3) return body(RowShape<3, 2>{});
    if (taps == 5) return body(RowShape<5, 2>{});
  }
  body(RowShape<0, 1>{});
}

// A block of neighbouring outputs.
template <class T>
struct Block {
  const Line<T>* line;
  const PixelTable<T>* table;
  T* dst;  // the first output's first channel
  int64_t dst_step;
  const T* ahead;  // what the next line will read, null if that is in a cache already
  bool stream;
};

// Asks for a share of the next line's pixels. Done between products, this hides more of the wait
// than touching them does, but what exceeds the queues of the memory is dropped.
template <int kPixels, class T>
static inline void fetch_ahead(const Block<T>& b, int64_t channel) {
  if (!b.ahead) return;
#pragma GCC unroll 8
  for (int i = 0; i < kPixels; ++i) __builtin_prefetch(b.ahead + channel * kPixels + i * kLanes);
}

// Adds the products of one row of the window. `read(i)` is a vector of pixel i, `weight(tap)` one
// of the weights.
template <int kOutputs, class Shape, class Read, class Weight, class T>
[[gnu::always_inline]] static inline void sum_row(const Read& read, const Weight& weight,
                                                  const PixelTable<T>& table, int64_t taps,
                                                  vfloat (&sums)[kOutputs]) {
  if constexpr (Shape::taps > 0) {
    vfloat w[Shape::taps];
#pragma GCC unroll 8
    for (int tap = 0; tap < Shape::taps; ++tap) w[tap] = weight(tap);
    for_products<kOutputs, Shape::taps, Shape::step>(
        read, [&](int m, int tap, vfloat x) { sums[m] += x * w[tap]; });
  } else {
    for (int64_t tap = 0; tap < taps; ++tap) {
      const vfloat w = weight(tap);
#pragma GCC unroll 8
      for (int m = 0; m < kOutputs; ++m)
        sums[m] += read(tap * table.tap_step + m * table.out_step) * w;
    }
  }
}

// Finishes and stores a vector of each output's channels.
template <int kOutputs, class T>
[[gnu::always_inline]] static inline void finish_block(const FinishOf<T>& finish, const Block<T>& b,
                                                       int64_t channel, int64_t lanes,
                                                       const vfloat (&sums)[kOutputs]) {
  const Shift shift(finish, channel, lanes);
#pragma GCC unroll 8
  for (int m = 0; m < kOutputs; ++m) {
    T* dst = b.dst + m * b.dst_step + channel;
    const vfloat out = finished(finish, shift(sums[m]), dst, lanes);
    b.stream ? stream(dst, out) : store_lanes(dst, out, lanes);
  }
}

// Calls sums.block<kOutputs, Shape>(block) for all blocks of a line.
template <class Shape, class T, class Sums>
static inline void sum_line(const GatherCallOf<T>& c, const Line<T>& line, int64_t begin,
                            int64_t end, const T* zeros, bool ahead, bool stream,
                            PixelTable<T>& table, const Sums& sums) {
  const WindowGeometry& g = *c.problem.geometry;
  const GatherAxis& across = line.across;
  const int64_t channels = c.problem.backward ? g.in_channels : g.out_channels;
  T* out = c.out + (line.index * across.out_size + across.out_first) * channels;
  Block<T> block = {&line, &table, nullptr, across.out_step * channels, nullptr, stream};
  for_blocks<kBlock>(begin, end, [&](auto size, int64_t first) {
    lay_out(across, size.value, table);
    for (int64_t r = 0; r < line.rows; ++r)
      fill_pixels(line, r, first, zeros, table, table.pixel + r * table.row_step);
    block.dst = out + first * block.dst_step;
    if (ahead) block.ahead = line.next + (across.in_first + first) * line.pixel_floats;
    sums.template block<size.value, Shape>(block);
  });
}

// Calls it for all blocks of a convolution or its data gradient. `work` is the cost of an output
// pixel. The workspace begins with zero_floats() of zeros, which are written here.
template <class T, class Sums>
static void run_lines(const GatherCallOf<T>& c, int64_t work, const Sums& sums) {
  constexpr int64_t kTasks = 32;
  const WindowGeometry& g = *c.problem.geometry;
  for (int64_t i = 0; i < zero_floats(c.problem); ++i) c.workspace[i] = 0;
  const T* zeros = reinterpret_cast<const T*>(c.workspace);
  // A vector of bfloat16 is half a line of the cache, and the other half comes later.
  const bool large = outgrows_core(c.problem), stream = c.finish.stream && kInWord<T> == 1;
  const bool dense = c.problem.backward || g.stride[1] * g.stride[2] == 1;
  const Items items = items_of(c.problem);
  const int64_t width = (c.problem.backward ? g.input : g.output)[2] / items.pieces;
  const auto run = [&](int64_t first, int64_t last) {
    PixelTable<T> table;
    for_items(c.problem, c.in, items, first, last, [&](Line<T>& line, int64_t begin, int64_t end) {
      if (large && !dense) touch_rows(line);
      const bool ahead = large && dense && line.next;
      with_row_shape(line.across, [&](auto shape) {
        sum_line<decltype(shape)>(c, line, begin, end, zeros, ahead, stream, table, sums);
      });
    });
    if (stream) stream_end();
  };
  parallel_blocks(items.count, items_per_task(items.count, kTasks), width * work, run);
}

}  // namespace fastconv::cpu::FASTCONV_ISA
