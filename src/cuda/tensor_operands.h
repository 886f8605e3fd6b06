// The operands of bfloat16 products (tensor_product.h): where their chunks are. Each has a Loader,
// which a thread makes once for its rows of a tile, and which brings one step after the other.
//
// The rows of a map are the pixels of a result. Forward, and backward with a stride of 1, they are
// all of one kind. Backward with a stride of s there are s kinds an axis, phases: pixels that are s
// apart are reached by the same taps, and each phase is a convolution of its own.
#pragma once
#include "conv_gather.h"
#include "tensor_tile.h"

namespace fastconv::cuda {

constexpr int kMostStride = 4;
constexpr int32_t kNowhere = -(1 << 30);  // outside every map

// An axis of a phase. Row i reads, by tap j, at  start + i * stride + j * step  of the map.
struct Phase {
  int32_t taps, first_tap;  // they are first_tap + j * tap_step of the window
  int32_t start;
  int32_t first;  // row i is pixel  first + i * phases  of the result
};

struct Correlation {
  Split rows;        // pixels of a phase
  Divisor phases;    // in all: the slices of a group
  int32_t count[3];  // phases of an axis
  Phase axis[3][kMostStride];
  int32_t size[3];    // of the map
  int32_t result[3];  // of the result
  int32_t stride[3], step[3], tap_step[3], window[3];
  int32_t depth;                 // values of a tap: channels of a group
  int64_t pixel, sample, group;  // elements of the map
  int64_t batch;

  __host__ Correlation(const Split& pixels, int64_t slices) : rows(pixels), phases(slices) {}

  struct Slice {
    int64_t group;
    Phase axis[3];
    int32_t bases[3];  // of k: taps along H and W, depth
  };
  __device__ __forceinline__ Slice slice(int64_t index) const {
    Slice s;
    s.group = phases(index);
    int32_t phase = (int32_t)(index - s.group * phases.size());
#pragma unroll
    for (int i = 2; i >= 0; --i) {
      s.axis[i] = axis[i][phase % count[i]];
      phase /= count[i];
    }
    s.bases[0] = s.axis[1].taps, s.bases[1] = s.axis[2].taps, s.bases[2] = depth;
    // Of an axis without taps all are beyond the last.
    for (int i = 0; i < 2; ++i)
      if (s.bases[i] == 0) s.bases[i] = 1;
    return s;
  }
};

// Pixels, by taps and channels.
struct WindowRows {
  Correlation c;
  const BFloat16* map;
  __device__ __forceinline__ int64_t length(const Correlation::Slice& s) const {
    return (int64_t)s.axis[0].taps * s.axis[1].taps * s.axis[2].taps * c.depth;
  }

  template <int Outer>
  class Loader {
   public:
    using Tile = AlongDepth<Outer>;

    __device__ Loader(const WindowRows& w, int64_t first, int64_t end, uint32_t begin,
                      const Correlation::Slice& slice)
        : w_(w),
          slice_(slice),
          k_(Digits::of(begin + Tile::chunk() * kChunk, slice.bases)),
          grow_(Digits::of(kStepDepth, slice.bases)) {
      const Correlation& c = w.c;
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) {
        const int64_t row = first + Tile::row(i);
        const Split::Parts p = c.rows(row < end ? row : first);
        int64_t position = 0;
#pragma unroll
        for (int a = 0; a < 3; ++a) {
          at_[i][a] = p.at[a] * c.stride[a] + slice.axis[a].start;
          position = position * c.size[a] + at_[i][a];
        }
        rows_[i] = w.map + p.outer * c.sample + slice.group * c.group + position * c.pixel;
        if (row >= end) at_[i][2] = kNowhere;
      }
    }

    __device__ __forceinline__ void load(Chunk* tile) {
      const Correlation& c = w_.c;
      const int32_t d = k_.at[0] * c.step[0], h = k_.at[1] * c.step[1], x = k_.at[2] * c.step[2];
      const int64_t offset = ((int64_t)(d * c.size[1] + h) * c.size[2] + x) * c.pixel + k_.at[3];
      const bool deep = k_.at[0] < slice_.axis[0].taps;
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) {
        const bool inside = (uint32_t)(at_[i][0] + d) < (uint32_t)c.size[0] &&
                            (uint32_t)(at_[i][1] + h) < (uint32_t)c.size[1] &&
                            (uint32_t)(at_[i][2] + x) < (uint32_t)c.size[2];
        copy_async(tile + Tile::at(i), rows_[i] + offset, deep && inside);
      }
      k_.add(grow_, slice_.bases);
    }

