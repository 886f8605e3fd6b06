// The geometry of a sliding window, shared by convolution and pooling in 1, 2 and 3 dimensions,
// in every direction and on every backend. Python fills it in once (ops/geometry.py holds the
// only output-size formula); C++ only reads it.
#pragma once
#include <stdint.h>

namespace fastconv {

// Spatial arrays are ordered depth, height, width; a 1D window has depth = height = 1 and a 2D
// window depth = 1. `input` and `output` are always those of the *forward* operation, also for
// the backward ones: src is N input[0] input[1] input[2] C, dst is N output[0..2] K, and weights
// are kernel[0..2] C/groups K.
struct WindowGeometry {
  int64_t batch;         // N
  int64_t in_channels;   // C
  int64_t out_channels;  // K (= C for pooling)
  int64_t groups;        // 1 for pooling
  int64_t input[3];      // D H W
  int64_t kernel[3];     // T R S
  int64_t output[3];     // O P Q
  int64_t stride[3];
  int64_t dilation[3];
  int64_t pad_before[3];  // negative padding crops
  int64_t pad_after[3];
};

}  // namespace fastconv
