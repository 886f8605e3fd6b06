// Compiled without any instruction-set flag: it runs on every CPU.
#include "isa.h"

#include <unistd.h>

#include <algorithm>

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

// Those of a set that adds a few kernels, else those of the set below it.
template <KernelList (*added)(OpKind), KernelList (*below)(OpKind)>
KernelList first_of(OpKind kind) {
  const KernelList list = added(kind);
  return list.count > 0 ? list : below(kind);
}

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("fma");
}
#endif

}  // namespace

const std::vector<Isa>& built_isas() {
#if defined(__x86_64__)
  static const std::vector<Isa> isas = {
      {"avx512_bf16", "AVX-512 F, BW, DQ, VL, VNNI, BF16",
       [] {
         return has_avx512() && __builtin_cpu_supports("avx512vnni") &&
                __builtin_cpu_supports("avx512bf16");
       },
       avx512_bf16::kernels, &avx512_bf16::probe},
      {"avx512_vnni", "AVX-512 F, BW, DQ, VL, VNNI",
       [] { return has_avx512() && __builtin_cpu_supports("avx512vnni"); },
       first_of<avx512_vnni::quantized_kernels, avx512::kernels>, &avx512::probe},
      {"avx512", "AVX-512 F, BW, DQ, VL", has_avx512, avx512::kernels, &avx512::probe},
      {"avx_vnni", "AVX2, FMA and AVX-VNNI",
       [] { return has_avx2() && __builtin_cpu_supports("avxvnni"); },
       first_of<avx_vnni::quantized_kernels, avx2::kernels>, &avx2::probe},
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
