// How many threads there are, and how many an operation deserves.
#pragma once
#include <stdint.h>

namespace fastconv::cpu {

// Default: min(affinity, cgroup quota rounded down, OMP_NUM_THREADS, FASTCONV_NUM_THREADS), >= 1.
int thread_count();
void set_thread_count(int threads);
// One line that says where the default comes from.
const char* thread_count_reason();

// thread_count(), or 1 in a process forked while the threads could not be put to rest.
int usable_threads();

// Threads for `tasks` independent tasks of about `work` elementary operations (or bytes) each.
int threads_for(int64_t tasks, int64_t work);

}  // namespace fastconv::cpu
