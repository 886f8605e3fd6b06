// Compiled without any instruction-set flag: it runs on every CPU.
#include "isa.h"

#if defined(__x86_64__)
#include <sys/syscall.h>
#endif
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "../environment.h"
#include "fastconv/error.h"
#include "threads.h"

namespace fastconv::cpu {

#if defined(__x86_64__)
namespace v2 {
KernelList kernels(OpKind);
extern const Probe probe;
}  // namespace v2
namespace avx2 {
KernelList kernels(OpKind);
extern const Probe probe;
}  // namespace avx2
namespace avx512 {
KernelList kernels(OpKind);
extern const Probe probe;
}  // namespace avx512
namespace avx512_bf16 {
KernelList kernels(OpKind);
extern const Probe probe;
}  // namespace avx512_bf16
namespace amx {
KernelList amx_kernels(OpKind);
}
namespace avx_vnni {
KernelList quantized_kernels(OpKind);
}
namespace avx512_vnni {
KernelList quantized_kernels(OpKind);
}
#else
namespace generic {
KernelList kernels(OpKind);
extern const Probe probe;
}  // namespace generic
#endif

namespace {

using Kernels = KernelList (*)(OpKind);

template <Kernels added, Kernels below>
KernelList kernels_with(OpKind kind) {
  static const auto lists = [] {
    std::vector<std::vector<Kernel>> all;
    for (int32_t i = 0; i < static_cast<int32_t>(OpKind::count_); ++i)
      all.push_back(with_added(below(static_cast<OpKind>(i)), added(static_cast<OpKind>(i))));
    return all;
  }();
  const std::vector<Kernel>& list = lists[static_cast<size_t>(kind)];
  return {list.data(), static_cast<int32_t>(list.size())};
}

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("fma");
}
bool has_avx512_bf16() {
  return has_avx512() && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512bf16");
}

// What gcc calls supported the system keeps too (XCR0), but Linux wants to be asked before the
// first use, for all threads of the process.
bool has_amx() {
  constexpr int kRequestState = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
  return has_avx512_bf16() && __builtin_cpu_supports("amx-tile") &&
         __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("amx-int8") &&
         syscall(SYS_arch_prctl, kRequestState, kTileData) == 0;
}
#endif

}  // namespace

std::vector<Kernel> with_added(KernelList list, KernelList added) {
  std::vector<Kernel> result(list.kernels, list.kernels + list.count);
  for (Kernel& kernel : result)
    for (int32_t i = 0; i < added.count; ++i)
      if (std::string_view(added.kernels[i].name) == kernel.name) {
        const auto declines = kernel.declines;
        kernel = added.kernels[i];
        kernel.declines = declines;
      }
  return result;
}

const std::vector<Isa>& built_isas() {
#if defined(__x86_64__)
  static const std::vector<Isa> isas = {
      {"amx", "AVX-512 F, BW, DQ, VL, VNNI, BF16, AMX-BF16 and AMX-INT8", has_amx,
       kernels_with<amx::amx_kernels, avx512_bf16::kernels>, &avx512_bf16::probe},
      {"avx512_bf16", "AVX-512 F, BW, DQ, VL, VNNI, BF16", has_avx512_bf16, avx512_bf16::kernels,
       &avx512_bf16::probe},
      {"avx512_vnni", "AVX-512 F, BW, DQ, VL, VNNI",
       [] { return has_avx512() && __builtin_cpu_supports("avx512vnni"); },
       kernels_with<avx512_vnni::quantized_kernels, avx512::kernels>, &avx512::probe},
      {"avx512", "AVX-512 F, BW, DQ, VL", has_avx512, avx512::kernels, &avx512::probe},
      {"avx_vnni", "AVX2, FMA and AVX-VNNI",
       [] { return has_avx2() && __builtin_cpu_supports("avxvnni"); },
       kernels_with<avx_vnni::quantized_kernels, avx2::kernels>, &avx2::probe},
      {"avx2", "AVX2 and FMA", has_avx2, avx2::kernels, &avx2::probe},
      {"v2", "x86-64-v2 (SSE4.2)",
       [] { return static_cast<bool>(__builtin_cpu_supports("sse4.2")); }, v2::kernels, &v2::probe},
  };
#else
  static const std::vector<Isa> isas = {
      {"generic", "nothing", [] { return true; }, generic::kernels, &generic::probe}};
#endif
  return isas;
}

namespace {

const Isa& find_isa() {
  const std::string forced = forced_isa();
  std::string known;
  for (const Isa& isa : built_isas()) {
    if (forced.empty() ? isa.supported() : forced == isa.name) {
      if (isa.supported()) return isa;
      throw Error(ErrorKind::device, "FASTCONV_ISA=" + forced + " needs a CPU with " +
                                         isa.features + ", which this one lacks");
    }
    known += std::string(known.empty() ? "" : ", ") + isa.name;
  }
  if (forced.empty())
    throw Error(ErrorKind::device,
                "fastconv needs a CPU with x86-64-v2 (SSE4.2), of 2009 or later");
  throw Error(ErrorKind::argument, "FASTCONV_ISA: expected one of " + known + ", got " + forced);
}

}  // namespace

const Isa& active_isa() {
  static const Isa& isa = find_isa();
  return isa;
}

// Of each array in the cached measurement: 3 MiB together.
constexpr int64_t kCachedFloats = int64_t{1} << 18;

Peak measure_peak(double seconds) {
  const Probe& probe = *active_isa().probe;
  // Three arrays of four times the last cache together, at most 384 MiB.
  const int64_t cache = std::max<int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE), int64_t{16} << 20);
  const int64_t count = std::min<int64_t>(cache, int64_t{96} << 20) / 3;
  const std::vector<float> source(static_cast<size_t>(2 * count), 1.0f);
  std::vector<float> target(static_cast<size_t>(count));
  const auto triad = [&](int64_t size) {
    const float* from = source.data();
    return probe.triad_gbytes(seconds / 3, target.data(), from, from + size, size);
  };
  return {probe.fma_gflops(seconds / 3), triad(count), triad(kCachedFloats), thread_count()};
}

}  // namespace fastconv::cpu
