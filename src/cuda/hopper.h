// The instructions of sm_90a as functions: barriers that count bytes, copies of boxes by the tensor
// memory accelerator (TMA), and products of a warpgroup (wgmma). The emulator has models of them,
// emulator_hopper.h. Code that uses them stands behind `if constexpr (kHopper)`, in a template: the
// same file is compiled for other targets.
//
// A box is 128 bytes wide, 64 halves or 32 floats. In its rows the hardware swaps
// pieces of 16 bytes so that neither rows nor columns meet in a bank. Boxes begin at multiples of
// 1024 bytes.
#pragma once
#include "tensor_core.h"

#if defined(FASTCONV_EMULATED)
#include "emulator_hopper.h"
#else
#include <cuda.h>  // for CUtensorMap: nothing of the driver's library is linked
#endif

namespace fastconv::cuda {

constexpr int kWarpgroup = 128;
constexpr int kBoxBytes = 128;
template <class T>
constexpr int kBoxWidth = kBoxBytes / sizeof(T);  // elements

#if defined(FASTCONV_EMULATED)

constexpr bool kHopper = true;

#else

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool kHopper = true;
#else
constexpr bool kHopper = false;
#endif

using TensorMap = CUtensorMap;

// The n-th phase of a barrier ends when as many threads arrived as it was made for and all bytes
// came that they expect.
struct Barrier {
  uint64_t state;
};

__device__ __forceinline__ void make_barrier(Barrier& barrier, int threads) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)),
               "r"(threads)
               : "memory");
}
// Before other threads, or TMA, use barriers that were made.
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void arrive(Barrier& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier))
               : "memory");
}
__device__ __forceinline__ void arrive_expecting(Barrier& barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
      "r"(bytes)
      : "memory");
}
__device__ __forceinline__ bool has_ended(Barrier& barrier, int parity) {
  uint32_t ended;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}"
      : "=r"(ended)
      : "r"(shared_address(&barrier)), "r"(parity)
      : "memory");
  return ended != 0;
}
// Until a phase of this parity has ended: 0 for the first, 1 for the second, or before the first.
// What never ends is an error, not a GPU that hangs.
__device__ __forceinline__ void wait_for(Barrier& barrier, int parity) {
  for (int tries = 1 << 24; !has_ended(barrier, parity);)
    if (--tries == 0) __trap();
}

// A box of an array with axes (from the inside out) at (x, y, z).
__device__ __forceinline__ void load_box(void* to, const TensorMap& map, Barrier& barrier, int x,
                                         int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z)
      : "memory");
}
// Channels from `channel` on of the pixels that windows read at (tap_w, tap_h), beginning with the
// window whose corner is (w, h) in image n.
__device__ __forceinline__ void load_windows(void* to, const TensorMap& map, Barrier& barrier,
                                             int channel, int w, int h, int n, int tap_w,
                                             int tap_h) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(channel), "r"(w), "r"(h), "r"(n),
      "h"((uint16_t)tap_w), "h"((uint16_t)tap_h)
      : "memory");
}

// Registers of each thread of a warpgroup, a multiple of 8: what one gives up another can take.
template <int Registers>
__device__ __forceinline__ void keep_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

// Products run beside the threads: fence_products() before the first of a group, end_group() after
// the last; wait_for_groups<N>() until at most N groups are unfinished. Nobody touches the sums in
// between.
__device__ __forceinline__ void fence_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void end_group() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int Unfinished>
__device__ __forceinline__ void wait_for_groups() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Unfinished) : "memory");
}

#define FASTCONV_SUMS_8(s, i)                                                                 \
  "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3]), "+f"(s[i + 4]), "+f"(s[i + 5]), \
      "+f"(s[i + 6]), "+f"(s[i + 7])
#define FASTCONV_SUMS_32(s, i)                                                  \
  FASTCONV_SUMS_8(s, i), FASTCONV_SUMS_8(s, i + 8), FASTCONV_SUMS_8(s, i + 16), \
      FASTCONV_SUMS_8(s, i + 24)
