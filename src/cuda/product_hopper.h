// The product of product_hopper.cu: bfloat16, float16, or float32 as TF32, summed in float32 by the
// matrix instructions of sm_90a, for matrices and the three directions of a convolution.
#pragma once
#include "hopper_map.h"
#include "kernels.h"

namespace fastconv::cuda {

// `left` has `rows` pixels of `depth` channels. For each tap of a window there is a matrix that
// sees the pixels that windows read at this tap, `pixels(tap)` [rows, depth].
//
// kinds:  rows    dst[rows, columns] = sum over taps of pixels(tap) right[tap', depth, columns]
//         turned  dst[rows, columns] = sum over taps of pixels(tap) right[tap', columns, depth]^T
//         taps    dst[tap, depth, columns] = pixels(tap)^T right[rows, columns], in float32
enum class ProductKind { rows, turned, taps };

struct HopperProduct {
  ProductKind kind;
  Dtype dtype;  // of `left` and `right`
  bool tf32;    // it is float32, rounded; not of `taps`
  const void *left, *right;
  int64_t rows, depth, columns;
  bool slides;  // if not, there is one tap, and it sees the pixels as they are
  WindowMap windows;
  int64_t taps[2], dilation[2];  // along W and H; without taps the sum is 0
  // Matrices of `right`, and which is tap' of tap (i, j): first + i * step[0] + j * step[1].
  struct {
    int64_t count, first, step[2];
  } matrices;
  // If it spreads, the rows are pixels of dst that are `apart`, from `first` on, along W and H.
  bool spreads;
  struct {
    int64_t size[2], first[2], apart[2];
  } result;
  float* moments;  // not null, of `rows` without splits: [parts, 2, columns], of statistics.h
};

// Why it cannot be run, or null.
const char* hopper_product_declines(const KernelCall& call, const HopperProduct& p,
                                    const Epilogue& epilogue);
int64_t hopper_product_workspace(const KernelCall& call, const HopperProduct& p);
// Rows of dst in a part of its moments, or 0: the product is cut so that none are kept.
int64_t hopper_product_part(const KernelCall& call, const HopperProduct& p);
// Whether it can be cut as the call says, into a tile of kTiles.
bool hopper_product_tiles(const KernelCall& call, const HopperProduct& p);
void run_hopper_product(const KernelCall& call, const HopperProduct& p, const Epilogue& epilogue);
// The pass of an activation that takes one of its own (finish_activation), after all products.
void finish_hopper_product(const KernelCall& call, const Epilogue& epilogue);

}  // namespace fastconv::cuda
