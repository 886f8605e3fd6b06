// Stochastic gradient descent over whole parameter blocks, with momentum (Polyak 1964) or
// Nesterov's (Sutskever, Martens, Dahl and Hinton 2013, section 2).
#include "gemm.h"
#include "microkernel.h"

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

static inline void update(const Block& b, bool nesterov, int64_t begin, int64_t end) {
  if (!b.velocity)
    plain(b, begin, end);
  else if (nesterov)
    with_momentum<true>(b, begin, end);
  else
    with_momentum<false>(b, begin, end);
}

// Whether the gradient is A^T B: input 1 is a [k,m], input 4 is b [k,n], weights are [m,n].
bool is_product(const KernelCall& call) { return call.n_inputs == 5; }
// Whether it also gives output 2, the gradient of a. It may take the memory of b, which is packed
// before.
bool makes_data(const KernelCall& call) { return attrs<SgdAttrs>(call).data; }

// What a call updates; `gradients` is null if they are a product.
Block block_of(const KernelCall& call) {
  const bool velocity = call.n_outputs > 1, product = is_product(call);
  const float* hyper = input<float>(call, 2);
  return {input<float>(call, 0),
          product ? nullptr : input<float>(call, 1),
          velocity ? input<float>(call, 3) : nullptr,
          output<float>(call, 0),
          velocity ? output<float>(call, 1) : nullptr,
          hyper[0],
          hyper[1]};
}

const char* declines(const KernelCall& call) {
  return is_product(call) ? "a product" : needs_float32(call);
}

void sgd(const KernelCall& call) {
  const Block b = block_of(call);
  const bool nesterov = attrs<SgdAttrs>(call).nesterov;
  parallel_blocks(elements(call.inputs[0]), kBlock, b.velocity ? 4 : 3,
                  [&](int64_t begin, int64_t end) { update(b, nesterov, begin, end); });
}

// A few rows of a gradient that is a product are made in a cache and used at once, so that it is
// never stored.
constexpr int64_t kWidth = 512;  // columns of such rows: whole panels
constexpr int kRows = tile_rows(kMaxVectors);
// Rows of weights that are used for the gradient of a, and are then updated, while in a cache.
constexpr int64_t kBlockRows = 8 * kRows, kBlockFloats = 1 << 15;
constexpr int64_t kMostDataRows = 64;
constexpr int64_t kTurned = 256;  // columns of b that one task turns

struct Product {
  int64_t m, n, k;
  const float* a;
  float* b;       // in panels [k][columns of the panel], zeros behind the last column
  float* turned;  // b as [n][padded(k)]
  float* da;      // null if it is not wanted
  int64_t block;  // rows of weights
};

Product product_of(const KernelCall& call) {
  const Tensor& a = call.inputs[1];
  const int64_t k = a.dims[0], m = a.dims[1], n = call.inputs[0].dims[1];
  const int64_t fit = kBlockFloats / (n + 1) / kRows * kRows;
  const int64_t block = fit < kBlockRows ? fit : kBlockRows;
  float* b = static_cast<float*>(call.workspace);
  return {m,
          n,
          k,
          input<float>(call, 1),
          b,
          b + k * padded(n),
          makes_data(call) ? output<float>(call, 2) : nullptr,
          block > 0 ? block : kRows};
}

void pack(const Product& p, const float* b) {
  parallel_for(ceil_div(p.n, kPanel), p.k * kMaxVectors, [&](int64_t panel) {
    const int64_t column = panel * kPanel, left = p.n - column;
    float* dst = p.b + column * p.k;
    for (int64_t i = 0; i < p.k; ++i)
      for (int64_t j = 0; j < left && j < kPanel; j += kLanes, dst += kLanes)
        store(dst, load_lanes(b + i * p.n + column + j, left - j < kLanes ? left - j : kLanes));
  });
}

void turn(const Product& p, const float* b) {
  const int64_t width = padded(p.k);
  parallel_blocks(p.n, kTurned, width, [&](int64_t begin, int64_t end) {
    float* dst = p.turned + begin * width;
    for (int64_t i = 0; i < (end - begin) * width; ++i) dst[i] = 0;
    transpose_copy(b + begin, p.n, dst, width, end - begin, p.k);
  });
}

