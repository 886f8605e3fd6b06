// The operands of products on tensor cores (tensor_product.h): where their chunks are. Each has a
// Loader, which a thread makes once for its rows of a tile, and which brings one step after the
// other. T: see tensor_tile.h.
//
// The rows of a map are the pixels of a result. Forward, and backward with a stride of 1, they are
// all of one kind. Backward with a stride of s there are s kinds an axis, phases: pixels that are s
// apart are reached by the same taps, and each phase is a convolution of its own.
//
// Pixels, depths and the elements of a sample and of weights fit 31 bits (conv_tensor_declines).
#pragma once
#include "conv.h"
#include "tensor_tile.h"

namespace fastconv::cuda {

constexpr int kMostStride = 4;
constexpr int kMostTaps = 31;             // along all axes together
constexpr int32_t kNowhere = -(1 << 30);  // outside every map

// An axis of a phase. Row i reads, by tap j, at  start + i * stride + j * step  of the map.
struct Phase {
  Divisor taps;
  int32_t first_tap;  // they are first_tap + j * tap_step of the window
  int32_t start;
  int32_t first;  // row i is pixel  first + i * phases  of the result
};

struct Correlation {
  Divisor rows[3];   // pixels of a phase
  Divisor phases;    // in all: the slices of a group
  int32_t count[3];  // phases of an axis
  Phase axis[3][kMostStride];
  int32_t size[3];    // of the map
  int32_t result[3];  // of the result
  int32_t stride[3], step[3], tap_step[3], window[3];
  Divisor depth;          // values of a tap: channels of a group
  int32_t distance[3];    // elements of the map between neighbours along an axis
  int32_t sample, group;  // elements of the map

  struct Slice {
    int32_t group;
    Phase axis[3];
    Divisor bases[3];  // of k: taps along H and W, depth
  };
  __device__ __forceinline__ Slice slice(int32_t index) const {
    Slice s;
    s.group = index;
    int32_t phase = 0;
    if (phases.size() > 1) {
      s.group = phases.narrow(index);
      phase = index - s.group * (int32_t)phases.size();
    }
#pragma unroll
    for (int i = 2; i >= 0; --i) {
      s.axis[i] = axis[i][phase % (uint32_t)count[i]];
      phase /= (uint32_t)count[i];
    }
    s.bases[0] = s.axis[1].taps, s.bases[1] = s.axis[2].taps, s.bases[2] = depth;
    return s;
  }
};
// Without taps there are no steps.
__device__ __forceinline__ int32_t depth_of(const Correlation::Slice& s) {
  return (int32_t)(s.axis[0].taps.size() * s.bases[0].size() * s.bases[1].size() *
                   s.bases[2].size());
}

// Pixels, by taps and channels.
template <class T>
struct WindowRows {
  using Element = T;
  Correlation c;
  const T* map;
  __device__ __forceinline__ int32_t length(const Correlation::Slice& s) const {
    return depth_of(s);
  }

  template <int Outer>
  class Loader {
   public:
    using Tile = AlongDepth<T, Outer>;

    __device__ Loader(const WindowRows& w, int32_t first, int32_t end, int32_t begin, int32_t stop,
                      const Correlation::Slice& slice)
        : w_(w),
          slice_(slice),
          left_(stop - begin - Tile::chunk() * kPack<T>),
          k_(Digits::of(begin + Tile::chunk() * kPack<T>, slice.bases)),
          grow_(Digits::of(kStepDepth<T>, slice.bases)) {
      const Correlation& c = w.c;
      int32_t at[Tile::kRows][3];
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) {
        const int32_t row = first + Tile::row(i);
        const Digits p = Digits::of(row < end ? row : first, c.rows);
        rows_[i] = w.map + (int64_t)p.at[0] * c.sample + slice.group * c.group;
#pragma unroll
        for (int a = 0; a < 3; ++a) {
          at[i][a] = p.at[a + 1] * c.stride[a] + slice.axis[a].start;
          rows_[i] += (int64_t)at[i][a] * c.distance[a];
        }
        outside_[i] = row < end ? 1u << kMostTaps : ~0u;
      }
      int bit = 0;
#pragma unroll
      for (int a = 0; a < 3; ++a)
#pragma unroll 1
        for (int32_t j = 0; j < (int32_t)slice.axis[a].taps.size(); ++j, ++bit)
#pragma unroll
          for (int i = 0; i < Tile::kRows; ++i)
            if ((uint32_t)(at[i][a] + j * c.step[a]) >= (uint32_t)c.size[a])
              outside_[i] |= 1u << bit;
    }

