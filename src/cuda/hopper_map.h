// What TMA must know of an array: host functions that make TensorMaps, of dense arrays whose rows
// are multiples of 16 bytes, of a half, or of float32: TMA rounds that to TF32.
#pragma once
#include "hopper.h"

namespace fastconv::cuda {

// Boxes of 128 bytes x `rows` x 1 of an array with axes from the inside out; what lies outside is
// 0.
TensorMap map_boxes(const void* data, const int64_t (&size)[3], int rows, Dtype dtype);

// Windows over maps N H W C: `count` of them one after the other, 128 bytes of channels each. The
// arrays below are of W and H.
struct WindowMap {
  int64_t batch, channels;
  int64_t size[2];   // of the map
  int64_t count[2];  // of windows
  int64_t stride[2];
  int64_t low[2];  // corner of the first window
};
TensorMap map_windows(const void* data, const WindowMap& windows, int count, Dtype dtype);

// Why TMA cannot read them, or null; `reach` is the furthest tap of a window from its corner.
static inline const char* windows_decline(const WindowMap& windows, const int64_t (&reach)[2]) {
  for (int i = 0; i < 2; ++i) {
    const int64_t high = windows.low[i] + (windows.count[i] - 1) * windows.stride[i];
    const int64_t behind = high - (windows.size[i] - 1);
    if (windows.stride[i] > 8) return "strides > 8";
    if (windows.low[i] < -128 || windows.low[i] > 127 || behind < -128 || behind > 127)
      return "padding or windows of more than 128";
    if (reach[i] > 255) return "windows of more than 256";
  }
  return nullptr;
}

}  // namespace fastconv::cuda
