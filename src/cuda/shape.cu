// Operations that only move data, for elements of any type: they work on units of the same size, or
// of several elements where rows stay together. All but pad are one strided copy, whose axes are
// merged as far as they go.
#include "kernels.h"
#include "pack.h"

namespace fastconv::cuda {
namespace {

// Operand 0 is src, 1 is dst.
using Copy = Axes<2>;

// A thread copies a few units, a block's width apart.
template <class T>
struct CopyUnits {
  static constexpr int kThreads = 256, kEach = 2;
  Copy copy;
  int64_t count;
  const T* src;
  T* dst;
  __device__ void operator()() const {
    const int64_t first = (int64_t)blockIdx.x * (kThreads * kEach) + threadIdx.x;
    T unit[kEach];
    int64_t to[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (first + i * kThreads >= count) continue;
      const auto at = copy.offsets(first + i * kThreads);
      unit[i] = src[at.at[0]];
      to[i] = at.at[1];
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      if (first + i * kThreads < count) dst[to[i]] = unit[i];
  }
};

template <class T>
void copy_units(const KernelCall& call, const Copy& copy, const T* src, T* dst) {
  const int64_t count = copy.count();
  launch(call, CopyUnits<T>{copy, count, src, dst},
         ceil_div(count, CopyUnits<T>::kThreads * CopyUnits<T>::kEach));
}

// Bytes that stay together in both, at most `most`, of elements of `size` bytes.
int64_t unit_of(const Copy& copy, const void* src, const void* dst, int64_t size, int64_t most) {
  const int last = copy.rank - 1;
  if (last < 0 || copy.strides[0][last] != 1 || copy.strides[1][last] != 1) return size;
  uint64_t bits = reinterpret_cast<uintptr_t>(src) | reinterpret_cast<uintptr_t>(dst) |
                  (uint64_t)(copy.sizes[last].size() * size | most);
  for (int i = 0; i < last; ++i)
    bits |= (uint64_t)((copy.strides[0][i] | copy.strides[1][i]) * size);
  return (int64_t)(bits & -bits);
}

// The same copy, of units of `by` elements.
Copy in_units(const Copy& copy, int64_t by) {
  if (by == 1) return copy;
  Copy units;
  for (int i = 0; i < copy.rank; ++i) {
    const bool last = i == copy.rank - 1;
    const int64_t size = copy.sizes[i].size(), src = copy.strides[0][i], dst = copy.strides[1][i];
    units.append(last ? size / by : size, {last ? 1 : src / by, last ? 1 : dst / by});
  }
  return units;
}

// Where src is contiguous along another axis than dst, squares of both go through shared memory, so
// that reads and writes are of whole lines.
template <class T>
struct CopyTiles {
  static constexpr int kTile = 32, kRows = 8, kThreads = kTile * kRows;
  struct Shared {
    T tile[kTile][kTile + 1];
  };
  Copy outer;
  int64_t rows, columns;  // src[r + c * src_stride] goes to dst[r * dst_stride + c]
  int64_t src_stride, dst_stride;
  Divisor across, down;  // tiles
  const T* src;
  T* dst;

