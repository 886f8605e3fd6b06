// Element types and their conversion, from the one source that the CPU's kernels have too.
#pragma once
#define FASTCONV_ISA shared
#include "../cpu/convert.h"
#undef FASTCONV_ISA

namespace fastconv::cuda {

using cpu::shared::BFloat16;
using cpu::shared::convert;
using cpu::shared::Float16;
using cpu::shared::to_bfloat16;
using cpu::shared::to_float16;
using cpu::shared::TypeTag;
using cpu::shared::widen;
using cpu::shared::with_size;
using cpu::shared::with_type;

// Storage of half a float's width: two elements in a word, the first in its lower half.
template <class T>
concept Half = __is_same(T, BFloat16) || __is_same(T, Float16);

}  // namespace fastconv::cuda
