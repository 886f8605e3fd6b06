// Operations that only move data, for elements of any type: they work on unsigned integers of the
// same size. All but pad are one strided copy, whose axes are merged as far as they go.
#include "convert.h"
#include "kernels.h"

namespace fastconv::cpu::FASTCONV_ISA {
namespace {

constexpr int64_t kBlock = 16384;  // elements a task
constexpr int64_t kTile = 64;      // side of a block of a transpose; 64 lines of 256 bytes fit L1

// Axes from the outside in; strides count elements. The last stride of dst is 1.
struct StridedCopy {
  int rank;
  int64_t dims[kMaxRank], src[kMaxRank], dst[kMaxRank];

  void append(int64_t size, int64_t src_stride, int64_t dst_stride) {
    if (size == 1) return;
    const int last = rank - 1;
    const bool merges =
        rank > 0 && src[last] == src_stride * size && dst[last] == dst_stride * size;
    const int at = merges ? last : rank++;
    dims[at] = merges ? dims[at] * size : size;
    src[at] = src_stride;
    dst[at] = dst_stride;
  }
  // Moves axis `from` behind all others but `behind` last ones.
  void move_back(int from, int behind) {
    for (int i = from; i + 1 < rank - behind; ++i) {
      swap(dims[i], dims[i + 1]);
      swap(src[i], src[i + 1]);
      swap(dst[i], dst[i + 1]);
    }
  }
  static void swap(int64_t& a, int64_t& b) {
    const int64_t kept = a;
    a = b;
    b = kept;
  }
};

struct Offsets {
  int64_t src, dst;
};

// Of the axes in front of the last two.
inline Offsets outer_offsets(const StridedCopy& copy, int64_t index) {
  Offsets at = {0, 0};
  for (int i = copy.rank - 3; i >= 0; --i) {
    const int64_t position = index % copy.dims[i];
    index /= copy.dims[i];
    at.src += position * copy.src[i];
    at.dst += position * copy.dst[i];
  }
  return at;
}

template <class T>
inline void copy_row(const T* src, int64_t stride, T* dst, int64_t count) {
  if (stride == 1) {
    __builtin_memcpy(dst, src, (size_t)count * sizeof(T));
  } else if (stride == 0) {
    const T value = *src;
    for (int64_t i = 0; i < count; ++i) dst[i] = value;
  } else {
    for (int64_t i = 0; i < count; ++i) dst[i] = src[i * stride];
  }
}

// Blocks of the last two axes, on all threads: block(src, dst, rows, columns).
template <class T, class F>
inline void for_blocks(const StridedCopy& copy, int64_t block_rows, int64_t block_columns,
                       const T* src, T* dst, const F& block) {
  const int row = copy.rank - 2, column = copy.rank - 1;
  const int64_t down = ceil_div(copy.dims[row], block_rows);
  const int64_t across = ceil_div(copy.dims[column], block_columns);
  int64_t outer = 1;
  for (int i = 0; i < row; ++i) outer *= copy.dims[i];
  const int64_t rows = copy.dims[row] < block_rows ? copy.dims[row] : block_rows;
  const int64_t columns = copy.dims[column] < block_columns ? copy.dims[column] : block_columns;
  if (outer * rows * columns == 0) return;
  const int64_t group = ceil_div(kBlock, rows * columns);
  const int64_t count = outer * down * across;
  parallel_blocks(count, group, rows * columns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Offsets at = outer_offsets(copy, i / (down * across));
      const int64_t r = i / across % down * block_rows, c = i % across * block_columns;
      const int64_t rest_r = copy.dims[row] - r, rest_c = copy.dims[column] - c;
      block(src + at.src + r * copy.src[row] + c * copy.src[column],
            dst + at.dst + r * copy.dst[row] + c * copy.dst[column],
            rest_r < block_rows ? rest_r : block_rows,
            rest_c < block_columns ? rest_c : block_columns);
    }
  });
}

template <class T>
inline void copy_rows(const StridedCopy& copy, const T* src, T* dst) {
  const int row = copy.rank - 2;
  const int64_t inner = copy.dims[row + 1];
  const int64_t rows = inner > 0 && inner < kBlock ? kBlock / inner : 1;
  for_blocks(copy, rows, kBlock, src, dst, [&](const T* from, T* to, int64_t r, int64_t c) {
    for (int64_t i = 0; i < r; ++i)
      copy_row(from + i * copy.src[row], copy.src[row + 1], to + i * copy.dst[row], c);
  });
}

