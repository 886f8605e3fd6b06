// The CPU behind the backend contract.
#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "fastconv/plan.h"
#include "isa.h"
#include "team.h"
#include "threads.h"

namespace fastconv {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kPage = 4096;  // or more: then some are touched twice

// Brings every page into memory. Left to the kernels, some would meet it late: scratch memory of a
// thread waits until that thread is given a task.
void touch(char* memory, int64_t bytes) {
  struct Block {
    char* begin;
    int64_t bytes;
  } block{memory, bytes};
  const int64_t tasks = (bytes + kHugePage - 1) / kHugePage;
  const auto task = [](const void* context, int64_t i, int) {
    const Block& all = *static_cast<const Block*>(context);
    const int64_t end = std::min(all.bytes, (i + 1) * kHugePage);
    for (int64_t at = i * kHugePage; at < end; at += kPage) all.begin[at] = 0;
  };
  cpu::share_tasks(tasks, cpu::threads_for(tasks, kHugePage), task, &block);
}

// Large blocks are aligned to huge pages and ask for them: a page fault costs more than the 4 KiB
// it brings. What was freed before goes back to the system first, so that it does not stand beside
// them: weights have moved, and initial values are gone.
void* allocate(const Backend&, int64_t bytes) {
  const int64_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const int64_t rounded = (bytes + alignment - 1) / alignment * alignment;
#if defined(__GLIBC__)
  if (alignment == kHugePage) malloc_trim(0);
#endif
  void* memory = std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>(rounded));
  if (memory && alignment == kHugePage)
    madvise(memory, static_cast<size_t>(rounded), MADV_HUGEPAGE);
  if (memory) touch(static_cast<char*>(memory), rounded);
  return memory;
}

void release(const Backend&, void* memory, int64_t) { std::free(memory); }

KernelList kernels(const Backend&, OpKind kind) { return cpu::active_isa().kernels(kind); }

bool prepared(const Backend&, bool wanted, void (*body)(void*), void* context) {
  return cpu::with_team(wanted, body, context);
}

}  // namespace

const Backend& cpu_backend() {
  static const Backend backend{
      kBackendVersion, "cpu",  cpu::active_isa().name, 0, kernels, allocate, release,
      prepared,        nullptr};
  return backend;
}

}  // namespace fastconv
