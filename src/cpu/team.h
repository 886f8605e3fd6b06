// The threads that run a plan together: one OpenMP team from its first step to its last, to which
// operations hand tasks. Starting a parallel region for every operation would cost more than many
// operations of a small network, and would wait for threads that the system has put to sleep; a
// task here is taken by whoever is awake.
#pragma once
#include <stdint.h>

namespace fastconv::cpu {

// Calls body(context) on this thread, if wanted with a team behind it. Denormals are flushed to
// zero on all threads of the team meanwhile. Returns whether a team is of use: whether it was
// handed tasks, or there is no second thread now.
bool with_team(bool wanted, void (*body)(void*), void* context);

// Called with the number of the task and of the thread that runs it, below `threads`.
using Task = void (*)(const void* context, int64_t task, int thread);

// Calls task(context, i, thread) for i in [0, tasks), on up to `threads` threads of the team.
void share_tasks(int64_t tasks, int threads, Task task, const void* context);

}  // namespace fastconv::cpu
