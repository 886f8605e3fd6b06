// A block multiplies tiles of 128 or 256 rows. A thread of its first warpgroup asks TMA for slices
// of the depth, of 128 bytes, a few ahead of the two other warpgroups, which multiply them, each
// half of the rows. Blocks stay and take the next tile: its slices come while results are written.
#pragma once
#include "finish.h"
#include "hopper.h"
#include "product_hopper.h"
#include "tile_moments.h"

namespace fastconv::cuda {

constexpr int kSlab = 64;  // rows of a box, which one instruction multiplies

// Pixels of dst that rows are, if they are not all of them.
struct Spread {
  bool spreads;
  int32_t size[2], first[2], apart[2];
};

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

// What the warps of a consumer tell each other of the moments of a tile, in turns.
template <bool Moments, int Columns>
struct Told {
  static constexpr int kWarps = kWarpgroup / kWarp;
  Moment of[2][2][kWarps][Columns];  // turn, consumer
  Barrier all[2];
};
template <int Columns>
struct Told<false, Columns> {};

// Slabs: those a consumer multiplies at a time; Columns: of a tile; Blocks: of a multiprocessor.
// With Moments, those of the results are kept, too.
template <class T, int Slabs, int Columns, int Blocks, ProductKind Kind, class Out, bool Moments>
struct Tiles {
  static constexpr int kSlice = kBoxWidth<T>;
  static constexpr int kRowSlabs = 2 * Slabs, kBoxes = Columns / kSlab;
  static constexpr int kBlocks = Blocks;
  static constexpr int kStages = 204800 / Blocks / ((kRowSlabs + kBoxes) * kSlab * kBoxBytes);
  static constexpr bool kTurnA = Kind == ProductKind::taps, kTurnB = Kind != ProductKind::turned;
  static constexpr int kThreads = 3 * kWarpgroup;

  struct Box {
    unsigned char rows[kSlab][kBoxBytes];
  };
  struct Stage {
    Box a[kRowSlabs], b[kBoxes];
  };
  struct Shared {
    Stage stages[kStages];
    Barrier full[kStages], empty[kStages];
    Told<Moments, Columns> told;
  };

  Left left;
  TensorMap right;
  int32_t first_matrix, matrix_step[2];  // of `right`, by taps along W and H
  Spread spread;
  int32_t rows, depth, columns, taps;
  int32_t blocks;  // of channels: a slice, or kSlab
  int32_t slabs, slices, slices_of_split;
  Divisor across, down;  // tiles
  int64_t tiles;         // of all splits
  Finish<Out> finish;
  float* partial;  // not null: sums of the splits, [splits, rows of dst, columns]
  float* moments;  // [parts of Slabs * kSlab rows, 2, columns], of statistics.h

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
        if constexpr (Moments)
          for (Barrier& all : shared.told.all) make_barrier(all, shared.told.kWarps);
        publish_barriers();
      }
      __syncthreads();
      if (threadIdx.x < kWarpgroup) {
        keep_registers<Blocks == 1 ? 40 : 32>();
        if (threadIdx.x == 0) produce(shared);
      } else {
        take_registers<Blocks == 1 ? 232 : 104>();
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
    const int32_t tap = t.begin / blocks;
    int32_t block = t.begin - tap * blocks, h = tap / left.taps_across;
    int32_t w = tap - h * left.taps_across;
#pragma unroll 1
    for (int32_t slice = t.begin; slice < t.end; ++slice, ring.advance()) {
      await_empty(shared, ring);
      Stage& stage = shared.stages[ring.stage];
      Barrier& full = shared.full[ring.stage];
      const int32_t matrix = first_matrix + w * matrix_step[0] + h * matrix_step[1];
      left.load(stage.a, full, block * kSlice, place, {w * left.dilation[0], h * left.dilation[1]});
      if constexpr (kTurnB) {
#pragma unroll
        for (int box = 0; box < kBoxes; ++box)
          load_box(&stage.b[box], right, full, t.column + box * kSlice, block * kSlice, matrix);
      } else {
        load_box(stage.b, right, full, block * kSlice, t.column, matrix);
      }
      if (++block < blocks) continue;
      block = 0;
      if (++w < left.taps_across) continue;
      w = 0;
      ++h;
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
        load_box(&stage.b[box], right, full, t.column + box * kSlice, slice * kSlice, 0);
    }
  }

