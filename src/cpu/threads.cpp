#include "threads.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <sstream>
#include <string>

#include "../environment.h"

namespace fastconv::cpu {
namespace {

// Below this much work a second thread costs more than it brings.
constexpr int64_t kWorkPerThread = 16384;

std::atomic<int> chosen_threads{0};
std::atomic<bool> forked{false};

int affinity_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

double read_ratio(const std::string& quota_file, const std::string& period_file) {
  double quota = 0, period = 0;
  std::ifstream(quota_file) >> quota;
  std::ifstream(period_file) >> period;
  return quota > 0 && period > 0 ? quota / period : 0;
}

// CPUs that the container may use, 0 if unlimited: cgroup v2 (cpu.max holds "quota period" or
// "max period") in this process's group or at the root, else v1.
double cgroup_quota() {
  std::string line, group = "/";
  for (std::ifstream file("/proc/self/cgroup"); std::getline(file, line);)
    if (line.rfind("0::", 0) == 0) group = line.substr(3);
  for (const std::string& folder : {"/sys/fs/cgroup" + group, std::string("/sys/fs/cgroup")}) {
    std::ifstream file(folder + "/cpu.max");
    double quota = 0, period = 0;
    if (file >> quota >> period && period > 0) return quota / period;
  }
  return read_ratio("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
}

struct Default {
  int threads;
  std::string reason;
};

Default find_default() {
  Default result{affinity_threads(), ""};
  std::ostringstream reason;
  reason << "affinity " << result.threads;
  const double quota = cgroup_quota();
  if (quota > 0) {
    reason << ", cgroup quota " << quota;
    result.threads = std::min(result.threads, std::max(1, static_cast<int>(quota)));
  }
  for (auto [name, value] : {std::pair("OMP_NUM_THREADS", openmp_threads()),
                             std::pair("FASTCONV_NUM_THREADS", forced_threads())}) {
    if (value <= 0) continue;
    reason << ", " << name << " " << value;
    result.threads = std::min(result.threads, value);
  }
  reason << " -> " << result.threads;
  result.reason = reason.str();
  return result;
}

const Default& default_threads() {
  static const Default value = find_default();
  return value;
}

// libgomp's threads do not survive fork: put them to rest before it, so that the child can start
// its own. Where that fails the child computes on one thread.
void before_fork() { forked = omp_pause_resource_all(omp_pause_soft) != 0; }
void in_parent() { forked = false; }

const int fork_handlers = pthread_atfork(before_fork, in_parent, nullptr);

}  // namespace

int thread_count() {
  const int chosen = chosen_threads.load(std::memory_order_relaxed);
  return chosen > 0 ? chosen : default_threads().threads;
}

void set_thread_count(int threads) { chosen_threads = std::max(0, threads); }

const char* thread_count_reason() { return default_threads().reason.c_str(); }

int usable_threads() { return forked.load(std::memory_order_relaxed) ? 1 : thread_count(); }

int threads_for(int64_t tasks, int64_t work) {
  if (tasks <= 1) return 1;
  const int64_t worth = tasks * std::max<int64_t>(work, 1) / kWorkPerThread;
  const int64_t most = std::min<int64_t>(tasks, usable_threads());
  return static_cast<int>(std::max<int64_t>(1, std::min(worth, most)));
}

}  // namespace fastconv::cpu
