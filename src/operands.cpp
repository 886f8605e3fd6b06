#include "operands.h"

#include <initializer_list>

namespace fastconv {

using Dims = std::vector<int64_t>;

static std::string text(const Dims& dims) {
  std::string result = "(";
  for (int64_t n : dims) result += (result.size() > 1 ? ", " : "") + std::to_string(n);
  return result + ")";
}

static Dims dims(const Tensor& t) { return {t.dims, t.dims + t.rank}; }

[[noreturn]] static void wrong(const Operands& o, const std::string& what) {
  throw Error(ErrorKind::format, (o.step.label.empty() ? "" : "layer '" + o.step.label + "': ") +
                                     op_info(o.step.kind).name + ": " + what);
}

static void expect(const Operands& o, bool good, const char* what) {
  if (!good) wrong(o, what);
}

static void expect_dims(const Operands& o, const Tensor& tensor, const Dims& expected,
                        const char* name) {
  if (dims(tensor) != expected)
    wrong(o, std::string(name) + ": expected shape " + text(expected) + ", received " +
                 text(dims(tensor)));
}

static void expect_dtype(const Operands& o, const Tensor& tensor, Dtype dtype, const char* name) {
  if (tensor.dtype != dtype) wrong(o, std::string(name) + " has the wrong dtype");
}

// Parameters, statistics and sums of halves are float32.
static Dtype wide(Dtype dtype) {
  return dtype == Dtype::bfloat16 || dtype == Dtype::float16 ? Dtype::float32 : dtype;
}

// All float operands of an op share the dtype of its first.
static void expect_same(const Operands& o, const Tensor& tensor, const Tensor& like,
                        const char* name) {
  expect_dtype(o, tensor, like.dtype, name);
  expect_dims(o, tensor, dims(like), name);
}

static void expect_vector(const Operands& o, const Tensor& tensor, int64_t n, Dtype dtype,
                          const char* name) {
  expect_dtype(o, tensor, dtype, name);
  expect_dims(o, tensor, {n}, name);
}

static int64_t last(const Tensor& t) { return t.rank > 0 ? t.dims[t.rank - 1] : 1; }

// N, the last `axes` of three spatial sizes, C.
static Dims map_dims(int64_t batch, const int64_t (&spatial)[3], int axes, int64_t channels) {
  Dims result{batch};
  for (int i = 3 - axes; i < 3; ++i) result.push_back(spatial[i]);
  result.push_back(channels);
  return result;
}

// The operands of an epilogue, from input `at` on.
static void check_epilogue(const Operands& o, const Epilogue& e, size_t at) {
  const Tensor& dst = o.out(0);
  const size_t count = at + (e.scale != 0) + (e.bias != 0) + (e.add != 0) + (e.derivative != 0);
  expect(o, o.n_inputs() == count, "the operands do not agree with the flags of the epilogue");
  if (e.scale) expect_vector(o, o.in(at++), last(dst), wide(dst.dtype), "scale");
  if (e.bias) expect_vector(o, o.in(at++), last(dst), wide(dst.dtype), "bias");
  if (e.add) expect_same(o, o.in(at++), dst, "add");
  if (e.derivative) expect_same(o, o.in(at), dst, "saved");
}

// The number of spatial axes, after checking that every window lies in the padded input.
static int check_window(const Operands& o, const WindowGeometry& g, const Tensor& map) {
  const int axes = map.rank - 2;
  expect(o, axes >= 1 && axes <= 3, "expected an operand of 3 to 5 axes");
  expect(o,
         g.groups >= 1 && g.in_channels >= 1 && g.out_channels >= 1 &&
             g.in_channels % g.groups == 0 && g.out_channels % g.groups == 0,
         "the groups do not divide the channels");
  for (int i = 0; i < 3; ++i) {
    expect(o,
           g.input[i] >= 1 && g.kernel[i] >= 1 && g.output[i] >= 1 && g.stride[i] >= 1 &&
               g.dilation[i] >= 1,
           "a window has a size below 1");
    int64_t reach = 0, steps = 0;
    const bool overflow = __builtin_mul_overflow(g.dilation[i], g.kernel[i] - 1, &reach) ||
                          __builtin_mul_overflow(g.stride[i], g.output[i] - 1, &steps);
    expect(o, !overflow && steps + reach + 1 <= g.input[i] + g.pad_before[i] + g.pad_after[i],
           "a window leaves the padded input");
    expect(o, i >= 3 - axes || (g.input[i] == 1 && g.kernel[i] == 1 && g.output[i] == 1),
           "an absent axis has a size");
  }
  return axes;
}

// Weights are float32 beside a half, or the same half.
static void expect_weights(const Operands& o, const Tensor& weights, Dtype dtype,
                           const char* name) {
  if (weights.dtype != wide(dtype)) expect_dtype(o, weights, dtype, name);
}

// src, weights and dst of a convolution, wherever the direction puts them. `pool` outputs along
// each of two axes become one.
static void check_conv_dims(const Operands& o, const WindowGeometry& g, const Tensor& src,
                            const Tensor& weights, const Tensor& dst, int64_t pool = 1) {
  const int axes = check_window(o, g, src);
  const int64_t output[] = {g.output[0], g.output[1] / pool, g.output[2] / pool};
  expect(o, output[1] >= 1 && output[2] >= 1, "too few outputs to pool");
  expect_dims(o, src, map_dims(g.batch, g.input, axes, g.in_channels), "src");
  expect_dims(o, dst, map_dims(g.batch, output, axes, g.out_channels), "dst");
  Dims kernel = map_dims(0, g.kernel, axes, g.in_channels / g.groups);
  kernel.erase(kernel.begin());
  kernel.push_back(g.out_channels);
  expect_dims(o, weights, kernel, "weights");
}

static void check_conv(const Operands& o, const Tensor& src, const Tensor& weights,
                       const Tensor& dst, int64_t pool = 1) {
  check_conv_dims(o, o.attrs<ConvAttrs>().geometry, src, weights, dst, pool);
  expect_dtype(o, dst, src.dtype, "dst");
}

void checks::conv(const Operands& o) {
  const ConvAttrs a = o.attrs<ConvAttrs>();
  const bool alone = !a.epilogue.add && !a.epilogue.derivative;
  expect(o, !a.max_pool || alone, "pooling comes with neither add nor derivative");
  check_conv(o, o.in(0), o.in(1), o.out(0), a.max_pool ? 2 : 1);
  expect_weights(o, o.in(1), o.in(0).dtype, "weights");
  check_epilogue(o, a.epilogue, 2);
  expect(o, o.n_outputs() == (a.statistics ? 4 : 1), "outputs do not agree with the attributes");
  if (!a.statistics) return;
  expect(o,
         alone && !a.epilogue.scale && !a.max_pool && a.epilogue.activation == Activation::identity,
         "statistics come with no more than a bias");
  for (const size_t i : {1, 2, 3})
    if (o.has_output(i))
      expect_vector(o, o.out(i), last(o.out(0)), wide(o.in(0).dtype), "statistics");
}
void checks::conv_backward_data(const Operands& o) {
  check_conv(o, o.out(0), o.in(1), o.in(0));
  expect_weights(o, o.in(1), o.in(0).dtype, "weights");
  check_epilogue(o, o.attrs<ConvAttrs>().epilogue, 2);
}
void checks::conv_backward_weights(const Operands& o) {
  check_conv(o, o.in(0), o.out(0), o.in(1));
  expect_dtype(o, o.out(0), wide(o.in(0).dtype), "dweights");
}

// src and dst of a pooling, wherever the direction puts them.
static void check_pool_dims(const Operands& o, const WindowGeometry& g, const Tensor& src,
                            const Tensor& dst) {
  const int axes = check_window(o, g, src);
  expect(o, g.in_channels == g.out_channels && g.groups == 1, "pooling keeps the channels");
  expect_dims(o, src, map_dims(g.batch, g.input, axes, g.in_channels), "src");
  expect_dims(o, dst, map_dims(g.batch, g.output, axes, g.in_channels), "dst");
}

static void check_pool(const Operands& o, const Tensor& src, const Tensor& dst) {
  check_pool_dims(o, o.attrs<PoolAttrs>().geometry, src, dst);
  expect_dtype(o, dst, src.dtype, "dst");
}

static void check_indices(const Operands& o, const Tensor& indices, const Tensor& dst) {
  expect_dtype(o, indices, Dtype::int32, "indices");
  expect_dims(o, indices, dims(dst), "indices");
}

void checks::pool(const Operands& o) {
  check_pool(o, o.in(0), o.out(0));
  if (o.has_output(1)) check_indices(o, o.out(1), o.out(0));
}
void checks::pool_backward(const Operands& o) {
  check_pool(o, o.out(0), o.in(0));
  if (o.n_inputs() == 2) check_indices(o, o.in(1), o.in(0));
  if (o.n_inputs() == 3) {
    expect_same(o, o.in(1), o.out(0), "src");
    expect_same(o, o.in(2), o.in(0), "dst");
  }
}

static Dims matrix(int64_t rows, int64_t columns, int64_t batch, bool batched) {
  return batched ? Dims{batch, rows, columns} : Dims{rows, columns};
}

void checks::gemm(const Operands& o) {
  const auto a = o.attrs<GemmAttrs>();
  const bool batched = o.out(0).rank == 3;
  expect(o, batched || a.batch == 1, "a batch without its axis");
  expect_dims(o, o.in(0),
              a.transpose_a ? matrix(a.k, a.m, a.batch, batched && !a.broadcast_a)
                            : matrix(a.m, a.k, a.batch, batched && !a.broadcast_a),
              "a");
  expect_dims(o, o.in(1),
              a.transpose_b ? matrix(a.n, a.k, a.batch, batched && !a.broadcast_b)
                            : matrix(a.k, a.n, a.batch, batched && !a.broadcast_b),
              "b");
  expect_dims(o, o.out(0), matrix(a.m, a.n, a.batch, batched), "c");
  const Dtype first = o.in(0).dtype;
  expect_weights(o, o.in(1), first, "b");
  const bool sums = a.transpose_a && o.in(1).dtype == first;  // such as a gradient of weights
  expect_dtype(o, o.out(0), sums ? wide(first) : first, "c");
  check_epilogue(o, a.epilogue, 2);
}

// Every operand has the shape and dtype of the output.
void checks::all_alike(const Operands& o) {
  for (size_t i = 0; i < o.n_inputs(); ++i) expect_same(o, o.in(i), o.out(0), "src");
}

void checks::same_shape(const Operands& o) { expect_dims(o, o.out(0), dims(o.in(0)), "dst"); }

static void check_broadcast(const Operands& o, const Tensor& src, const Tensor& dst) {
  expect_dtype(o, src, dst.dtype, "src");
  expect(o, src.rank <= dst.rank, "an operand has more axes than the result");
  for (int i = 0; i < src.rank; ++i) {
    const int64_t n = src.dims[i];
    expect(o, n == 1 || n == dst.dims[dst.rank - src.rank + i],
           "an operand does not broadcast to the result");
  }
}
void checks::broadcasting(const Operands& o) {
  for (size_t i = 0; i < o.n_inputs(); ++i) check_broadcast(o, o.in(i), o.out(0));
}

void checks::no_check(const Operands&) {}

void checks::reduce(const Operands& o) {
  const auto attrs = o.attrs<ReduceAttrs>();
  int64_t kept = 1;
  for (int i = 0; i < o.in(0).rank; ++i)
    if (!(attrs.axes >> i & 1)) kept *= o.in(0).dims[i];
  expect(o, elements(o.out(0)) == kept, "the result has the wrong number of elements");
  expect_dtype(o, o.out(0), wide(o.in(0).dtype), "dst");
}

static void per_channel(const Operands& o, std::initializer_list<const Tensor*> tensors,
                        int64_t n) {
  for (const Tensor* tensor : tensors)
    expect_vector(o, *tensor, n, wide(o.in(0).dtype), "statistics");
}

static void check_batch_norm(const Operands& o, size_t operands) {
  const Epilogue e = o.attrs<BatchNormAttrs>().epilogue;
  expect(o, !e.scale && !e.bias && !e.derivative, "only a tensor is added");
  check_epilogue(o, e, operands);
}
void checks::batch_norm(const Operands& o) {
  check_batch_norm(o, 3);
  expect_same(o, o.out(0), o.in(0), "dst");
  per_channel(o, {&o.in(1), &o.in(2), &o.out(1), &o.out(2), &o.out(3)}, last(o.in(0)));
}
void checks::batch_norm_backward(const Operands& o) {
  expect_same(o, o.in(1), o.in(0), "src");
  expect_same(o, o.out(0), o.in(0), "dsrc");
  per_channel(o, {&o.in(2), &o.in(3), &o.in(4), &o.out(1), &o.out(2)}, last(o.in(0)));
  const Epilogue e = o.attrs<BatchNormAttrs>().epilogue;
  const bool active = e.activation != Activation::identity;
  expect(o, o.n_inputs() == (active ? 6 : 5) && o.n_outputs() == (e.add ? 4 : 3),
         "the operands do not agree with the flags of the epilogue");
  if (!e.add) return active ? per_channel(o, {&o.in(5)}, last(o.in(0))) : void();
  expect(o, active && activation_saves_output(e.activation), "an activation that needs its source");
  expect_same(o, o.in(5), o.in(0), "dst");
  expect_same(o, o.out(3), o.in(0), "dadd");
}
void checks::batch_norm_inference(const Operands& o) {
  check_batch_norm(o, 5);
  expect_same(o, o.out(0), o.in(0), "dst");
  per_channel(o, {&o.in(1), &o.in(2), &o.in(3), &o.in(4)}, last(o.in(0)));
}

// Elements in the last `axes` axes of a tensor, the row that layer_norm works on.
static int64_t row_size(const Operands& o, const Tensor& t) {
  const int axes = o.attrs<LayerNormAttrs>().axes;
  expect(o, axes >= 1 && axes <= t.rank, "a wrong number of axes");
  int64_t n = 1;
  for (int i = t.rank - axes; i < t.rank; ++i) n *= t.dims[i];
  return n;
}
static void expect_rows(const Operands& o, const Tensor& tensor, int64_t row, const char* name) {
  expect_dtype(o, tensor, o.in(0).dtype, name);
  expect(o, elements(tensor) * row == elements(o.in(0)), "statistics of a wrong size");
}
void checks::layer_norm(const Operands& o) {
  const int64_t row = row_size(o, o.in(0));
  expect_same(o, o.out(0), o.in(0), "dst");
  expect(o, elements(o.in(1)) == row && elements(o.in(2)) == row, "gamma or beta of a wrong size");
  expect_rows(o, o.out(1), row, "mean");
  expect_rows(o, o.out(2), row, "rstd");
}
void checks::layer_norm_backward(const Operands& o) {
  const int64_t row = row_size(o, o.in(0));
  expect_same(o, o.in(1), o.in(0), "src");
  expect_same(o, o.out(0), o.in(0), "dsrc");
  expect_rows(o, o.in(3), row, "mean");
  expect_rows(o, o.in(4), row, "rstd");
  for (const Tensor* t : {&o.in(2), &o.out(1), &o.out(2)})
    expect(o, elements(*t) == row, "gamma or a gradient of a wrong size");
}

void checks::local_response_norm(const Operands& o) {
  expect(o, o.attrs<LocalResponseNormAttrs>().depth_radius >= 0, "a negative radius");
  expect_same(o, o.out(0), o.in(0), "dst");
  if (o.has_output(1)) expect_same(o, o.out(1), o.in(0), "scale");
}

static void expect_mask(const Operands& o, const Tensor& mask, const Tensor& like) {
  expect_dtype(o, mask, Dtype::uint8, "mask");
  expect_dims(o, mask, dims(like), "mask");
}
void checks::dropout(const Operands& o) {
  expect_same(o, o.out(0), o.in(0), "dst");
  expect_vector(o, o.in(1), 2, Dtype::int64, "random");
  expect_mask(o, o.out(1), o.in(0));
}
void checks::dropout_backward(const Operands& o) {
  expect_same(o, o.out(0), o.in(0), "dsrc");
  expect_mask(o, o.in(1), o.in(0));
}
void checks::random(const Operands& o) {
  const Distribution distribution = o.attrs<RandomAttrs>().distribution;
  expect(o, distribution >= Distribution::uniform && distribution <= Distribution::bernoulli,
         "an unknown distribution");
  expect_vector(o, o.in(0), 2, Dtype::int64, "random");
}

void checks::concat(const Operands& o) {
  const int axis = o.attrs<ConcatAttrs>().axis;
  expect(o, axis >= 0 && axis < o.out(0).rank, "an axis that is not there");
  int64_t along = 0;
  for (size_t i = 0; i < o.n_inputs(); ++i) {
    Dims expected = dims(o.out(0));
    expect(o, o.in(i).rank == o.out(0).rank, "operands of different ranks");
    expected[axis] = o.in(i).dims[axis];
    expect_dims(o, o.in(i), expected, "src");
    expect_dtype(o, o.in(i), o.out(0).dtype, "src");
    along += o.in(i).dims[axis];
  }
  expect(o, along == o.out(0).dims[axis], "the parts do not add up");
}

void checks::slice(const Operands& o) {
  const auto attrs = o.attrs<SliceAttrs>();
  expect(o, o.in(0).rank == o.out(0).rank, "operands of different ranks");
  expect_dtype(o, o.out(0), o.in(0).dtype, "dst");
  for (int i = 0; i < o.in(0).rank; ++i) {
    const int64_t n = o.out(0).dims[i], size = o.in(0).dims[i];
    int64_t reach = 0;
    const bool overflow = __builtin_mul_overflow(attrs.step[i], n - 1, &reach) ||
                          __builtin_add_overflow(attrs.start[i], reach, &reach);
    expect(o,
           n == 0 || (!overflow && attrs.start[i] >= 0 && attrs.start[i] < size && reach >= 0 &&
                      reach < size),
           "the slice leaves its source");
  }
}

void checks::pad(const Operands& o) {
  const auto attrs = o.attrs<PadAttrs>();
  expect(o, o.in(0).rank == o.out(0).rank, "operands of different ranks");
  expect_dtype(o, o.out(0), o.in(0).dtype, "dst");
  for (int i = 0; i < o.in(0).rank; ++i) {
    const int64_t n = o.in(0).dims[i];
    expect(o, attrs.interior[i] >= 0, "negative interior padding");
    const int64_t inner = n > 0 ? n + (n - 1) * attrs.interior[i] : 0;
    expect(o, o.out(0).dims[i] == attrs.before[i] + inner + attrs.after[i],
           "the result has the wrong size");
  }
}

void checks::reshape(const Operands& o) {
  expect_dtype(o, o.out(0), o.in(0).dtype, "dst");
  expect(o, elements(o.out(0)) == elements(o.in(0)), "the numbers of elements differ");
  const Slot& from = o.slots[o.step.inputs[0]];
  const Slot& to = o.slots[o.step.outputs[0]];
  expect(o, from.buffer == to.buffer && from.offset == to.offset, "the result is elsewhere");
}

void checks::transpose(const Operands& o) {
  const auto attrs = o.attrs<TransposeAttrs>();
  const Tensor &src = o.in(0), &dst = o.out(0);
  expect(o, src.rank == dst.rank, "operands of different ranks");
  expect_dtype(o, dst, src.dtype, "dst");
  uint32_t seen = 0;
  for (int i = 0; i < src.rank; ++i) {
    const int32_t axis = attrs.permutation[i];
    expect(o, axis >= 0 && axis < src.rank, "an axis that is not there");
    expect(o, dst.dims[i] == src.dims[axis], "the result has the wrong shape");
    seen |= 1u << axis;
  }
  expect(o, seen == (1u << src.rank) - 1, "an axis twice");
}

// That the ranges stay inside the source is data, and checked by the kernel.
void checks::resize(const Operands& o) {
  const int axis = o.attrs<ResizeAttrs>().axis;
  const Tensor &src = o.in(0), &dst = o.out(0);
  expect(o, axis >= 0 && axis < src.rank, "an axis that is not there");
  expect(o, dst.rank == src.rank, "operands of different ranks");
  Dims expected = dims(src);
  expected[axis] = dst.dims[axis];
  expect_dims(o, dst, expected, "dst");
  expect_dtype(o, dst, src.dtype, "dst");
  expect_dtype(o, o.in(1), Dtype::int32, "ranges");
  expect_dims(o, o.in(1), {dst.dims[axis], 2}, "ranges");
  expect_dtype(o, o.in(2), src.dtype, "weights");
  expect(o, o.in(2).rank == 2 && o.in(2).dims[0] == dst.dims[axis],
         "expected a row of weights for each element along the axis");
}

static void check_labels(const Operands& o, const Tensor& labels, const Tensor& probabilities) {
  expect(o, probabilities.rank == 2, "expected rows and classes");
  if (o.attrs<CrossEntropyAttrs>().sparse)
    expect_vector(o, labels, probabilities.dims[0], Dtype::int64, "labels");
  else
    expect_same(o, labels, probabilities, "labels");
}
void checks::cross_entropy(const Operands& o) {
  check_labels(o, o.in(1), o.in(0));
  expect_vector(o, o.out(0), o.in(0).dims[0], o.in(0).dtype, "loss");
  if (o.has_output(1)) expect_same(o, o.out(1), o.in(0), "probabilities");
}
void checks::cross_entropy_backward(const Operands& o) {
  check_labels(o, o.in(2), o.in(1));
  expect_vector(o, o.in(0), o.in(1).dims[0], o.in(1).dtype, "dloss");
  expect_same(o, o.out(0), o.in(1), "dsrc");
}

void checks::quantize(const Operands& o) {
  expect_dtype(o, o.in(0), Dtype::float32, "src");
  expect_dtype(o, o.out(0), Dtype::uint8, "dst");
  expect_dims(o, o.out(0), dims(o.in(0)), "dst");
}
void checks::dequantize(const Operands& o) {
  expect_dtype(o, o.in(0), Dtype::uint8, "src");
  expect_dtype(o, o.out(0), Dtype::float32, "dst");
  expect_dims(o, o.out(0), dims(o.in(0)), "dst");
}

// dst, and the tensor that is added as input `at`, if there is one.
static void check_requantization(const Operands& o, const Requantization& to, size_t at) {
  expect_dtype(o, o.in(0), Dtype::uint8, "src");
  expect_dtype(o, o.out(0), to.real ? Dtype::float32 : Dtype::uint8, "dst");
  expect(o, o.n_inputs() == at + (to.has_add != 0), "the operands do not agree with has_add");
  if (!to.has_add) return;
  expect_dtype(o, o.in(at), Dtype::uint8, "add");
  expect_dims(o, o.in(at), dims(o.out(0)), "add");
}
void checks::requantize(const Operands& o) {
  expect_dims(o, o.out(0), dims(o.in(0)), "dst");
  check_requantization(o, o.attrs<Requantization>(), 1);
}
void checks::quantized_conv(const Operands& o) {
  const auto a = o.attrs<QuantizedConvAttrs>();
  check_conv_dims(o, a.geometry, o.in(0), o.in(1), o.out(0));
  expect_dtype(o, o.in(1), Dtype::int8, "weights");
  expect_vector(o, o.in(2), a.geometry.out_channels, Dtype::int32, "bias");
  expect_vector(o, o.in(3), a.geometry.out_channels, Dtype::float32, "scales");
  check_requantization(o, a.to, 4);
}
void checks::quantized_average_pool(const Operands& o) {
  const auto a = o.attrs<QuantizedPoolAttrs>();
  check_pool_dims(o, a.geometry, o.in(0), o.out(0));
  check_requantization(o, a.to, 1);
}

// The gradient of weights [m,n] as a product of a [k,m] and b [k,n].
static void check_gradient_product(const Operands& o) {
  const Tensor &weights = o.in(0), &a = o.in(1), &b = o.in(o.n_inputs() - 1);
  expect(o, weights.rank == 2 && a.rank == 2, "expected matrices");
  expect_dtype(o, a, weights.dtype, "a");
  expect_dims(o, a, {a.dims[0], weights.dims[0]}, "a");
  expect_dtype(o, b, weights.dtype, "b");
  expect_dims(o, b, {a.dims[0], weights.dims[1]}, "b");
}
void checks::sgd(const Operands& o) {
  const bool product = o.n_inputs() == 5;
  const size_t inputs = o.n_inputs() - product;  // without b
  expect(o, inputs - 2 == o.n_outputs(), "velocity goes in and comes out");
  product ? check_gradient_product(o) : expect_same(o, o.in(1), o.in(0), "gradients");
  expect_vector(o, o.in(2), 2, o.in(0).dtype, "hyper");
  expect_same(o, o.out(0), o.in(0), "weights");
  if (inputs == 4) expect_same(o, o.in(3), o.in(0), "velocity");
  if (o.n_outputs() == 2) expect_same(o, o.out(1), o.in(0), "velocity");
}

// weights gradients hyper, slots: `scalars` numbers in hyper.
static void check_adaptive(const Operands& o, int64_t scalars) {
  expect_vector(o, o.in(2), scalars, o.in(0).dtype, "hyper");
  expect(o, o.n_inputs() - 2 == o.n_outputs(), "slots go in and come out");
  expect_same(o, o.in(1), o.in(0), "gradients");
  for (size_t i = 3; i < o.n_inputs(); ++i) expect_same(o, o.in(i), o.in(0), "slot");
  for (size_t i = 0; i < o.n_outputs(); ++i) expect_same(o, o.out(i), o.in(0), "result");
}
void checks::rmsprop(const Operands& o) {
  check_adaptive(o, 6);
  expect(o, o.n_inputs() < 6 || o.attrs<RmspropAttrs>().centered, "one slot too many");
}
void checks::adagrad(const Operands& o) { check_adaptive(o, 3); }
void checks::adadelta(const Operands& o) { check_adaptive(o, 5); }
void checks::adam(const Operands& o) { check_adaptive(o, 7); }
void checks::adamax(const Operands& o) { check_adaptive(o, 5); }
void checks::lion(const Operands& o) { check_adaptive(o, 6); }

}  // namespace fastconv
