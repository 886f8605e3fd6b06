// The instructions of tensor cores, and of copies to shared memory that go on while a thread works:
// of every GPU since sm_80. Their models for the emulator are in emulator_tensor_core.h.
//
// A product of matrices is made by a warp: A of 16 rows, B of 8 columns, of 32 bytes of k, and a
// sum of 16 x 8 in float32. A word holds two neighbours in bfloat16 or float16, or one value in
// float32 that was rounded to TF32. With g = lane / 4 and t = lane % 4 a lane has
//   sum[i]  row g + 8 (i / 2), column 2 t + i % 2
//   a[i]    row g + 8 (i % 2), word t + 4 (i / 2) of k
//   b[i]    word t + 4 i of k, column g
#pragma once
#include "convert.h"
#include "device.h"

#if defined(FASTCONV_EMULATED)
#include "emulator_tensor_core.h"
#else

namespace fastconv::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}

// Starts a copy of 16 bytes to shared memory; where not `inside`, of zeros, and `from` is not read.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
               "l"(from), "r"(inside ? 16 : 0)
               : "memory");
}
// Ends a group of this thread's copies.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most N groups of this thread are on their way.
template <int N>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Four matrices of 8 rows of 16 bytes: lane l names row l % 8 of matrix l / 8 in shared memory. Of
// matrix i a lane gets word t of row g in words[i].
__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(shared_address(row))
               : "memory");
}
// The same of transposed matrices of 8 x 8 elements of 2 bytes: rows 2 t and 2 t + 1 of column g.
__device__ __forceinline__ void load_transposed(uint32_t (&words)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(shared_address(row))
               : "memory");
}

// T: BFloat16, Float16, or float.
template <class T>
__device__ __forceinline__ void multiply_add(float (&sum)[4], const uint32_t (&a)[4],
                                             const uint32_t (&b)[2]) {
  if constexpr (sizeof(T) == sizeof(float))
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else if constexpr (__is_same(T, Float16))
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The word of a float, rounded to TF32: to nearest, ties away from zero.
__device__ __forceinline__ uint32_t round_to_tf32(uint32_t word) {
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__int_as_float((int)word)));
  return rounded;
}

}  // namespace fastconv::cuda

#endif