#define FASTCONV_FIRST_32                                                            \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
  "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define FASTCONV_NEXT_32                                                             \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// Of halves; `type` is their name in the instruction.
#define FASTCONV_MULTIPLY_64(type)                                                       \
  asm volatile(                                                                          \
      "{\n"                                                                              \
      ".reg .pred p;\n"                                                                  \
      "setp.ne.b32 p, %34, 0;\n"                                                         \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" FASTCONV_FIRST_32 \
      "}, %32, %33, p, 1, 1, %35, %36;\n"                                                \
      "}"                                                                                \
      : FASTCONV_SUMS_32(sums, 0)                                                        \
      : "l"(a), "l"(b), "r"((int)add), "n"((int)TurnA), "n"((int)TurnB))
#define FASTCONV_MULTIPLY_128(type)                                                       \
  asm volatile(                                                                           \
      "{\n"                                                                               \
      ".reg .pred p;\n"                                                                   \
      "setp.ne.b32 p, %66, 0;\n"                                                          \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" FASTCONV_FIRST_32 \
      ", " FASTCONV_NEXT_32                                                               \
      "}, %64, %65, p, 1, 1, %67, %68;\n"                                                 \
      "}"                                                                                 \
      : FASTCONV_SUMS_32(sums, 0), FASTCONV_SUMS_32(sums, 32)                             \
      : "l"(a), "l"(b), "r"((int)add), "n"((int)TurnA), "n"((int)TurnB))

// sums (64 x 2*Sums) = A (64 x K) B (K x 2*Sums) + (add ? sums : 0), of a warpgroup. An operand is
// a descriptor of its box; it is turned if its rows in shared memory count k. K is 32 bytes: 16
// halves, of which T is one; or 8 floats, which TMA has rounded to TF32, and which are not turned.
template <class T, bool TurnA, bool TurnB>
__device__ __forceinline__ void multiply(float (&sums)[32], uint64_t a, uint64_t b, bool add) {
  if constexpr (sizeof(T) == sizeof(float)) {
    static_assert(!TurnA && !TurnB);
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "setp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32 {" FASTCONV_FIRST_32
        "}, %32, %33, p, 1, 1;\n"
        "}"
        : FASTCONV_SUMS_32(sums, 0)
        : "l"(a), "l"(b), "r"((int)add));
  } else if constexpr (__is_same(T, Float16)) {
    FASTCONV_MULTIPLY_64("f16");
  } else {
    FASTCONV_MULTIPLY_64("bf16");
  }
}
template <class T, bool TurnA, bool TurnB>
__device__ __forceinline__ void multiply(float (&sums)[64], uint64_t a, uint64_t b, bool add) {
  if constexpr (sizeof(T) == sizeof(float)) {
    static_assert(!TurnA && !TurnB);
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "setp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {" FASTCONV_FIRST_32
        ", " FASTCONV_NEXT_32
        "}, %64, %65, p, 1, 1;\n"
        "}"
        : FASTCONV_SUMS_32(sums, 0), FASTCONV_SUMS_32(sums, 32)
        : "l"(a), "l"(b), "r"((int)add));
  } else if constexpr (__is_same(T, Float16)) {
    FASTCONV_MULTIPLY_128("f16");
  } else {
    FASTCONV_MULTIPLY_128("bf16");
  }
}

#undef FASTCONV_MULTIPLY_128
#undef FASTCONV_MULTIPLY_64
#undef FASTCONV_NEXT_32
#undef FASTCONV_FIRST_32
#undef FASTCONV_SUMS_32
#undef FASTCONV_SUMS_8

#endif

// An operand of `multiply`: 32 bytes of each row of a box from `p` on, or, turned, 16 of its rows;
// wider ones go on in the box behind it.
template <bool Turned>
__device__ __forceinline__ uint64_t describe_operand(const void* p) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = 8 * kBoxBytes, kBox = 64 * kBoxBytes;
  return (shared_address(p) & 0x3ffff) >> 4 | (Turned ? kBox >> 4 : 1) << 16 |
         (kEightRows >> 4) << 32 | kSwizzle128;
}

}  // namespace fastconv::cuda