// A square of kLanes x kLanes: each round interleaves the halves of the list of rows, and after
// log2(kLanes) rounds rows have become columns.
inline void transpose_square(const uint32_t* src, int64_t src_stride, uint32_t* dst,
                             int64_t dst_stride) {
  constexpr int half = kLanes / 2;
  vint low = {}, high = {};
  for (int i = 0; i < kLanes; ++i) {
    low[i] = i / 2 + i % 2 * kLanes;
    high[i] = low[i] + half;
  }
  vint rows[kLanes], next[kLanes];
  for (int i = 0; i < kLanes; ++i)
    rows[i] = load(reinterpret_cast<const int32_t*>(src + i * src_stride));
  for (int round = 1; round < kLanes; round *= 2) {
    for (int i = 0; i < half; ++i) {
      next[2 * i] = __builtin_shuffle(rows[i], rows[i + half], low);
      next[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + half], high);
    }
    for (int i = 0; i < kLanes; ++i) rows[i] = next[i];
  }
  for (int i = 0; i < kLanes; ++i) store(reinterpret_cast<int32_t*>(dst + i * dst_stride), rows[i]);
}

// dst[r * dst_stride + c] = src[r + c * src_stride]
template <class T>
inline void transpose_part(const T* src, int64_t src_stride, T* dst, int64_t dst_stride,
                           int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) dst[r * dst_stride + c] = src[r + c * src_stride];
}

template <class T>
inline void transpose_block(const T* src, int64_t src_stride, T* dst, int64_t dst_stride,
                            int64_t rows, int64_t columns) {
  int64_t r = 0, c = 0;
  if constexpr (sizeof(T) == 4) {
    for (; r + kLanes <= rows; r += kLanes)
      for (c = 0; c + kLanes <= columns; c += kLanes)
        transpose_square(src + r + c * src_stride, src_stride, dst + r * dst_stride + c,
                         dst_stride);
  }
  transpose_part(src + c * src_stride, src_stride, dst + c, dst_stride, r, columns - c);
  transpose_part(src + r, src_stride, dst + r * dst_stride, dst_stride, rows - r, columns);
}

// Where src is contiguous along another axis than dst, those two axes become last and are moved in
// blocks, so that both sides are read and written in whole cache lines.
template <class T>
void copy_strided(StridedCopy copy, const T* src, T* dst) {
  while (copy.rank < 2) {
    for (int i = copy.rank; i > 0; --i) {
      copy.dims[i] = copy.dims[i - 1];
      copy.src[i] = copy.src[i - 1];
      copy.dst[i] = copy.dst[i - 1];
    }
    copy.dims[0] = 1;
    copy.src[0] = copy.dst[0] = copy.rank == 0 ? 1 : 0;
    ++copy.rank;
  }
  int contiguous = -1;
  for (int i = 0; i < copy.rank - 1; ++i)
    if (copy.src[i] == 1 && copy.dims[i] > 1) contiguous = i;
  if (contiguous < 0 || copy.src[copy.rank - 1] <= 1) return copy_rows(copy, src, dst);
  copy.move_back(contiguous, 1);
  const int64_t src_stride = copy.src[copy.rank - 1], dst_stride = copy.dst[copy.rank - 2];
  for_blocks(copy, kTile, kTile, src, dst, [&](const T* from, T* to, int64_t r, int64_t c) {
    transpose_block(from, src_stride, to, dst_stride, r, c);
  });
}

void run_copy_strided(const StridedCopy& copy, Dtype dtype, const void* src, int64_t src_offset,
                      void* dst, int64_t dst_offset) {
  with_size(size_of(dtype), [&](auto tag) {
    using T = typename decltype(tag)::type;
    copy_strided(copy, static_cast<const T*>(src) + src_offset, static_cast<T*>(dst) + dst_offset);
  });
}

inline void dense_strides(const Tensor& tensor, int64_t* strides) {
  int64_t step = 1;
  for (int i = tensor.rank - 1; i >= 0; --i) {
    strides[i] = step;
    step *= tensor.dims[i];
  }
}

inline int64_t product(const Tensor& tensor, int begin, int end) {
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
    const StridedCopy copy = {2, {outer, part}, {part, 1}, {row, 1}};
    // The planner may have let a part of an outermost concat be made in its place.
    const void* place = static_cast<char*>(dst.data) + at * size_of(dst.dtype);
    if (src.data != place) run_copy_strided(copy, dst.dtype, src.data, 0, dst.data, at);
    at += part;
  }
}

void run_slice(const KernelCall& call) {
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  const auto& a = attrs<SliceAttrs>(call);
  int64_t src_strides[kMaxRank], dst_strides[kMaxRank], offset = 0;
  dense_strides(src, src_strides);
  dense_strides(dst, dst_strides);
  if (elements(dst) == 0) return;
  StridedCopy copy = {};
  for (int i = 0; i < dst.rank; ++i) {
    offset += a.start[i] * src_strides[i];
    copy.append(dst.dims[i], a.step[i] * src_strides[i], dst_strides[i]);
  }
  run_copy_strided(copy, dst.dtype, src.data, offset, dst.data, 0);
}

void run_transpose(const KernelCall& call) {
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  const int32_t* permutation = attrs<TransposeAttrs>(call).permutation;
  int64_t src_strides[kMaxRank], dst_strides[kMaxRank];
  dense_strides(src, src_strides);
  dense_strides(dst, dst_strides);
  StridedCopy copy = {};
  for (int i = 0; i < dst.rank; ++i)
    copy.append(dst.dims[i], src_strides[permutation[i]], dst_strides[i]);
  run_copy_strided(copy, dst.dtype, src.data, 0, dst.data, 0);
}