// Columns [row, row + rows) of da. The velocities of these rows come meanwhile.
void make_data(const Product& p, const Block& b, int64_t row, int64_t rows) {
  const int64_t width = padded(p.k), b_at = 0;
  const float *at[kBlockRows], *next = b.velocity + row * p.n;
  float* dst[kBlockRows];
  alignas(64) float sums[kBlockRows * kPanel];
  for (int64_t i = 0; i < rows; ++i) dst[i] = sums + i * kPanel;
  for (int64_t column = 0; column < p.k; column += kPanel) {
    const int64_t left = p.k - column;
    const int vectors = vectors_for(left);
    for (int64_t first = 0; first == 0 || first < p.n; first += kPackedDepth) {
      const int64_t depth = p.n - first < kPackedDepth ? p.n - first : kPackedDepth;
      for (int64_t i = 0; i < rows; ++i) at[i] = b.weights + (row + i) * p.n + first;
      for_tiles(rows, tile_rows(vectors), [&](int64_t r, int count) {
        Ahead ahead;
        if (column == 0) ahead = {next, count};
        next += count * depth;
        run_row_tile(count, vectors,
                     {at + r, 0, &b_at, 1, depth, p.turned + first * width + column, width, dst + r,
                      0, vectors * kLanes, first > 0, Finish{}, ahead});
      });
    }
    transpose_copy(sums, kPanel, p.da + column * p.m + row, p.m, left < kPanel ? left : kPanel,
                   rows);
  }
}

// Asks for what an update will read.
void fetch(const float* p, int64_t floats) {
  constexpr int64_t kLine = 64 / sizeof(float);
  for (int64_t i = 0; i < floats; i += kLine) __builtin_prefetch(p + i);
}

// Rows [row, row + rows) of the gradient, columns [first, first + columns), in steps of kWidth.
// Weights and velocities come meanwhile: those there or, if the gradient of a has brought these,
// the weights that it reads next.
void make_gradient(const Product& p, int64_t row, int rows, int64_t first, int64_t columns,
                   const Block& b, float* gradient) {
  const float* at[kColumnDepth];
  for (int64_t i = 0; i == 0 || i < p.k; i += kColumnDepth) {
    const int64_t depth = p.k - i < kColumnDepth ? p.k - i : kColumnDepth;
    for (int64_t d = 0; d < depth; ++d) at[d] = p.a + (i + d) * p.m;
    for (int64_t column = 0; column < columns; column += kPanel) {
      const int64_t left = columns - column;
      const int vectors = vectors_for(left);
      const int64_t width = vectors * kLanes;
      for (int r = 0; i == 0 && r < rows; ++r) {
        const int64_t place = (row + r) * p.n + first + column;
        const int64_t floats = left < width ? left : width;
        fetch(b.weights + place + (p.da ? p.block * p.n : 0), floats);
        if (!p.da) fetch(b.velocity + place, floats);
      }
      run_column_tile(rows, vectors,
                      {at, row, depth, p.b + (first + column) * p.k + i * width, width,
                       gradient + column, kWidth, left, i > 0, Finish{}});
    }
  }
}

void update_rows(const Product& p, const Block& whole, bool nesterov, int64_t row, int rows) {
  alignas(64) float gradient[kRows * kWidth];
  for (int64_t first = 0; first < p.n; first += kWidth) {
    const int64_t columns = p.n - first < kWidth ? p.n - first : kWidth;
    make_gradient(p, row, rows, first, columns, whole, gradient);
    for (int r = 0; r < rows; ++r) {
      const int64_t at = (row + r) * p.n + first;
      Block b = whole;
      b.gradients = gradient + r * kWidth;
      b.weights += at;
      b.new_weights += at;
      b.velocity += at;
      b.new_velocity += at;
      update(b, nesterov, 0, columns);
    }
  }
}

const char* product_declines(const KernelCall& call) {
  if (!is_product(call)) return "no product";
  // b, packed for two products, would leave the caches.
  const bool many_rows = call.inputs[1].dims[0] > kMostDataRows;
  if (makes_data(call) && many_rows) return "the gradient of a has many rows";
  return needs_float32(call);
}

int64_t product_workspace(const KernelCall& call) {
  const Product p = product_of(call);
  const int64_t turned = makes_data(call) ? p.n * padded(p.k) : 0;
  return (p.k * padded(p.n) + turned) * static_cast<int64_t>(sizeof(float));
}

void sgd_of_product(const KernelCall& call) {
  const Product p = product_of(call);
  const Block b = block_of(call);
  const bool nesterov = attrs<SgdAttrs>(call).nesterov;
  pack(p, input<float>(call, 4));
  if (p.da) turn(p, input<float>(call, 4));
  parallel_blocks(p.m, kBlockRows, p.n * (p.k / kLanes + 1), [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += p.block) {
      const int64_t rows = end - first < p.block ? end - first : p.block;
      if (p.da) make_data(p, b, first, rows);
      for_tiles(rows, kRows,
                [&](int64_t row, int count) { update_rows(p, b, nesterov, first + row, count); });
    }
  });
}

constexpr Kernel kSgd[] = {
    {"product", product_declines, product_workspace, sgd_of_product},
    {"sgd", declines, nullptr, sgd},
};

}  // namespace

KernelList sgd_kernels(OpKind kind) {
  return kind == OpKind::sgd ? list(kSgd) : KernelList{nullptr, 0};
}

}  // namespace fastconv::cpu::FASTCONV_ISA