  __device__ __forceinline__ void consume(Shared& shared) const {
    const int first = ((int)threadIdx.x / kWarpgroup - 1) * Slabs;
    Ring ring;
    int turn = 0;
    for (int64_t i = blockIdx.x; i < tiles; i += gridDim.x, turn ^= 1) {
      const Tile t = tile(i);
      float sums[Slabs][Columns / 2];
      accumulate(shared, ring, t.end - t.begin, first, sums);
      write(t, t.slab + first, sums);
      if constexpr (Moments) keep(shared.told, turn, t.slab + first, t.column, sums);
    }
  }

  __device__ __forceinline__ void accumulate(Shared& shared, Ring& ring, int32_t count, int first,
                                             float (&sums)[Slabs][Columns / 2]) const {
    constexpr int kDepth = 32;  // bytes of an instruction
    const bool leads = threadIdx.x % kWarpgroup == 0;
    int previous = -1;
    if (count == 0) clear(sums);
#pragma unroll 1
    for (int32_t slice = 0; slice < count; ++slice, ring.advance()) {
      const Stage& stage = shared.stages[ring.stage];
      wait_for(shared.full[ring.stage], ring.parity);
      fence_products();
#pragma unroll
      for (int k = 0; k < kBoxBytes; k += kDepth) {
        const uint64_t b = describe_operand<kTurnB>(from<kTurnB>(stage.b[0], k));
#pragma unroll
        for (int s = 0; s < Slabs; ++s)
          multiply<T, kTurnA, kTurnB>(sums[s],
                                      describe_operand<kTurnA>(from<kTurnA>(stage.a[first + s], k)),
                                      b, slice > 0 || k > 0);
      }
      end_group();
      wait_for_groups<1>();
      if (previous >= 0 && leads) arrive(shared.empty[previous]);
      previous = ring.stage;
    }
    wait_for_groups<0>();
    if (previous >= 0 && leads) arrive(shared.empty[previous]);
  }

  __device__ static __forceinline__ void clear(float (&sums)[Slabs][Columns / 2]) {
#pragma unroll
    for (int s = 0; s < Slabs; ++s)
#pragma unroll
      for (int i = 0; i < Columns / 2; ++i) sums[s][i] = 0;
  }

  // Where an operand begins at these bytes of k.
  template <bool Turned>
  __device__ static __forceinline__ const unsigned char* from(const Box& box, int k) {
    return Turned ? box.rows[k / (int)sizeof(T)] : box.rows[0] + k;
  }