    __device__ __forceinline__ void load(Chunk* tile) {
      const int32_t height = (int32_t)slice_.axis[0].taps.size();
      const int32_t width = height + (int32_t)slice_.bases[0].size();
      // The taps of this chunk, or the bit of what lies behind the last step.
      const uint32_t needs =
          left_ > 0 ? 1u << k_.at[0] | 1u << (height + k_.at[1]) | 1u << (width + k_.at[2])
                    : 1u << kMostTaps;
      int32_t offset = k_.at[3];
#pragma unroll
      for (int a = 0; a < 3; ++a) offset += k_.at[a] * (w_.c.step[a] * w_.c.distance[a]);
      tile += Tile::first();
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i)
        copy_async(tile + Tile::behind(i), rows_[i] + offset, !(outside_[i] & needs));
      k_.add(grow_, slice_.bases);
      left_ -= kStepDepth<T>;
    }

   private:
    const WindowRows& w_;
    const Correlation::Slice& slice_;
    int32_t left_;
    Digits k_, grow_;
    const T* rows_[Tile::kRows];
    uint32_t outside_[Tile::kRows];  // a bit a tap of each axis
  };
};

// Weights [taps, channels, filters] by channel, and the taps and filters of a slice.
template <class T>
struct TurnedFilters {
  const T* weights;
  int32_t channel, group;   // elements
  int32_t distance[3];      // elements between taps of the window
  int32_t tap_distance[3];  // and between those of a phase
  __host__ TurnedFilters(const Correlation& c, const T* data, int64_t row, int64_t tap,
                         int64_t filters)
      : weights(data), channel((int32_t)row), group((int32_t)filters) {
    for (int a = 2; a >= 0; --a) {
      distance[a] = (int32_t)tap;
      tap_distance[a] = distance[a] * c.tap_step[a];
      tap *= c.window[a];
    }
  }

  template <int Outer>
  class Loader {
   public:
    using Tile = AlongDepth<T, Outer>;

    __device__ Loader(const TurnedFilters& f, int32_t first, int32_t end, int32_t begin,
                      int32_t stop, const Correlation::Slice& slice)
        : f_(f),
          slice_(slice),
          k_(Digits::of(begin + Tile::chunk() * kPack<T>, slice.bases)),
          grow_(Digits::of(kStepDepth<T>, slice.bases)),
          left_(stop - begin - Tile::chunk() * kPack<T>),
          channels_(end - first - Tile::row(0)),
          rows_(f.weights + slice.group * f.group + (first + Tile::row(0)) * f.channel) {
#pragma unroll
      for (int a = 0; a < 3; ++a) rows_ += slice.axis[a].first_tap * f.distance[a];
    }

    __device__ __forceinline__ void load(Chunk* tile) {
      int32_t offset = k_.at[3];
#pragma unroll
      for (int a = 0; a < 3; ++a) offset += k_.at[a] * f_.tap_distance[a];
      const int32_t channels = left_ > 0 ? channels_ : 0;
      tile += Tile::first();
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i)
        copy_async(tile + Tile::behind(i), rows_ + (offset + i * (Tile::kApart * f_.channel)),
                   i * Tile::kApart < channels);
      k_.add(grow_, slice_.bases);
      left_ -= kStepDepth<T>;
    }

   private:
    const TurnedFilters& f_;
    const Correlation::Slice& slice_;
    Digits k_, grow_;
    int32_t left_, channels_;
    const T* rows_;
  };
};

// A matrix [k, outer].
template <class T>
struct MatrixRows {
  const T* data;
  int32_t pitch, group;  // elements of a row, and between groups

  template <int Outer>
  class Loader {
   public:
    using Tile = AcrossDepth<T, Outer>;

    __device__ Loader(const MatrixRows& m, int32_t first, int32_t end, int32_t begin, int32_t stop,
                      const Correlation::Slice& slice)
        : m_(m),
          left_(stop - begin - Tile::row(0)),
          from_(m.data + slice.group * m.group + (int64_t)(begin + Tile::row(0)) * m.pitch + first +
                Tile::chunk(0) * kPack<T>) {
#pragma unroll
      for (int j = 0; j < Tile::kColumns; ++j) inside_[j] = first + Tile::chunk(j) * kPack<T> < end;
    }

    __device__ __forceinline__ void load(Chunk* tile) {
      tile += Tile::first();
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) {
        const T* from = from_ + i * Tile::kApart * m_.pitch;
#pragma unroll
        for (int j = 0; j < Tile::kColumns; ++j)
          copy_async(tile + Tile::behind(i, j), from + j * Tile::kSide * kPack<T>,
                     inside_[j] && i * Tile::kApart < left_);
      }
      left_ -= kStepDepth<T>;
      from_ += kStepDepth<T> * m_.pitch;
    }

   private:
    const MatrixRows& m_;
    int32_t left_;
    const T* from_;
    bool inside_[Tile::kColumns];
  };
};

// Taps and channels, by pixels: the windows of WindowRows turned.
template <class T>
struct WindowColumns {
  using Element = T;
  Correlation c;  // of one phase
  const T* map;
  int32_t pixels;
  __device__ __forceinline__ int32_t length(const Correlation::Slice&) const { return pixels; }

