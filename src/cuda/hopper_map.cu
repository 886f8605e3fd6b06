#include "hopper_map.h"
#include "launch.h"

namespace fastconv::cuda {
namespace {

CUtensorMapDataType type_of(Dtype dtype) {
  if (dtype == Dtype::float32) return CU_TENSOR_MAP_DATA_TYPE_TFLOAT32;
  return dtype == Dtype::float16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
}

// A function of the driver, which no library is linked for.
template <class Function>
Function* driver_function(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  note(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result));
  return reinterpret_cast<Function*>(found);
}

void check(CUresult result) {
  if (result != CUDA_SUCCESS) note(cudaErrorInvalidValue);
}

}  // namespace

TensorMap map_boxes(const void* data, const int64_t (&size)[3], int rows, Dtype dtype) {
  const int64_t element = size_of(dtype);
  static auto* const encode =
      driver_function<decltype(cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  const cuuint64_t sizes[] = {(cuuint64_t)size[0], (cuuint64_t)size[1], (cuuint64_t)size[2]};
  const cuuint64_t pitches[] = {(cuuint64_t)(element * size[0]),
                                (cuuint64_t)(element * size[0] * size[1])};
  const cuuint32_t box[] = {(cuuint32_t)(kBoxBytes / element), (cuuint32_t)rows, 1},
                   steps[] = {1, 1, 1};
  TensorMap map{};
  if (!encode) return map;
  check(encode(&map, type_of(dtype), 3, const_cast<void*>(data), sizes, pitches, box, steps,
               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
  return map;
}

TensorMap map_windows(const void* data, const WindowMap& windows, int count, Dtype dtype) {
  const int64_t element = size_of(dtype);
  static auto* const encode =
      driver_function<decltype(cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  const int64_t c = windows.channels, w = windows.size[0], h = windows.size[1];
  const cuuint64_t sizes[] = {(cuuint64_t)c, (cuuint64_t)w, (cuuint64_t)h,
                              (cuuint64_t)windows.batch};
  const cuuint64_t pitches[] = {(cuuint64_t)(element * c), (cuuint64_t)(element * c * w),
                                (cuuint64_t)(element * c * w * h)};
  int low[2], high[2];  // corners of the first and last window, from the first and last pixel
  for (int i = 0; i < 2; ++i) {
    low[i] = (int)windows.low[i];
    high[i] =
        (int)(windows.low[i] + (windows.count[i] - 1) * windows.stride[i] - (windows.size[i] - 1));
  }
  const cuuint32_t steps[] = {1, (cuuint32_t)windows.stride[0], (cuuint32_t)windows.stride[1], 1};
  TensorMap map{};
  if (!encode) return map;
  check(encode(&map, type_of(dtype), 4, const_cast<void*>(data), sizes, pitches, low, high,
               (cuuint32_t)(kBoxBytes / element), (cuuint32_t)count, steps,
               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
  return map;
}

}  // namespace fastconv::cuda