  __device__ void operator()(Shared& shared) const {
    const int64_t block = blockIdx.x, line = across(block), plane = down(line);
    const int64_t r0 = (line - plane * down.size()) * kTile;
    const int64_t c0 = (block - line * across.size()) * kTile;
    const auto at = outer.offsets(plane);
    const int x = threadIdx.x % kTile, y = threadIdx.x / kTile;
    for (int i = y; i < kTile; i += kRows)
      if (r0 + x < rows && c0 + i < columns)
        shared.tile[i][x] = src[at.at[0] + r0 + x + (c0 + i) * src_stride];
    __syncthreads();
    for (int i = y; i < kTile; i += kRows)
      if (r0 + i < rows && c0 + x < columns)
        dst[at.at[1] + (r0 + i) * dst_stride + c0 + x] = shared.tile[x][i];
  }
};

// The axis along which src is contiguous, if that is not the last one; else -1.
int turned_axis(const Copy& copy) {
  if (copy.rank < 2 || copy.strides[0][copy.rank - 1] <= 1) return -1;
  for (int i = 0; i < copy.rank - 1; ++i)
    if (copy.strides[0][i] == 1) return i;
  return -1;
}

template <class T>
void copy_strided(const KernelCall& call, const Copy& copy, const T* src, T* dst) {
  const int row = turned_axis(copy), column = copy.rank - 1;
  if (row < 0) return copy_units(call, copy, src, dst);
  Copy outer;
  for (int i = 0; i < column; ++i)
    if (i != row) outer.append(copy.sizes[i].size(), {copy.strides[0][i], copy.strides[1][i]});
  const int64_t rows = copy.sizes[row].size(), columns = copy.sizes[column].size();
  const Divisor across(ceil_div(columns, CopyTiles<T>::kTile));
  const Divisor down(ceil_div(rows, CopyTiles<T>::kTile));
  launch(call,
         CopyTiles<T>{outer, rows, columns, copy.strides[0][column], copy.strides[1][row], across,
                      down, src, dst},
         outer.count() * across.size() * down.size());
}

void run_copy_strided(const KernelCall& call, const Copy& copy, const Tensor& src,
                      int64_t src_offset, int64_t dst_offset) {
  if (copy.count() == 0) return;
  const int64_t size = size_of(src.dtype);
  const char* from = static_cast<const char*>(src.data) + src_offset * size;
  char* to = static_cast<char*>(call.outputs[0].data) + dst_offset * size;
  const int64_t unit = unit_of(copy, from, to, size, kPackBytes);
  const Copy units = in_units(copy, unit / size);
  if (unit == kPackBytes)
    return copy_units(call, units, reinterpret_cast<const Chunk*>(from),
                      reinterpret_cast<Chunk*>(to));
  with_size(unit, [&](auto tag) {
    using T = typename decltype(tag)::type;
    copy_strided(call, units, reinterpret_cast<const T*>(from), reinterpret_cast<T*>(to));
  });
}

int64_t product(const Tensor& tensor, int begin, int end) {
  int64_t count = 1;
  for (int i = begin; i < end; ++i) count *= tensor.dims[i];
  return count;
}

void run_concat(const KernelCall& call) {
  const Tensor& dst = call.outputs[0];
  const int axis = attrs<ConcatAttrs>(call).axis;
  const int64_t outer = product(dst, 0, axis), row = product(dst, axis, dst.rank);
  int64_t at = 0;
  for (int i = 0; i < call.n_inputs; ++i) {
    const Tensor& src = call.inputs[i];
    const int64_t part = product(src, axis, src.rank);
    Copy copy;
    copy.append(outer, {part, row});
    copy.append(part, {1, 1});
    // The planner may have let a part of an outermost concat be made in its place.
    const void* place = static_cast<char*>(dst.data) + at * size_of(dst.dtype);
    if (src.data != place) run_copy_strided(call, copy, src, 0, at);
    at += part;
  }
}

void run_slice(const KernelCall& call) {
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  const auto& a = attrs<SliceAttrs>(call);
  int64_t src_strides[kMaxRank], dst_strides[kMaxRank], offset = 0;
  dense_strides(src, src_strides);
  dense_strides(dst, dst_strides);
  Copy copy;
  for (int i = 0; i < dst.rank; ++i) {
    offset += a.start[i] * src_strides[i];
    copy.append(dst.dims[i], {a.step[i] * src_strides[i], dst_strides[i]});
  }
  run_copy_strided(call, copy, src, offset, 0);
}

void run_transpose(const KernelCall& call) {
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  const int32_t* permutation = attrs<TransposeAttrs>(call).permutation;
  int64_t src_strides[kMaxRank], dst_strides[kMaxRank];
  dense_strides(src, src_strides);
  dense_strides(dst, dst_strides);
  Copy copy;
  for (int i = 0; i < dst.rank; ++i)
    copy.append(dst.dims[i], {src_strides[permutation[i]], dst_strides[i]});
  run_copy_strided(call, copy, src, 0, 0);
}

void run_broadcast(const KernelCall& call) {
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  int64_t src_strides[kMaxRank], dst_strides[kMaxRank];
  broadcast_strides(src, dst.rank, src_strides);
  dense_strides(dst, dst_strides);
  Copy copy;
  for (int i = 0; i < dst.rank; ++i) copy.append(dst.dims[i], {src_strides[i], dst_strides[i]});
  run_copy_strided(call, copy, src, 0, 0);
}

// Where each element of dst comes from, axis by axis. Inner axes without padding are one with the
// axis around them.
struct PadPlan {
  int rank = 0;
  Divisor sizes[kMaxRank], spacings[kMaxRank];  // of dst; 1 + interior
  int64_t before[kMaxRank] = {}, src_sizes[kMaxRank] = {};

