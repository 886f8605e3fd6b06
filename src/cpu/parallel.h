// How kernels use threads: parallel_for over tasks that are cut by the problem.
#pragma once
#include <stdint.h>

#include "team.h"
#include "threads.h"

namespace fastconv::cpu::FASTCONV_ISA {

// Calls body(i) for i in [0, tasks). `work` is the cost of one task in elementary operations.
// Tasks are cut by the problem, never by the number of threads, and write to separate places, so
// that the bytes do not depend on who runs what.
template <class Body>
static void parallel_for(int64_t tasks, int64_t work, const Body& body) {
  share_tasks(
      tasks, threads_for(tasks, work),
      [](const void* context, int64_t i, int) { (*static_cast<const Body*>(context))(i); }, &body);
}

// The same for tasks that need scratch memory: calls body(i, slot) with a slot < `slots` that no
// other task has at that time. usable_threads() slots keep every thread busy.
template <class Body>
static void parallel_for_slots(int64_t tasks, int64_t work, int64_t slots, const Body& body) {
  const int64_t threads = threads_for(tasks, work);
  share_tasks(
      tasks, static_cast<int>(threads < slots ? threads : slots),
      [](const void* context, int64_t i, int slot) {
        (*static_cast<const Body*>(context))(i, slot);
      },
      &body);
}

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Cuts [0, count) into blocks of `block` and calls body(begin, end) for each.
template <class Body>
static void parallel_blocks(int64_t count, int64_t block, int64_t work_per_item, const Body& body) {
  parallel_for(ceil_div(count, block), block * work_per_item, [&](int64_t i) {
    const int64_t begin = i * block;
    body(begin, begin + block < count ? begin + block : count);
  });
}

}  // namespace fastconv::cpu::FASTCONV_ISA
