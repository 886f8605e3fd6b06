// The environment variables that the C++ side reads, all here.
#pragma once
#include <string>

namespace fastconv {

// FASTCONV_ISA: v2, avx2 or avx512; empty: the best the CPU has.
std::string forced_isa();
// FASTCONV_KERNEL: "gemm=packed_tiles,conv=-winograd" forces kernels by name, or leaves one out;
// empty if `op` is not in it.
std::string forced_kernel(const std::string& op);
// FASTCONV_NUM_THREADS and OMP_NUM_THREADS; 0 if unset or not a number.
int forced_threads();
int openmp_threads();

}  // namespace fastconv
