// Random changes of images on the host: what a training sees of a picture differs from epoch to
// epoch. A policy is a flat list of steps; every sample is changed by one task, with random numbers
// that depend on (seed, epoch, sample, step) alone.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

namespace fastconv::augment {

enum class Kind : int32_t {
  identity,
  choose,   // does some of the steps that follow it
  rescale,  // x scale + offset
  flip,     // these five, and crop, only move pixels: neighbours become one resampling
  crop,
  translate,
  rotate,
  zoom,
  shear,
  brightness,
  multiply,
  contrast,
  saturation,
  hue,
  color,
  invert,
  solarize,
  posterize,
  autocontrast,
  equalize,
  sharpness,
  blur,
  noise,
  erase
};

// What lies outside of an image: a value; the last pixel; the image mirrored; the image again.
enum class Fill : int32_t { constant, nearest, reflect, wrap };

struct Step {
  Kind kind = Kind::identity;
  float probability = 1;               // that the step is done
  std::array<float, 2> low{}, high{};  // the step's two factors are drawn from [low, high)
  bool mirrored = false;               // a coin gives the factors their sign
  bool joined = false;                 // the second factor is the first
  bool bilinear = true;
  bool centred = false;      // crop: no chance in it
  bool random_fill = false;  // erase: uniform noise over `range` instead of fill_value
  Fill fill = Fill::constant;
  float fill_value = 0;
  std::array<float, 2> range{0, 255};  // of the pixels
  // crop: height and width. blur: rows and columns of the kernel. flip: whether along the height,
  // along the width. choose: how many steps follow, and how often one of them is drawn.
  std::array<int32_t, 2> size{};
  int32_t padding = 0;               // crop: pixels around the image that may be part of it
  std::vector<float> scale, offset;  // rescale: one number, or one a channel
};

struct Images {
  const void* data;
  bool bytes;  // uint8, else float32
  int64_t count, height, width, channels;
};

struct Draw {
  uint64_t seed, epoch;
  uint32_t stream;         // tells the policies of one model apart, below 2^16
  const int64_t* samples;  // the number of each image in its data set
};

// Changes every image and writes it to `dst` (count, height, width, channels), all of one size. The
// caller has checked that steps and shapes fit. Throws Error(out_of_memory).
void augment(const Images& src, void* dst, bool dst_bytes, const std::vector<Step>& steps,
             const Draw& draw);

// dst[i] = weight[i] src[i] + (1 - weight[i]) src[partner[i]] inside of boxes[4 i ..], which is
// (top, bottom, left, right), and src[i] outside.
void mix(const Images& src, void* dst, const int64_t* partner, const float* weight,
         const int32_t* boxes);

}  // namespace fastconv::augment
