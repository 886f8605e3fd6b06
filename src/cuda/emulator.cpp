// The emulator (emulator.h), and a backend over it: a device whose memory is its own, whose runs
// are recorded, and which fails when its kernels do.
#include "emulator.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <chrono>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fastconv/device.h"

namespace fastconv::emulator {
namespace {

// Fibers. A thread of a block is entered through its context once; from then on a jump leads back
// to where it waits, for contexts cost a system call.
constexpr size_t kStack = 128 * 1024;
constexpr int kMostThreads = 1024;

struct Fiber {
  ucontext_t context;
  jmp_buf waiting;
  bool started, done;
};

struct Meeting {
  int arrived;
  int64_t generation;
  void* operands[kMostThreads];
};

struct Later {
  int rounds;
  std::function<void()> work;
};

struct Block {
  Fiber fibers[kMostThreads];
  Meeting everybody, warps[kMostThreads / 32], warpgroups[kMostThreads / 128];
  const std::function<void(void*)>* thread;
  void* shared;
  bool cooperates;
  int64_t progress;  // threads that ended, meetings that took place
  std::vector<Later> later;
};

Block block;
jmp_buf home;         // of the scheduler
std::string failure;  // since the last wait
int64_t launches, blocks_begun;

char* stacks() {
  static char* const memory =
      static_cast<char*>(mmap(nullptr, kStack * kMostThreads, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  return memory;
}

void yield() {
  if (!_setjmp(block.fibers[threadIdx.x].waiting)) _longjmp(home, 1);
}

// A fiber serves one block after the other.
void enter() {
  while (true) {
    (*block.thread)(block.shared);
    block.fibers[threadIdx.x].done = true;
    ++block.progress;
    yield();
  }
}

void resume(unsigned thread) {
  Fiber& fiber = block.fibers[thread];
  threadIdx.x = thread;
  if (_setjmp(home)) return;
  if (fiber.started) _longjmp(fiber.waiting, 1);
  fiber.started = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stacks() + thread * kStack;
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, enter, 0);
  setcontext(&fiber.context);
}

// Fibers in the middle of a kernel begin anew.
void abandon() {
  for (Fiber& fiber : block.fibers) fiber.started = false;
}

void do_what_is_due() {
  std::vector<Later> before;
  before.swap(block.later);
  for (Later& later : before) {
    if (--later.rounds > 0)
      block.later.push_back(std::move(later));
    else
      later.work();
    ++block.progress;
  }
}

// Each thread in turn, up to where it waits, until all are done. The order changes with every
// round, so that a missing barrier shows whoever depends on whom.
void run_fibers(int threads, bool backwards) {
  for (int i = 0; i < threads; ++i) block.fibers[i].done = false;
  block.later.clear();
  block.everybody.arrived = 0;
  for (Meeting& meeting : block.warps) meeting.arrived = 0;
  for (Meeting& meeting : block.warpgroups) meeting.arrived = 0;
  for (bool all_done = false; !all_done; backwards = !backwards) {
    const int64_t before = block.progress;
    all_done = true;
    for (int i = 0; i < threads; ++i) {
      const int thread = backwards ? threads - 1 - i : i;
      if (block.fibers[thread].done) continue;
      resume(static_cast<unsigned>(thread));
      if (!failure.empty()) return abandon();
      all_done &= block.fibers[thread].done;
    }
    do_what_is_due();
    if (all_done && !block.later.empty()) {
      failure = "a block ends before what it asked for";
      return abandon();
    }
    if (!all_done && block.progress == before) {
      failure = "threads wait for others that never come (a barrier in a branch?)";
      return abandon();
    }
  }
}

void run_loop(int threads, bool backwards) {
  if (_setjmp(home)) return;
  for (int i = 0; i < threads; ++i) {
    threadIdx.x = static_cast<unsigned>(backwards ? threads - 1 - i : i);
    (*block.thread)(nullptr);
  }
}

// The device's memory is one range of addresses, which nobody may touch while no kernel runs and
// nothing is copied: on a GPU the host cannot either.
class Memory {
 public:
  static constexpr int64_t kPage = 4096, kSize = int64_t{1} << 36;

  Memory()
      : base_(static_cast<char*>(
            mmap(nullptr, kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {}

  // A page that is never given away lies behind each piece.
  void* take(int64_t bytes) {
    const int64_t size = (bytes + kPage - 1) / kPage * kPage + kPage;
    int64_t at = 0;
    for (const auto& [begin, end] : taken_) {
      if (begin - at >= size) break;
      at = end;
    }
    if (at + size > kSize) return nullptr;
    taken_[at] = at + size;
    const Open open(*this);
    memset(base_ + at, 0xFF, static_cast<size_t>(size - kPage));
    return base_ + at;
  }

  void give_back(void* memory) {
    const auto found = taken_.find(static_cast<char*>(memory) - base_);
    if (found == taken_.end()) return;
    madvise(memory, static_cast<size_t>(found->second - found->first), MADV_DONTNEED);
    taken_.erase(found);
  }

  bool holds(const void* memory) const {
    const char* p = static_cast<const char*>(memory);
    return p >= base_ && p < base_ + kSize;
  }

  // While one lives, the memory can be touched.
  class Open {
   public:
    explicit Open(Memory& memory) : memory_(memory) {
      if (memory_.open_++ == 0) memory_.protect(PROT_READ | PROT_WRITE);
    }
    ~Open() {
      if (--memory_.open_ == 0) memory_.protect(PROT_NONE);
    }

   private:
    Memory& memory_;
  };

 private:
  void protect(int how) {
    for (const auto& [begin, end] : taken_)
      mprotect(base_ + begin, static_cast<size_t>(end - begin - kPage), how);
  }
  char* base_;
  std::map<int64_t, int64_t> taken_;
  int open_ = 0;
};

Memory& memory() {
  static Memory* const memory = new Memory;
  return *memory;
}

using Recording = std::vector<std::function<void()>>;
Recording* recorded;  // not null: launches are kept, and do not run

}  // namespace

void fault(const char* what) {
  failure = what;
  _longjmp(home, 1);
}

int64_t block_number() { return blocks_begun; }

void meet(int size, void* mine, const std::function<void(void* const*)>& all) {
  if (!block.cooperates) fault("threads meet in a kernel without Shared");
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int first = thread / size * size;
  const int members = size < threads - first ? size : threads - first;
  if (size == 32 && members < size) fault("a warp that is not whole");
  Meeting& meeting = size == 32    ? block.warps[first / 32]
                     : size == 128 ? block.warpgroups[first / 128]
                                   : block.everybody;
  meeting.operands[thread - first] = mine;
  if (++meeting.arrived == members) {
    all(meeting.operands);
    meeting.arrived = 0;
    ++meeting.generation;
    ++block.progress;
    return;
  }
  for (const int64_t generation = meeting.generation; meeting.generation == generation;) yield();
}

void wait_until(const std::function<bool()>& ready) {
  if (!block.cooperates) fault("threads wait in a kernel without Shared");
  while (!ready()) yield();
  progressed();
}

// One to six rounds, in an order that changes.
void later(std::function<void()> work) {
  const int rounds = 1 + static_cast<int>((block.progress + blocks_begun) * 7 % 6);
  block.later.push_back({rounds, std::move(work)});
}

void progressed() { ++block.progress; }

unsigned char* shared_memory() {
  alignas(1024) static unsigned char shared[kMostShared];
  return shared;
}

namespace {

void run(int64_t blocks, int threads, int64_t shared_bytes,
         const std::function<void(void*)>& thread) {
  unsigned char* const shared = shared_memory();
  const Memory::Open open(memory());
  block.thread = &thread;
  block.shared = shared;
  block.cooperates = shared_bytes > 0;
  gridDim.x = static_cast<unsigned>(blocks);
  blockDim.x = static_cast<unsigned>(threads);
  ++launches;
  for (int64_t i = 0; i < blocks && failure.empty(); ++i) {
    blockIdx.x = static_cast<unsigned>(i);
    ++blocks_begun;
    const bool backwards = (launches + i) % 2;
    memset(shared, 0xFF, static_cast<size_t>(shared_bytes));
    block.cooperates ? run_fibers(threads, backwards) : run_loop(threads, backwards);
  }
}

}  // namespace

void launch(int64_t blocks, int threads, int64_t shared_bytes,
            const std::function<void(void*)>& thread) {
  if (shared_bytes > kMostShared || threads > kMostThreads || blocks > INT32_MAX)
    failure = "a launch that no GPU takes";
  const auto start = [=] { run(blocks, threads, shared_bytes, thread); };
  recorded ? recorded->push_back(start) : start();
}

}  // namespace fastconv::emulator

namespace fastconv::cuda {
namespace {

using emulator::failure;
using emulator::memory;
using emulator::Memory;
using emulator::Recording;

constexpr int64_t kCopiedBytes = 256;

std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;
std::map<const char*, int64_t> shared;  // what the host shares with the device: place and size

void* allocate(const Backend&, int64_t bytes) {
  const Lock lock(mutex);
  return memory().take(bytes);
}

void release(const Backend&, void* place, int64_t) {
  const Lock lock(mutex);
  if (memory().holds(place)) return memory().give_back(place);
  shared.erase(static_cast<const char*>(place));
  std::free(place);
}

void* share(const Backend&, int64_t bytes) {
  const Lock lock(mutex);
  const int64_t size = (bytes + 63) / 64 * 64;
  void* place = std::aligned_alloc(64, static_cast<size_t>(size));
  if (place) shared[static_cast<const char*>(place)] = size;
  return place;
}

void* pin(const Backend&, int64_t bytes) { return std::malloc(static_cast<size_t>(bytes)); }

bool reaches(const Backend&, const void* place) {
  const Lock lock(mutex);
  const char* p = static_cast<const char*>(place);
  if (memory().holds(p)) return true;
  const auto after = shared.upper_bound(p);
  if (after == shared.begin()) return false;
  const auto& [begin, size] = *std::prev(after);
  return p < begin + size;
}

void copy(const Backend&, void* to, const void* from, int64_t bytes) {
  const Lock lock(mutex);
  const Memory::Open open(memory());
  if (bytes > 0) memcpy(to, from, static_cast<size_t>(bytes));
}

const char* wait(const Backend&) {
  static thread_local std::string reported;
  const Lock lock(mutex);
  reported.clear();
  reported.swap(failure);
  return reported.empty() ? nullptr : reported.c_str();
}

void* record(const Backend&, void (*body)(void*), void* context) {
  auto recording = std::make_unique<Recording>();
  emulator::recorded = recording.get();
  body(context);
  emulator::recorded = nullptr;
  return recording.release();
}

void replay(const Backend&, void* recording) {
  for (const auto& start : *static_cast<Recording*>(recording)) start();
}

void forget(const Backend&, void* recording) { delete static_cast<Recording*>(recording); }

int64_t available(const Backend&) { return Memory::kSize; }

std::vector<std::chrono::steady_clock::time_point> marks;

void mark(const Backend&, int32_t number) {
  const size_t i = static_cast<size_t>(number);
  if (i >= marks.size()) marks.resize(i + 1);
  const auto note = [i] { marks[i] = std::chrono::steady_clock::now(); };
  emulator::recorded ? emulator::recorded->push_back(note) : note();
}

int64_t between(const Backend&, int32_t first, int32_t second) {
  const std::chrono::nanoseconds time =
      marks[static_cast<size_t>(second)] - marks[static_cast<size_t>(first)];
  return time.count();
}

// As late as may be.
std::vector<std::pair<void*, std::vector<char>>> brought;

void bring(const Backend&, void* to, const void* from, int64_t bytes) {
  const Lock lock(mutex);
  const char* begin = static_cast<const char*>(from);
  brought.emplace_back(to, std::vector<char>(begin, begin + bytes));
}

void meet(const Backend& self) {
  for (const auto& [to, values] : brought)
    copy(self, to, values.data(), static_cast<int64_t>(values.size()));
  brought.clear();
}

void* stream(const Backend&) { return &brought; }

bool prepared(const Backend&, bool, void (*body)(void*), void* context) {
  const Lock lock(mutex);
  body(context);
  return true;
}

}  // namespace

KernelList kernels(const Backend& self, OpKind kind);
bool tiles(const Backend& self, OpKind kind, const char* kernel, const DeviceCall& call);

bool has_hopper(const Backend& self) { return self.index == 0; }

extern "C" __attribute__((visibility("default"))) const Backend* fastconv_backend(
    uint32_t version, int32_t index, const char** reason) {
  static const Device device{
      {share, kCopiedBytes, reaches, copy, copy, wait, record, replay, forget, available},
      pin,
      mark,
      between,
      bring,
      meet,
      tiles,
      stream};
  static const Backend backends[] = {
      {kDeviceVersion, "cuda", "emulated", 0, kernels, allocate, release, prepared, &device},
      {kDeviceVersion, "cuda:1", "emulated", 1, kernels, allocate, release, prepared, &device},
  };
  if (version != kDeviceVersion) return nullptr;
  if (index >= 0 && index < 2) return &backends[index];
  *reason = "the emulator has 2 devices";
  return nullptr;
}

}  // namespace fastconv::cuda