  template <int Outer>
  class Loader {
   public:
    using Tile = AcrossDepth<T, Outer>;

    __device__ Loader(const WindowColumns& w, int32_t first, int32_t end, int32_t begin,
                      int32_t stop, const Correlation::Slice& slice)
        : w_(w),
          map_(w.map + slice.group * w.c.group),
          left_(stop - begin - Tile::row(0)),
          grow_(Digits::of(kStepDepth<T>, w.c.rows)) {
      const Correlation& c = w.c;
#pragma unroll
      for (int a = 0; a < 3; ++a) map_ += (int64_t)c.axis[a][0].start * c.distance[a];
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) k_[i] = Digits::of(begin + Tile::row(i), c.rows);
#pragma unroll
      for (int j = 0; j < Tile::kColumns; ++j) {
        const int32_t column = first + Tile::chunk(j) * kPack<T>;
        const Digits tap = Digits::of(column < end ? column : 0, slice.bases);
        offset_[j] = tap.at[3];
#pragma unroll
        for (int a = 0; a < 3; ++a) {
          at_[j][a] = tap.at[a] * c.step[a];
          offset_[j] += at_[j][a] * c.distance[a];
          at_[j][a] += c.axis[a][0].start;
        }
        if (column >= end) at_[j][2] = kNowhere;
      }
    }

    __device__ __forceinline__ void load(Chunk* tile) {
      const Correlation& c = w_.c;
      tile += Tile::first();
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) {
        int32_t at[3], offset = 0;
#pragma unroll
        for (int a = 0; a < 3; ++a) {
          at[a] = k_[i].at[a + 1] * c.stride[a];
          offset += at[a] * c.distance[a];
        }
        const T* from = map_ + (int64_t)k_[i].at[0] * c.sample + offset;
        const bool deep = i * Tile::kApart < left_;
#pragma unroll
        for (int j = 0; j < Tile::kColumns; ++j) {
          const bool inside = (uint32_t)(at[0] + at_[j][0]) < (uint32_t)c.size[0] &&
                              (uint32_t)(at[1] + at_[j][1]) < (uint32_t)c.size[1] &&
                              (uint32_t)(at[2] + at_[j][2]) < (uint32_t)c.size[2];
          copy_async(tile + Tile::behind(i, j), from + offset_[j], deep && inside);
        }
        k_[i].add(grow_, c.rows);
      }
      left_ -= kStepDepth<T>;
    }

   private:
    const WindowColumns& w_;
    const T* map_;
    int32_t left_;
    Digits grow_, k_[Tile::kRows];
    int32_t offset_[Tile::kColumns], at_[Tile::kColumns][3];
  };
};

// Where a row of a slice of C is in dst: its first element, or -1 if dst has none; `first` is that
// of row 0, if rows follow each other, and `column` the first one for scale and bias.
struct PixelResult {
  Correlation c;
  int32_t pixel, group;  // elements of dst

  struct Slice {
    int64_t first;
    int32_t column, phase[3];
  };
  __device__ __forceinline__ Slice slice(int32_t index) const {
    const Correlation::Slice s = c.slice(index);
    const int32_t column = s.group * group;
    return {column, column, {s.axis[0].first, s.axis[1].first, s.axis[2].first}};
  }
  __device__ __forceinline__ int64_t at(const Slice& s, int32_t row) const {
    if (c.phases.size() == 1) return s.first + (int64_t)row * pixel;
    const Digits p = Digits::of(row, c.rows);
    int32_t position = p.at[0];
    bool inside = true;
#pragma unroll
    for (int a = 0; a < 3; ++a) {
      const int32_t at = s.phase[a] + p.at[a + 1] * c.count[a];
      inside = inside && at < c.result[a];
      position = position * c.result[a] + at;
    }
    return inside ? s.first + (int64_t)position * pixel : -1;
  }
  __host__ bool aligned() const { return pixel % 8 == 0 && group % 8 == 0; }
};

// Rows are taps and channels, some of which only fill up the map's pixels.
struct FilterResult {
  Divisor run, pixel;      // values of a tap of the product; those of one tap of the window
  int32_t taps, channels;  // of the window in such a run; of a tap
  int32_t filters, group;  // elements of a row; of a group

  struct Slice {
    int64_t first;
    int32_t column;
  };
  __device__ __forceinline__ Slice slice(int32_t index) const {
    return {(int64_t)index * group, 0};
  }
  __device__ __forceinline__ int64_t at(const Slice& s, int32_t row) const {
    const int32_t outer = run.narrow(row), value = row - outer * (int32_t)run.size();
    const int32_t tap = pixel.narrow(value), channel = value - tap * (int32_t)pixel.size();
    if (tap >= taps || channel >= channels) return -1;
    return s.first + (int64_t)((outer * taps + tap) * channels + channel) * filters;
  }
  __host__ bool aligned() const { return filters % 8 == 0 && group % 8 == 0; }
};

}  // namespace fastconv::cuda
