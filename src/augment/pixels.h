// Changes of the values of one image in float32, in place. `range` is what black and white are;
// results are clipped to it. `factor` 0 changes nothing, unless it is said otherwise.
#pragma once
#include <cstdint>
#include <vector>

#include "geometry.h"
#include "stream.h"

namespace fastconv::augment {

// x + factor (range[1] - range[0])
void brightness(float* x, const Size& size, float factor, const float* range);
// range[0] + (1 + factor) (x - range[0])
void multiply(float* x, const Size& size, float factor, const float* range);
// mean + (1 + factor) (x - mean), with the mean of each channel
void contrast(float* x, const Size& size, float factor, const float* range);
// grey + (1 + factor) (x - grey), grey = 0.299 R + 0.587 G + 0.114 B. Keeps what has no colour.
void color(float* x, const Size& size, float factor, const float* range);
// Multiplies the S of HSV by factor / (1 - factor), up to 1: 0.5 changes nothing.
void saturation(float* x, const Size& size, float factor, const float* range);
// Turns the H of HSV by factor / 2 of the circle.
void hue(float* x, const Size& size, float factor, const float* range);
// range[0] + range[1] - x for all x not below `threshold`
void invert(float* x, const Size& size, float threshold, const float* range);
// Zeroes the lowest bits, of the eight that stand for the range.
void posterize(float* x, const Size& size, int bits, const float* range);
// Spreads each channel over the range.
void autocontrast(float* x, const Size& size, const float* range);
// Makes the histogram of each channel flat, with 256 levels.
void equalize(float* x, const Size& size, const float* range);
// smooth + (1 + factor) (x - smooth), smooth = the mean of 3x3 pixels, the one in the middle five
// times. The border stays.
void sharpness(float* x, const Size& size, float factor, const float* range,
               std::vector<float>& scratch);
// Convolves with a Gaussian of so many rows and columns; the image is mirrored at its border,
// without the outermost pixel twice.
void blur(float* x, const Size& size, const int32_t* kernel, float sigma_y, float sigma_x,
          std::vector<float>& scratch);
void noise(float* x, const Size& size, float deviation, Stream& random);

struct Box {
  int64_t top, bottom, left, right;
};

// A box of these shares of the height and the width, anywhere in the image.
Box random_box(const Size& size, float height, float width, Stream& random);
void erase(float* x, const Size& size, const Box& box, float value);
void erase(float* x, const Size& size, const Box& box, const float* range, Stream& random);

}  // namespace fastconv::augment
