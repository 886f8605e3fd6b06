// A block multiplies tiles of 128 or 256 rows. A thread of its first warpgroup asks TMA for slices
// of 64 of the depth, a few ahead of the two other warpgroups, which multiply them, each half of
// the rows. Blocks stay and take the next tile: its slices come while results are written.
#include "convert.h"
#include "finish.h"
#pragma once
#include <type_traits>

#include "convert.h"
#include "finish.h"
#include "hopper.h"
#include "product_hopper.h"

namespace fastconv::cuda {

using BFloat16 = cpu::shared::BFloat16;

constexpr int kSlab = 64;  // rows that one instruction multiplies
constexpr int kSlice = kBoxWidth;
constexpr int kEach = 8;  // neighbouring results that a thread writes

struct alignas(16) Sixteen {
  uint32_t words[4];
};

__device__ __forceinline__ void load_each(const float* p, float (&x)[kEach]) {
#pragma unroll
  for (int i = 0; i < kEach; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(p + i);
    x[i] = four.x, x[i + 1] = four.y, x[i + 2] = four.z, x[i + 3] = four.w;
  }
}
__device__ __forceinline__ void load_each(const BFloat16* p, float (&x)[kEach]) {
  const Sixteen bytes = *reinterpret_cast<const Sixteen*>(p);
#pragma unroll
  for (int i = 0; i < kEach / 2; ++i) {
    x[2 * i] = __int_as_float((int)(bytes.words[i] << 16));
    x[2 * i + 1] = __int_as_float((int)(bytes.words[i] & 0xffff0000));
  }
}
__device__ __forceinline__ void store_each(float* p, const float (&x)[kEach]) {
#pragma unroll
  for (int i = 0; i < kEach; i += 4)
    *reinterpret_cast<float4*>(p + i) = {x[i], x[i + 1], x[i + 2], x[i + 3]};
}
__device__ __forceinline__ void store_each(BFloat16* p, const float (&x)[kEach]) {
  Sixteen bytes;
#pragma unroll
  for (int i = 0; i < kEach / 2; ++i) bytes.words[i] = pack_bfloat16(x[2 * i], x[2 * i + 1]);
  *reinterpret_cast<Sixteen*>(p) = bytes;
}

// The end of the operation, for neighbouring columns.
template <class T>
struct RowFinish {
  const float *scale, *bias;
  const T *add, *saved;
  T* dst;
  Activation activation;
  float alpha;

  struct Columns {
    float scale[kEach], bias[kEach];
  };
  __device__ __forceinline__ Columns columns(int64_t column) const {
    Columns c;
    if (scale) load_each(scale + column, c.scale);
    if (bias) load_each(bias + column, c.bias);
    return c;
  }
  __device__ __forceinline__ void put(int64_t at, const Columns& c, float (&x)[kEach]) const {
    float added[kEach], y[kEach];
    if (add) load_each(add + at, added);
    if (saved) load_each(saved + at, y);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (scale) x[i] *= c.scale[i];
      if (bias) x[i] += c.bias[i];
      if (add) x[i] += added[i];
      x[i] = saved ? slope(x[i], y[i]) : value(x[i]);
    }
    store_each(dst + at, x);
  }

 private:
  __device__ __forceinline__ float value(float x) const {
    const float below = activation == Activation::leaky_relu ? x * alpha : 0.0f;
    if (activation == Activation::relu6) return x < 0 ? 0.0f : x > 6 ? 6.0f : x;
    return activation != Activation::identity && x < 0 ? below : x;
  }
  __device__ __forceinline__ float slope(float dy, float y) const {
    const float below = activation == Activation::leaky_relu ? dy * alpha : 0.0f;
    if (activation == Activation::identity) return dy;
    return y > 0 && (activation != Activation::relu6 || y < 6.0f) ? dy : below;
  }
};

template <class T>
RowFinish<T> row_finish_of(const KernelCall& call, const Epilogue& e) {
  RowFinish<T> f = {};
  f.dst = output<T>(call, 0);
  f.alpha = e.alpha;
  f.activation = e.activation;
  int i = 2;
  if (e.scale) f.scale = input<float>(call, i++);
  if (e.bias) f.bias = input<float>(call, i++);
  if (e.add) f.add = input<T>(call, i++);
  if (e.derivative) f.saved = input<T>(call, i);
  return f;
}

// Where TMA reads the left operand.
struct Left {
  TensorMap map;
  bool slides;
  Divisor across, down;  // windows of a row, rows of an image
  int32_t stride[2], low[2], dilation[2], taps_across;

  struct Place {
    int32_t w, h, n;
  };
  __device__ __forceinline__ Place place(int64_t row) const {
    if (!slides) return {0, (int32_t)row, 0};
    const int64_t line = across(row), image = down(line);
    return {(int32_t)(row - line * across.size()) * stride[0] + low[0],
            (int32_t)(line - image * down.size()) * stride[1] + low[1], (int32_t)image};
  }
  struct Tap {
    int32_t w, h;
  };
  __device__ __forceinline__ Tap tap(int32_t i) const {
    const int32_t row = i / taps_across;
    return {(i - row * taps_across) * dilation[0], row * dilation[1]};
  }
  __device__ __forceinline__ void load(void* to, Barrier& barrier, int32_t channel, const Place& at,
                                       const Tap& tap) const {
    if (slides)
      load_windows(to, map, barrier, channel, at.w, at.h, at.n, tap.w, tap.h);
    else
      load_box(to, map, barrier, channel, at.h, 0);
  }
};