  // A thread has two neighbours of every eight columns, in two rows of a slab.
  __device__ __forceinline__ void write(const Tile& t, int32_t first,
                                        const float (&sums)[Slabs][Columns / 2]) const {
    const int row = (int)threadIdx.x % kWarpgroup / kWarp * 16 + (int)threadIdx.x % kWarp / 4;
#pragma unroll
    for (int s = 0; s < Slabs; ++s)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t line = line_of(first + s, row + 8 * half);
        if (partial)
          write_sums(partial + t.split * lines() * columns, line, t.column, half, sums[s]);
        else if constexpr (kTurnA)
          write_sums(finish.dst, line, t.column, half, sums[s]);
        else if constexpr (sizeof(Out) == sizeof(float))
          write_pairs(line, t.column, half, sums[s]);
        else
          write_row(line, t.column, half, sums[s]);
      }
  }

  // A tile's moments may still be read while those of the next one are written, but no longer.
  __device__ __forceinline__ void keep(Told<Moments, Columns>& told, int turn, int32_t slab,
                                       int32_t column,
                                       const float (&sums)[Slabs][Columns / 2]) const {
    constexpr int kWarps = kWarpgroup / kWarp, kHigh = kSlab / kWarps;  // rows of a warp in a slab
    const int consumer = (int)threadIdx.x / kWarpgroup - 1;
    const int mine = (int)threadIdx.x % kWarpgroup, warp = mine / kWarp;
    const int32_t left = (int32_t)(rows - (int64_t)slab * kSlab);
    const LaneMoments<2 * Slabs> lane(
        [&](int r) { return r / 2 * kSlab + warp * kHigh + r % 2 * 8 + mine % kWarp / 4 < left; });
#pragma unroll
    for (int at = 0; at < Columns; at += 32) {
      typename Finish<Out>::Columns ends = {};
      if (finish.bias) ends = ends_of(column + at + mine % 4 * 2);
      lane.template keep<Out>(&told.of[turn][consumer][warp][at], ends.bias, [&](int r, int i) {
        return sums[r / 2][(at / 8 + i / 2) * 4 + r % 2 * 2 + i % 2];
      });
    }
    __syncwarp();
    if (mine % kWarp == 0) arrive(told.all[consumer]);
    wait_for(told.all[consumer], turn);
    if (mine >= Columns || column + mine >= columns || left <= 0) return;
    Moment of[kWarps];
    int high[kWarps];
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      of[w] = told.of[turn][consumer][w][mine];
      high[w] = 0;
#pragma unroll
      for (int s = 0; s < Slabs; ++s) high[w] += clamped(left - s * kSlab - w * kHigh, kHigh);
    }
    const Moment all = join_warps(of, high);
    float* to = moments + (int64_t)(slab / Slabs) * 2 * columns + column + mine;
    to[0] = all.mean, to[columns] = all.squares;
  }
  __device__ static __forceinline__ int clamped(int rows, int most) {
    return rows < 0 ? 0 : rows < most ? rows : most;
  }

  __device__ __forceinline__ void write_sums(float* to, int64_t line, int32_t column, int half,
                                             const float* sums) const {
    if (line < 0) return;
    const int32_t pair = column + (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int block = 0; block < Columns / 8; ++block)
      if (pair + block * 8 < columns)
        *reinterpret_cast<float2*>(to + line * columns + pair + block * 8) = {
            sums[block * 4 + 2 * half], sums[block * 4 + 2 * half + 1]};
  }

  // Results in float32: four threads that share a row write whole sectors.
  __device__ __forceinline__ void write_pairs(int64_t line, int32_t column, int half,
                                              const float* sums) const {
    const int32_t mine = column + (int)threadIdx.x % 4 * 2;
    const auto inside = [&](int pair) { return line >= 0 && mine + pair * 8 < columns; };
    const auto read = [&](const float* from, int first, float (&x)[8]) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (!inside(first + i)) continue;
        const float2 pair =
            *reinterpret_cast<const float2*>(from + line * columns + mine + (first + i) * 8);
        x[2 * i] = pair.x, x[2 * i + 1] = pair.y;
      }
    };
