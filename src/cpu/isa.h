// The instruction sets that kernels are compiled for, and the one in use.
#pragma once
#include <string>
#include <vector>

#include "fastconv/backend.h"
#include "probe.h"

namespace fastconv::cpu {

struct Isa {
  const char* name;
  const char* features;  // what a CPU needs
  bool (*supported)();
  KernelList (*kernels)(OpKind);
  const Probe* probe;
};

// The kernels of a set, with others in the places of those of the same name, which take the same
// calls.
std::vector<Kernel> with_added(KernelList list, KernelList added);

// Best first; those that this build has.
const std::vector<Isa>& built_isas();
// FASTCONV_ISA, or the best that the CPU supports. Throws Error(device) for one it does not.
const Isa& active_isa();

}  // namespace fastconv::cpu
