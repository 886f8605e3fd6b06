// The CPU's backend with the kernels for AMX in place of its own, in a library that opens as a
// GPU's does: the device "cuda" is then the CPU with the models of src/cpu/amx_tiles.h.
#include <map>

#include "cpu/isa.h"
#include "fastconv/plan.h"

namespace fastconv::cpu::amx_emulated {
KernelList amx_kernels(OpKind);
}

namespace {

using namespace fastconv;

KernelList kernels(const Backend&, OpKind kind) {
  static std::map<OpKind, std::vector<Kernel>> lists;
  const auto [list, first] = lists.try_emplace(kind);
  if (first) {
    const KernelList own = cpu_backend().kernels(cpu_backend(), kind);
    list->second = cpu::with_added(own, cpu::amx_emulated::amx_kernels(kind));
  }
  return {list->second.data(), static_cast<int32_t>(list->second.size())};
}

}  // namespace

extern "C" const Backend* fastconv_backend(uint32_t, int32_t, const char**) {
  static const Backend backend = [] {
    Backend made = cpu_backend();
    made.name = "cuda";
    made.detail = "emulated AMX";
    made.kernels = kernels;
    return made;
  }();
  return &backend;
}
