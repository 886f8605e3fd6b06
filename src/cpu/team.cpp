#include "team.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <atomic>

#include "threads.h"

namespace fastconv::cpu {
namespace {

constexpr int kSpins = 4000;  // polls before a thread that waits offers its CPU to others

// Flushes denormals to zero while it lives: they cost a hundred cycles each and carry nothing.
class DenormalGuard {
 public:
#if defined(__x86_64__)
  DenormalGuard() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
  ~DenormalGuard() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

class Waiter {
 public:
  void wait() {
    if (++polls_ > kSpins) {
      sched_yield();
      return;
    }
#if defined(__x86_64__)
    _mm_pause();
#endif
  }

 private:
  int polls_ = 0;
};

constexpr size_t kStack = size_t{640} << 10;  // that kernels need: their tiles are on it

__attribute__((noinline)) void touch_stack() {
  char room[kStack];
  volatile char* page = room;
  for (size_t i = 0; i < kStack; i += 4096) page[i] = 0;
}

// Brings the pages of this thread's stack into memory, once: it may be long until the first task
// of some kernel falls to this thread, and a step should meet no page fault then.
void prepare_stack() {
#if defined(__GLIBC__)
  thread_local bool prepared = false;
  if (prepared) return;
  prepared = true;
  pthread_attr_t attributes;
  size_t bytes = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  pthread_attr_getstacksize(&attributes, &bytes);
  pthread_attr_destroy(&attributes);
  if (bytes >= 2 * kStack) touch_stack();
#endif
}

struct Job {
  int64_t tasks;
  int threads;
  Task task;
  const void* context;
};

// Tasks [next, end) are not begun yet.
struct alignas(64) Range {
  std::atomic<int64_t> next{0};
  int64_t end = 0;
};

constexpr int kMostRanges = 64;

class Team {
 public:
  // Only the thread that leads the team publishes jobs, one after the other.
  void share(const Job& job) {
    used_ = true;
    job_ = job;
    for (int i = 0; i < ranges(); ++i) {
      ranges_[i].next.store(job.tasks * i / ranges(), std::memory_order_relaxed);
      ranges_[i].end = job.tasks * (i + 1) / ranges();
    }
    turn_.fetch_add(1);  // odd: open
    work(0);
    turn_.fetch_add(1);  // even: nobody may enter any more
    // In one order with what serve() does: sequentially consistent, as a load after a store needs.
    for (Waiter waiter; inside_.load() != 0;) waiter.wait();
  }

  bool used() const { return used_; }

  void close() { closed_.store(true, std::memory_order_release); }

  void serve(int id) {
    int64_t served = 0;
    Waiter waiter;
    while (!closed_.load(std::memory_order_acquire)) {
      const int64_t turn = turn_.load();
      if (turn % 2 == 0 || turn == served) {
        waiter.wait();
        continue;
      }
      // Enter, then look again: either the leader sees that somebody is inside, or this thread
      // sees that the job is over.
      inside_.fetch_add(1);
      if (turn_.load() == turn && id < job_.threads) work(id);
      inside_.fetch_sub(1, std::memory_order_release);
      served = turn;
      waiter = Waiter();
    }
  }

 private:
  // Neighbouring tasks of its own first, so that it mostly reads what it wrote in the operation
  // before; then those that others have not begun.
  void work(int id) {
    for (int i = 0; i < ranges(); ++i) {
      Range& range = ranges_[(id + i) % ranges()];
      for (int64_t task; (task = range.next.fetch_add(1, std::memory_order_relaxed)) < range.end;)
        job_.task(job_.context, task, id);
    }
  }

  int ranges() const { return job_.threads < kMostRanges ? job_.threads : kMostRanges; }

  Job job_{};
  bool used_ = false;
  Range ranges_[kMostRanges];  // of tasks, one for each thread
  alignas(64) std::atomic<int64_t> turn_{0};
  alignas(64) std::atomic<int> inside_{0};
  std::atomic<bool> closed_{false};
};

thread_local Team* led_team = nullptr;  // of the thread that leads it
thread_local bool in_task = false;

void run_alone(const Job& job) {
  for (int64_t i = 0; i < job.tasks; ++i) job.task(job.context, i, 0);
}

void share_in_team(void* context) {
  const Job& job = *static_cast<const Job*>(context);
  if (!led_team) return run_alone(job);
  in_task = true;
  led_team->share(job);
  in_task = false;
}

}  // namespace

bool with_team(bool wanted, void (*body)(void*), void* context) {
  const int threads = !wanted || led_team || in_task ? 1 : usable_threads();
  if (threads <= 1) {
    DenormalGuard guard;
    body(context);
    return wanted;
  }
  Team team;
#pragma omp parallel num_threads(threads)
  {
    DenormalGuard guard;
    if (omp_get_thread_num() == 0) {
      led_team = &team;
      body(context);
      led_team = nullptr;
      team.close();
    } else {
      in_task = true;
      prepare_stack();
      team.serve(omp_get_thread_num());
      in_task = false;
    }
  }
  return team.used();
}

void share_tasks(int64_t tasks, int threads, Task task, const void* context) {
  Job job{tasks, threads, task, context};
  if (threads <= 1 || in_task) {
    run_alone(job);
  } else if (led_team) {
    share_in_team(&job);
  } else {
    with_team(true, share_in_team, &job);
  }
}

}  // namespace fastconv::cpu