// Slabs: those a consumer multiplies at a time; Columns: of a tile.
template <int Slabs, int Columns, ProductKind Kind, class Out>
struct Tiles {
  static constexpr int kRowSlabs = 2 * Slabs, kBoxes = Columns / kBoxWidth;
  static constexpr int kStages = 204800 / ((kRowSlabs + kBoxes) * 2 * kSlab * kBoxWidth);
  static constexpr bool kTurnA = Kind == ProductKind::taps, kTurnB = Kind != ProductKind::turned;
  static constexpr int kThreads = 3 * kWarpgroup;

  struct Box {
    uint16_t rows[kSlab][kBoxWidth];
  };
  struct Stage {
    Box a[kRowSlabs], b[kBoxes];
  };
  struct Shared {
    Stage stages[kStages];
    Barrier full[kStages], empty[kStages];
  };

  Left left;
  TensorMap right;
  int32_t rows, depth, columns, taps;
  int32_t blocks;  // of 64 channels
  int32_t slabs, slices, slices_of_split;
  Divisor across, down;  // tiles
  int64_t tiles;         // of all splits
  RowFinish<Out> finish;
  float* partial;  // not null: sums of the splits, [splits, rows of dst, columns]

  struct Tile {
    int32_t slab, column, begin, end, split;
  };
  __device__ __forceinline__ Tile tile(int64_t i) const {
    const int64_t rest = across(i), split = down(rest);
    const int32_t begin = (int32_t)split * slices_of_split, end = begin + slices_of_split;
    return {(int32_t)(rest - split * down.size()) * kRowSlabs,
            (int32_t)(i - rest * across.size()) * Columns, begin, end < slices ? end : slices,
            (int32_t)split};
  }

  // The stages one after the other, again and again.
  struct Ring {
    int stage = 0, parity = 0;
    __device__ __forceinline__ void advance() {
      if (++stage < kStages) return;
      stage = 0;
      parity ^= 1;
    }
  };

  __device__ void operator()(Shared& shared) const {
    if constexpr (kHopper) {
      if (threadIdx.x == 0) {
        for (int i = 0; i < kStages; ++i) {
          make_barrier(shared.full[i], 1);
          make_barrier(shared.empty[i], 2);
        }
        publish_barriers();
      }
      __syncthreads();
      if (threadIdx.x < kWarpgroup) {
        keep_registers<40>();
        if (threadIdx.x == 0) produce(shared);
      } else {
        take_registers<232>();
        consume(shared);
      }
    }
  }

  __device__ __forceinline__ void produce(Shared& shared) const {
    Ring ring;
    for (int64_t i = blockIdx.x; i < tiles; i += gridDim.x) {
      const Tile t = tile(i);
      if constexpr (kTurnA)
        load_pixels(shared, ring, t);
      else
        load_taps(shared, ring, t);
    }
  }

  __device__ __forceinline__ void await_empty(Shared& shared, const Ring& ring) const {
    wait_for(shared.empty[ring.stage], ring.parity ^ 1);
    arrive_expecting(shared.full[ring.stage], (int)sizeof(Stage));
  }

  // Slices of the channels of one tap after the other.
  __device__ __forceinline__ void load_taps(Shared& shared, Ring& ring, const Tile& t) const {
    const typename Left::Place place = left.place((int64_t)t.slab * kSlab);
    int32_t tap = t.begin / blocks, block = t.begin - tap * blocks;
#pragma unroll 1
    for (int32_t slice = t.begin; slice < t.end; ++slice, ring.advance()) {
      await_empty(shared, ring);
      Stage& stage = shared.stages[ring.stage];
      Barrier& full = shared.full[ring.stage];
      left.load(stage.a, full, block * kSlice, place, left.tap(tap));
      if constexpr (kTurnB) {
#pragma unroll
        for (int box = 0; box < kBoxes; ++box)
          load_box(&stage.b[box], right, full, t.column + box * kBoxWidth, block * kSlice, tap);
      } else {
        load_box(stage.b, right, full, block * kSlice, t.column, taps - 1 - tap);
      }
      if (++block < blocks) continue;
      block = 0;
      ++tap;
    }
  }