  // Of the last axis where it has no interior padding; `row` counts those of dst. -1: padding.
  __device__ __forceinline__ int64_t source_row(int64_t row) const {
    int64_t at = 0, step = 1;
    for (int i = rank - 2; i >= 0; --i) {
      const int64_t rest = sizes[i](row), place = place_of(i, row - rest * sizes[i].size());
      row = rest;
      if (place < 0) return -1;
      at += place * step;
      step *= src_sizes[i];
    }
    return at;
  }
  // In src, of a position in dst along an axis; -1: padding.
  __device__ __forceinline__ int64_t place_of(int axis, int64_t position) const {
    position -= before[axis];
    if (position < 0) return -1;
    const int64_t place = spacings[axis](position);
    const bool inside = place < src_sizes[axis] && place * spacings[axis].size() == position;
    return inside ? place : -1;
  }
};

PadPlan plan_pad(const KernelCall& call) {
  const auto& a = attrs<PadAttrs>(call);
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  int64_t inner = 1;
  int end = dst.rank;
  while (end > 1 && a.before[end - 1] == 0 && a.interior[end - 1] == 0 &&
         a.interior[end - 2] == 0 && src.dims[end - 1] == dst.dims[end - 1])
    inner *= dst.dims[--end];
  PadPlan plan;
  plan.rank = end > 0 ? end : 1;
  for (int i = 0; i < end; ++i) {
    const int64_t by = i == end - 1 ? inner : 1;
    plan.sizes[i] = Divisor(dst.dims[i] * by);
    plan.spacings[i] = Divisor(a.interior[i] + 1);
    plan.before[i] = a.before[i] * by;
    plan.src_sizes[i] = src.dims[i] * by;
  }
  if (end == 0) plan.src_sizes[0] = 1;
  return plan;
}

template <class T, int N>
struct alignas(N * sizeof(T)) Neighbours {
  T at[N];
};

// A thread makes `Each` elements of a row.
template <class T, int Each>
void pad(const KernelCall& call, const PadPlan& plan, int64_t count, const T& value) {
  const T* src = input<T>(call, 0);
  T* dst = output<T>(call, 0);
  const int last = plan.rank - 1;
  for_each(call, count / Each, [=] __device__(int64_t i) {
    const int64_t first = i * Each, row = plan.sizes[last](first);
    const int64_t from = plan.source_row(row), position = first - row * plan.sizes[last].size();
    Neighbours<T, Each> made;
#pragma unroll
    for (int k = 0; k < Each; ++k) {
      const int64_t place = plan.place_of(last, position + k);
      made.at[k] = from < 0 || place < 0 ? value : src[from * plan.src_sizes[last] + place];
    }
    *reinterpret_cast<Neighbours<T, Each>*>(dst + first) = made;
  });
}

// Elements of a unit where all rows are of whole units and lie so; else 1.
int64_t elements_together(const KernelCall& call, const PadPlan& plan) {
  const int last = plan.rank - 1;
  const int64_t by = kPackBytes / size_of(call.outputs[0].dtype);
  const bool whole = plan.spacings[last].size() == 1 && plan.before[last] % by == 0 &&
                     plan.src_sizes[last] % by == 0 && plan.sizes[last].size() % by == 0;
  return whole && is_aligned(call.inputs[0].data) && is_aligned(call.outputs[0].data) ? by : 1;
}

void run_pad(const KernelCall& call) {
  const Tensor& dst = call.outputs[0];
  PadPlan plan = plan_pad(call);
  uint64_t value = 0;
  with_type(dst.dtype, [&](auto tag) {
    const auto element = convert<typename decltype(tag)::type>(attrs<PadAttrs>(call).value);
    __builtin_memcpy(&value, &element, sizeof element);
  });
  const int last = plan.rank - 1;
  const int64_t size = size_of(dst.dtype), by = elements_together(call, plan);
  if (by > 1) {
    plan.sizes[last] = Divisor(plan.sizes[last].size() / by);
    plan.before[last] /= by;
    plan.src_sizes[last] /= by;
    return pad<Chunk, 1>(call, plan, elements(dst) / by, chunk_of(&value, size));
  }
  const bool fours = size <= 4 && plan.sizes[last].size() % 4 == 0 && is_aligned(dst.data);
  with_size(size, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (sizeof(T) <= 4)
      if (fours) return pad<T, 4>(call, plan, elements(dst), (T)value);
    pad<T, 1>(call, plan, elements(dst), (T)value);
  });
}

constexpr Kernel kConcat[] = {{"strided", nullptr, nullptr, run_concat}};
constexpr Kernel kSlice[] = {{"strided", nullptr, nullptr, run_slice}};
constexpr Kernel kPad[] = {{"elements", nullptr, nullptr, run_pad}};
constexpr Kernel kTranspose[] = {{"strided", nullptr, nullptr, run_transpose}};
constexpr Kernel kBroadcast[] = {{"strided", nullptr, nullptr, run_broadcast}};

}  // namespace

void turn_matrices(const KernelCall& call, const float* src, float* dst, int64_t count,
                   int64_t rows, int64_t columns) {
  Copy copy;
  copy.append(count, {rows * columns, rows * columns});
  copy.append(columns, {1, rows});
  copy.append(rows, {columns, 1});
  if (copy.count() > 0) copy_strided(call, copy, src, dst);
}

KernelList shape_kernels(OpKind kind) {
  switch (kind) {
    case OpKind::concat: return list(kConcat);
    case OpKind::slice: return list(kSlice);
    case OpKind::pad: return list(kPad);
    case OpKind::transpose: return list(kTranspose);
    case OpKind::broadcast: return list(kBroadcast);
    default: return {nullptr, 0};
  }
}

}  // namespace fastconv::cuda