#pragma unroll
    for (int first = 0; first < Columns / 8; first += 4) {
      float x[8], added[8] = {}, y[8] = {};
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = sums[(first + i / 2) * 4 + 2 * half + i % 2];
      typename Finish<Out>::Columns ends;
      if (finish.scale || finish.bias) ends = ends_of(mine + first * 8);
      if (finish.add) read(finish.add, first, added);
      if (finish.saved) read(finish.saved, first, y);
      finish.apply(ends, added, y, x);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (inside(first + i))
          *reinterpret_cast<float2*>(finish.dst + line * columns + mine + (first + i) * 8) = {
              x[2 * i], x[2 * i + 1]};
    }
  }

  // Four threads that share a row swap, so that each has eight neighbours in memory; and with what
  // stands beside the results, so that each has it for its pairs.
  __device__ __forceinline__ void write_row(int64_t line, int32_t column, int half,
                                            const float* sums) const {
    constexpr int kGroups = Columns / 32;
    const int member = (int)threadIdx.x % 4;
    const int32_t mine = column + member * 8;
    const int64_t at = line * columns + mine;
    const auto inside = [&](int group) { return line >= 0 && mine + group * 32 < columns; };
    Chunk add[kGroups] = {}, saved[kGroups] = {};
    const auto read = [&](int group) {
      const int64_t from = at + group * 32;
      if (finish.add && inside(group)) add[group] = chunk_at(finish.add + from);
      if (finish.saved && inside(group)) saved[group] = chunk_at(finish.saved + from);
    };
    // All are asked for before the first is used, if there are the registers.
    if constexpr (Blocks == 1)
#pragma unroll
      for (int group = 0; group < kGroups; ++group) read(group);
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      if constexpr (Blocks > 1) read(group);
      float x[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = sums[(group * 4 + i / 2) * 4 + 2 * half + i % 2];
      typename Finish<Out>::Columns ends;
      float added[8], y[8];
      if (finish.scale || finish.bias) ends = ends_of(column + group * 32 + 2 * member);
      if (finish.add) unpack<Out>(swapped(add[group]), added);
      if (finish.saved) unpack<Out>(swapped(saved[group]), y);
      finish.apply(ends, added, y, x);
      const Chunk bytes = swapped(narrow_eight<Out>(x));
      if (inside(group)) *reinterpret_cast<Chunk*>(finish.dst + at + group * 32) = bytes;
    }
  }

  __device__ static __forceinline__ Chunk chunk_at(const Out* from) {
    return *reinterpret_cast<const Chunk*>(from);
  }

  // Scale and bias of two of every eight columns from `first` on.
  __device__ __forceinline__ typename Finish<Out>::Columns ends_of(int32_t first) const {
    typename Finish<Out>::Columns ends;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int32_t column = first + i / 2 * 8 + i % 2;
      const bool inside = column < columns;
      ends.scale[i] = finish.scale && inside ? finish.scale[column] : 1.0f;
      ends.bias[i] = finish.bias && inside ? finish.bias[column] : 0.0f;
    }
    return ends;
  }

  // Word i of thread j, of four, for word j of thread i.
  __device__ static __forceinline__ Chunk swapped(Chunk bytes) {
#pragma unroll
    for (int step = 1; step <= 2; step *= 2) {
      const bool upper = threadIdx.x & step;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i & step) continue;
        uint32_t &low = bytes.words[i], &high = bytes.words[i + step];
        const uint32_t other = __shfl_xor_sync(kAllLanes, upper ? low : high, step);
        low = upper ? other : low;
        high = upper ? high : other;
      }
    }
    return bytes;
  }

  // Rows of dst, and the one of a slab's row, or -1.
  __device__ __forceinline__ int64_t lines() const { return kTurnA ? (int64_t)taps * depth : rows; }
  __device__ __forceinline__ int64_t line_of(int32_t slab, int row) const {
    if constexpr (kTurnA) {
      const int32_t tap = slab / blocks, channel = (slab - tap * blocks) * kSlab + row;
      return slab < slabs && channel < depth ? (int64_t)tap * depth + channel : -1;
    } else {
      const int64_t line = (int64_t)slab * kSlab + row;
      if (line >= rows) return -1;
      if (!spread.spreads) return line;
      const int64_t h = left.across(line), n = left.down(h);
      const int32_t x = (int32_t)(line - h * left.across.size()) * spread.apart[0];
      const int32_t y = (int32_t)(h - n * left.down.size()) * spread.apart[1];
      return (n * spread.size[1] + y + spread.first[1]) * spread.size[0] + x + spread.first[0];
    }
  }
};

}  // namespace fastconv::cuda