  // Slices of the pixels; a slab is a block of channels at a tap.
  __device__ __forceinline__ void load_pixels(Shared& shared, Ring& ring, const Tile& t) const {
    int32_t channel[kRowSlabs];
    typename Left::Tap at[kRowSlabs];
#pragma unroll
    for (int i = 0; i < kRowSlabs; ++i) {
      const int32_t slab = t.slab + i < slabs ? t.slab + i : slabs - 1, tap = slab / blocks;
      channel[i] = (slab - tap * blocks) * kSlab;
      at[i] = left.tap(tap);
    }
#pragma unroll 1
    for (int32_t slice = t.begin; slice < t.end; ++slice, ring.advance()) {
      const typename Left::Place place = left.place((int64_t)slice * kSlice);
      await_empty(shared, ring);
      Stage& stage = shared.stages[ring.stage];
      Barrier& full = shared.full[ring.stage];
#pragma unroll
      for (int i = 0; i < kRowSlabs; ++i) left.load(&stage.a[i], full, channel[i], place, at[i]);
#pragma unroll
      for (int box = 0; box < kBoxes; ++box)
        load_box(&stage.b[box], right, full, t.column + box * kBoxWidth, slice * kSlice, 0);
    }
  }

  __device__ __forceinline__ void consume(Shared& shared) const {
    const int first = ((int)threadIdx.x / kWarpgroup - 1) * Slabs;
    Ring ring;
    for (int64_t i = blockIdx.x; i < tiles; i += gridDim.x) {
      const Tile t = tile(i);
      float sums[Slabs][Columns / 2];
      accumulate(shared, ring, t.end - t.begin, first, sums);
      write(t, t.slab + first, sums);
    }
  }

  __device__ __forceinline__ void accumulate(Shared& shared, Ring& ring, int32_t count, int first,
                                             float (&sums)[Slabs][Columns / 2]) const {
    constexpr int kDepth = 16;  // of an instruction
    const bool leads = threadIdx.x % kWarpgroup == 0;
    int previous = -1;
#pragma unroll 1
    for (int32_t slice = 0; slice < count; ++slice, ring.advance()) {
      const Stage& stage = shared.stages[ring.stage];
      wait_for(shared.full[ring.stage], ring.parity);
      fence_products();
#pragma unroll
      for (int k = 0; k < kSlice; k += kDepth) {
        const uint64_t b = describe_operand<kTurnB>(from<kTurnB>(stage.b[0], k));
#pragma unroll
        for (int s = 0; s < Slabs; ++s)
          multiply<kTurnA, kTurnB>(sums[s],
                                   describe_operand<kTurnA>(from<kTurnA>(stage.a[first + s], k)), b,
                                   slice > 0 || k > 0);
      }
      end_group();
      wait_for_groups<1>();
      if (previous >= 0 && leads) arrive(shared.empty[previous]);
      previous = ring.stage;
    }
    wait_for_groups<0>();
    if (leads) arrive(shared.empty[previous]);
  }

  // Where an operand begins at k.
  template <bool Turned>
  __device__ static __forceinline__ const uint16_t* from(const Box& box, int k) {
    return Turned ? box.rows[k] : box.rows[0] + k;
  }

  // A thread has two neighbours of every eight columns, in two rows of a slab. Four threads that
  // share the rows swap, so that each writes eight neighbours.
  __device__ __forceinline__ void write(const Tile& t, int32_t first,
                                        const float (&sums)[Slabs][Columns / 2]) const {
    const int lane = (int)threadIdx.x % kWarp, member = lane % 4;
    const int row = (int)threadIdx.x % kWarpgroup / kWarp * 16 + lane / 4;
#pragma unroll
    for (int group = 0; group < Columns / 32; ++group) {
      const int32_t column = t.column + group * 32 + member * kEach;
      const typename RowFinish<Out>::Columns ends = !partial && column < columns
                                                        ? finish.columns(column)
                                                        : typename RowFinish<Out>::Columns{};
#pragma unroll
      for (int s = 0; s < Slabs; ++s)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float x[kEach];
          gather(sums[s], group, half, member, x);
          const int64_t line = line_of(first + s, row + 8 * half);
          if (line < 0 || column >= columns) continue;
          if (partial)
            store_each(partial + (t.split * lines() + line) * columns + column, x);
          else
            finish.put(line * columns + column, ends, x);
        }
    }
  }

  __device__ static __forceinline__ void gather(const float* sums, int group, int half, int member,
                                                float (&x)[kEach]) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) x[i] = sums[(group * 4 + i / 2) * 4 + 2 * half + i % 2];
#pragma unroll
    for (int step = 1; step <= 2; step *= 2)
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        if (i & 2 * step) continue;
        float& low = x[i];
        float& high = x[i + 2 * step];
        const float other = __shfl_xor_sync(kAllLanes, member & step ? low : high, step);
        (member & step ? low : high) = other;
      }
  }

  // Rows of dst, and the one of a slab's row, or -1.
  __device__ __forceinline__ int64_t lines() const { return kTurnA ? (int64_t)taps * depth : rows; }
  __device__ __forceinline__ int64_t line_of(int32_t slab, int row) const {
    if constexpr (kTurnA) {
      const int32_t tap = slab / blocks, channel = (slab - tap * blocks) * kSlab + row;
      return slab < slabs && channel < depth ? (int64_t)tap * depth + channel : -1;
    } else {
      const int64_t line = (int64_t)slab * kSlab + row;
      return line < rows ? line : -1;
    }
  }
};

}  // namespace fastconv::cuda