   private:
    const WindowRows& w_;
    const Correlation::Slice& slice_;
    Digits k_, grow_;
    const BFloat16* rows_[Tile::kRows];
    int32_t at_[Tile::kRows][3];
  };
};

// Weights [taps, channels, filters] by channel, and the taps and filters of a slice.
struct TurnedFilters {
  Correlation c;
  const BFloat16* weights;
  int64_t channel, tap, group;  // elements

  template <int Outer>
  class Loader {
   public:
    using Tile = AlongDepth<Outer>;

    __device__ Loader(const TurnedFilters& f, int64_t first, int64_t end, uint32_t begin,
                      const Correlation::Slice& slice)
        : f_(f),
          slice_(slice),
          k_(Digits::of(begin + Tile::chunk() * kChunk, slice.bases)),
          grow_(Digits::of(kStepDepth, slice.bases)),
          rows_(f.weights + slice.group * f.group + (first + Tile::row(0)) * f.channel) {
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) inside_[i] = first + Tile::row(i) < end;
    }

    __device__ __forceinline__ void load(Chunk* tile) {
      int32_t tap = 0;
#pragma unroll
      for (int a = 0; a < 3; ++a)
        tap = tap * f_.c.window[a] + slice_.axis[a].first_tap + k_.at[a] * f_.c.tap_step[a];
      const BFloat16* from = rows_ + tap * f_.tap + k_.at[3];
      const bool deep = k_.at[0] < slice_.axis[0].taps;
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i)
        copy_async(tile + Tile::at(i), from + i * Tile::kApart * f_.channel, deep && inside_[i]);
      k_.add(grow_, slice_.bases);
    }

   private:
    const TurnedFilters& f_;
    const Correlation::Slice& slice_;
    Digits k_, grow_;
    const BFloat16* rows_;
    bool inside_[Tile::kRows];
  };
};

// A matrix [k, outer].
struct MatrixRows {
  const BFloat16* data;
  int64_t pitch, length, group;  // elements of a row, rows, elements between groups

  template <int Outer>
  class Loader {
   public:
    using Tile = AcrossDepth<Outer>;

    __device__ Loader(const MatrixRows& m, int64_t first, int64_t end, uint32_t begin,
                      const Correlation::Slice& slice)
        : m_(m),
          left_(m.length - begin - Tile::row(0)),
          from_(m.data + slice.group * m.group + (begin + Tile::row(0)) * m.pitch + first +
                Tile::chunk(0) * kChunk) {
#pragma unroll
      for (int j = 0; j < Tile::kColumns; ++j) inside_[j] = first + Tile::chunk(j) * kChunk < end;
    }

    __device__ __forceinline__ void load(Chunk* tile) {
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i)
#pragma unroll
        for (int j = 0; j < Tile::kColumns; ++j)
          copy_async(tile + Tile::at(i, j),
                     from_ + i * Tile::kApart * m_.pitch + j * Tile::kSide * kChunk,
                     inside_[j] && i * Tile::kApart < left_);
      left_ -= kStepDepth;
      from_ += kStepDepth * m_.pitch;
    }

   private:
    const MatrixRows& m_;
    int64_t left_;
    const BFloat16* from_;
    bool inside_[Tile::kColumns];
  };
};

// Taps and channels, by pixels: the windows of WindowRows turned.
struct WindowColumns {
  Correlation c;  // of one phase
  const BFloat16* map;
  int64_t pixels;
  __device__ __forceinline__ int64_t length(const Correlation::Slice&) const { return pixels; }

  template <int Outer>
  class Loader {
   public:
    using Tile = AcrossDepth<Outer>;