void run_broadcast(const KernelCall& call) {
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  int64_t src_strides[kMaxRank], dst_strides[kMaxRank];
  dense_strides(src, src_strides);
  dense_strides(dst, dst_strides);
  StridedCopy copy = {};
  for (int i = 0; i < dst.rank; ++i) {
    const int axis = i - (dst.rank - src.rank);
    const bool repeats = axis < 0 || src.dims[axis] == 1;
    copy.append(dst.dims[i], repeats ? 0 : src_strides[axis], dst_strides[i]);
  }
  run_copy_strided(copy, dst.dtype, src.data, 0, dst.data, 0);
}

// Everything behind the last padded axis moves in runs; that axis makes the rows.
struct PadPlan {
  int axis;
  int64_t run, rows;
  const PadAttrs& pad;
  const Tensor &src, &dst;
};

PadPlan plan_pad(const Tensor& src, const Tensor& dst, const PadAttrs& pad) {
  int axis = src.rank - 1;
  while (axis > 0 && !pad.before[axis] && !pad.after[axis] && !pad.interior[axis]) --axis;
  return {axis, product(dst, axis + 1, dst.rank), product(dst, 0, axis), pad, src, dst};
}

// The row of src that makes row `index` of dst, or -1 if that is all padding.
inline int64_t source_row(const PadPlan& plan, int64_t index) {
  int64_t row = 0, step = 1;
  for (int i = plan.axis - 1; i >= 0; --i) {
    const int64_t spacing = plan.pad.interior[i] + 1;
    const int64_t position = index % plan.dst.dims[i] - plan.pad.before[i];
    index /= plan.dst.dims[i];
    if (position < 0 || position % spacing || position / spacing >= plan.src.dims[i]) return -1;
    row += position / spacing * step;
    step *= plan.src.dims[i];
  }
  return row;
}

template <class T>
inline void fill_row(T* dst, int64_t count, T value) {
  for (int64_t i = 0; i < count; ++i) dst[i] = value;
}

template <class T>
inline void pad_row(const PadPlan& plan, const T* src, T* dst, T value) {
  const int64_t run = plan.run, size = plan.dst.dims[plan.axis], count = plan.src.dims[plan.axis];
  const int64_t before = plan.pad.before[plan.axis], spacing = plan.pad.interior[plan.axis] + 1;
  if (spacing > 1) {
    fill_row(dst, size * run, value);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t at = before + k * spacing;
      if (at >= 0 && at < size) copy_row(src + k * run, 1, dst + at * run, run);
    }
    return;
  }
  const int64_t begin = before < 0 ? 0 : (before < size ? before : size);
  const int64_t end = before + count < size ? before + count : size;
  if (end <= begin) return fill_row(dst, size * run, value);
  fill_row(dst, begin * run, value);
  copy_row(src + (begin - before) * run, 1, dst + begin * run, (end - begin) * run);
  fill_row(dst + end * run, (size - end) * run, value);
}

template <class T>
void pad_rows(const PadPlan& plan, const T* src, T* dst, T value) {
  const int64_t row = plan.run * plan.dst.dims[plan.axis];
  const int64_t src_row = plan.run * plan.src.dims[plan.axis];
  if (row == 0) return;
  parallel_blocks(plan.rows, ceil_div(kBlock, row), row, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t from = source_row(plan, i);
      if (from < 0)
        fill_row(dst + i * row, row, value);
      else
        pad_row(plan, src + from * src_row, dst + i * row, value);
    }
  });
}

void run_pad(const KernelCall& call) {
  const Tensor &src = call.inputs[0], &dst = call.outputs[0];
  const auto& a = attrs<PadAttrs>(call);
  uint64_t value = 0;
  with_type(dst.dtype, [&](auto tag) {
    const auto element = convert<typename decltype(tag)::type>(a.value);
    __builtin_memcpy(&value, &element, sizeof element);
  });
  if (elements(dst) == 0) return;
  const PadPlan plan = plan_pad(src, dst, a);
  with_size(size_of(dst.dtype), [&](auto tag) {
    using T = typename decltype(tag)::type;
    pad_rows(plan, static_cast<const T*>(src.data), static_cast<T*>(dst.data), (T)value);
  });
}

constexpr Kernel kConcat[] = {{"rows", nullptr, nullptr, run_concat}};
constexpr Kernel kSlice[] = {{"strided", nullptr, nullptr, run_slice}};
constexpr Kernel kPad[] = {{"rows", nullptr, nullptr, run_pad}};
constexpr Kernel kTranspose[] = {{"blocks", nullptr, nullptr, run_transpose}};
constexpr Kernel kBroadcast[] = {{"strided", nullptr, nullptr, run_broadcast}};

}  // namespace

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

}  // namespace fastconv::cpu::FASTCONV_ISA
