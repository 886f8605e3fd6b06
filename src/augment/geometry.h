// Where the pixels of an image come from, and how they are fetched.
#pragma once
#include <cstdint>
#include <vector>

#include "augment.h"

namespace fastconv::augment {

struct Size {
  int64_t height, width, channels;
  int64_t row() const { return width * channels; }
  int64_t elements() const { return height * row(); }
};

// The pixel (x, y) comes from (xx x + xy y + x0, yx x + yy y + y0).
struct Map {
  double xx = 1, xy = 0, x0 = 0;
  double yx = 0, yy = 1, y0 = 0;

  // Only moves and mirrors, by whole pixels: the result is a copy.
  bool exact() const;
};

// The map of something done after `first`.
Map then(const Map& first, const Map& next);

// An image seen through a map.
struct View {
  Size size;
  Map map;
  bool bilinear = true;
  Fill fill = Fill::constant;
  float fill_value = 0;
};

// Where the rows of a result go: to float32, scaled, or to uint8, rounded to even and clipped.
struct Sink {
  void* data;
  bool bytes;
  const float* scale;  // one number for each element of a row; null: as they are
  const float* offset;
};

struct RowBuffers {
  std::vector<float> floats;
  std::vector<uint8_t> bytes;
};

void resample(const uint8_t* src, const Size& size, const View& view, const Sink& sink,
              RowBuffers& rows);
void resample(const float* src, const Size& size, const View& view, const Sink& sink,
              RowBuffers& rows);

}  // namespace fastconv::augment