    __device__ Loader(const WindowColumns& w, int64_t first, int64_t end, uint32_t begin,
                      const Correlation::Slice& slice)
        : w_(w), map_(w.map + slice.group * w.c.group) {
      const Correlation& c = w.c;
#pragma unroll
      for (int a = 0; a < 3; ++a) bases_[a] = (int32_t)c.rows.size(a);
      grow_ = Digits::of(kStepDepth, bases_);
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) {
        const Split::Parts p = c.rows((int64_t)begin + Tile::row(i));
        k_[i] = {{(int32_t)p.outer, p.at[0], p.at[1], p.at[2]}};
      }
#pragma unroll
      for (int j = 0; j < Tile::kColumns; ++j) {
        const int64_t column = first + Tile::chunk(j) * kChunk;
        const Digits tap = Digits::of((uint32_t)(column < end ? column : 0), slice.bases);
#pragma unroll
        for (int a = 0; a < 3; ++a) at_[j][a] = tap.at[a] * c.step[a];
        offset_[j] =
            ((int64_t)(at_[j][0] * c.size[1] + at_[j][1]) * c.size[2] + at_[j][2]) * c.pixel +
            tap.at[3];
        if (column >= end) at_[j][2] = kNowhere;
      }
    }

    __device__ __forceinline__ void load(Chunk* tile) {
      const Correlation& c = w_.c;
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) {
        int32_t at[3];
#pragma unroll
        for (int a = 0; a < 3; ++a) at[a] = k_[i].at[a + 1] * c.stride[a] + c.axis[a][0].start;
        const BFloat16* from = map_ + k_[i].at[0] * c.sample +
                               ((int64_t)(at[0] * c.size[1] + at[1]) * c.size[2] + at[2]) * c.pixel;
        const bool deep = k_[i].at[0] < c.batch;
#pragma unroll
        for (int j = 0; j < Tile::kColumns; ++j) {
          const bool inside = (uint32_t)(at[0] + at_[j][0]) < (uint32_t)c.size[0] &&
                              (uint32_t)(at[1] + at_[j][1]) < (uint32_t)c.size[1] &&
                              (uint32_t)(at[2] + at_[j][2]) < (uint32_t)c.size[2];
          copy_async(tile + Tile::at(i, j), from + offset_[j], deep && inside);
        }
        k_[i].add(grow_, bases_);
      }
    }

   private:
    const WindowColumns& w_;
    const BFloat16* map_;
    int32_t bases_[3];
    Digits grow_, k_[Tile::kRows];
    int64_t offset_[Tile::kColumns];
    int32_t at_[Tile::kColumns][3];
  };
};

// Where a row of a slice of C is in dst: its first element, or -1 if dst has none; and its column
// for scale and bias.
struct PixelResult {
  Correlation c;
  int64_t pixel, group;  // elements of dst
  __device__ __forceinline__ int64_t column(int64_t slice) const { return c.phases(slice) * group; }
  __device__ __forceinline__ int64_t at(int64_t slice, int64_t row) const {
    if (c.phases.size() == 1) return slice * group + row * pixel;
    const Correlation::Slice s = c.slice(slice);
    const Split::Parts p = c.rows(row);
    int64_t position = p.outer;
#pragma unroll
    for (int a = 0; a < 3; ++a) {
      const int32_t at = s.axis[a].first + p.at[a] * c.count[a];
      if (at >= c.result[a]) return -1;
      position = position * c.result[a] + at;
    }
    return s.group * group + position * pixel;
  }
  __host__ bool aligned() const { return pixel % 8 == 0 && group % 8 == 0; }
};

// Rows are taps and channels, some of which only fill up the map's pixels.
struct FilterResult {
  Divisor run, pixel;      // values of a tap of the product; those of one tap of the window
  int32_t taps, channels;  // of the window in such a run; of a tap
  int64_t filters, group;  // elements of a row; of a group
  __device__ __forceinline__ int64_t column(int64_t) const { return 0; }
  __device__ __forceinline__ int64_t at(int64_t slice, int64_t row) const {
    const int64_t outer = run(row), value = row - outer * run.size();
    const int64_t tap = pixel(value), channel = value - tap * pixel.size();
    if (tap >= taps || channel >= channels) return -1;
    return ((outer * taps + tap) * channels + channel) * filters + slice * group;
  }
  __host__ bool aligned() const { return filters % 8 == 0 && group % 8 == 0; }
};

}  // namespace fastconv::cuda
