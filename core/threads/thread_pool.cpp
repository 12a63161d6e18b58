// The pool of worker threads: spins briefly for the next loop, then sleeps in the kernel.
#include "core/threads/thread_pool.hpp"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <string>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace quiver {
namespace {

// About 30 microseconds: longer than the gap between two loops of one forward pass, so workers stay
// awake inside a pass, and far shorter than a scheduler tick, so an idle process sleeps.
constexpr int kSpins = 2000;

// After that, workers give their turns away for so long before they sleep. A thread that the system
// wakes is often put on the waker's own core, where it would run in turns with it; one that stays
// awake stays where it is. The gap between two tokens is a few hundred microseconds.
constexpr std::chrono::milliseconds kAwake{1};

// Turns given away before the caller sleeps until the last worker is done.
constexpr int kYields = 20;

// What a waiting thread asks for between two pauses. Processors drop prefetches that come faster
// than memory answers: of twice as many lines a pause, only a part arrives (Zen 4).
constexpr std::size_t kFetchBytes = 512;

// What a waiting thread fetches at most: a part of its second-level cache.
constexpr std::size_t kAheadBytes = 256U << 10U;

// Parts of the state: loops are counted in the high bits.
constexpr std::uint32_t kInside = 0xfff;
constexpr std::uint32_t kOpen = 0x1000;
constexpr std::uint32_t kLoop = 0x2000;

/// How many tasks are in a Share.
int left_of(std::uint64_t tasks) {
  return static_cast<int>(tasks >> 32U) - static_cast<int>(tasks & 0xffffffffU);
}

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

/// CPUs that the cgroup (v2) allows on average; a large number where there is no quota.
double cgroup_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 1e9;
  return std::strtod(quota.c_str(), nullptr) / period;
}

}  // namespace

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cpus = CPU_COUNT(&set);
  const double quota = std::ceil(cgroup_quota());
  return std::max(1, static_cast<int>(std::min<double>(cpus, quota)));
}

ThreadPool::ThreadPool(int threads)
    : shares_(static_cast<std::size_t>(threads > 0 ? threads : available_cpus())) {
  threads = static_cast<int>(shares_.size());
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  state_.fetch_add(kLoop);
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_erased(int tasks, const void* context, Function function) {
  if (tasks <= 0) return;
  if (workers_.empty() || tasks == 1) {
    for (int task = 0; task < tasks; ++task) function(context, task, 0);
    return;
  }
  function_ = function;
  context_ = context;
  for (int thread = 0; thread < threads(); ++thread) {
    const auto first = static_cast<std::uint64_t>(first_task(tasks, thread));
    const auto last = static_cast<std::uint64_t>(first_task(tasks, thread + 1));
    shares_[static_cast<std::size_t>(thread)].tasks.store(first | last << 32U,
                                                          std::memory_order_relaxed);
  }
  const std::uint32_t number = state_.load(std::memory_order_relaxed) & ~(kLoop - 1);
  state_.store((number + kLoop) | kOpen, std::memory_order_release);
  state_.notify_all();
  take_tasks(0);
  look_ahead(0, own_ahead_);
  std::uint32_t state = state_.fetch_and(~kOpen, std::memory_order_acquire) & ~kOpen;
  for (int turns = 0; (state & kInside) != 0; ++turns) {
    if (turns < kSpins) {
      own_ahead_.fetch_some();
      pause_briefly();
    } else if (turns < kSpins + kYields) {
      std::this_thread::yield();
    } else {
      // A core that goes idle is what makes the system bring the worker's thread over to it.
      state_.wait(state, std::memory_order_acquire);
    }
    state = state_.load(std::memory_order_acquire);
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::read_ahead(std::span<const Reading> parts) noexcept {
  for (std::size_t thread = 0; thread < std::min(parts.size(), shares_.size()); ++thread) {
    shares_[thread].ahead.store(parts[thread].begin, std::memory_order_relaxed);
    shares_[thread].ahead_bytes.store(parts[thread].bytes, std::memory_order_relaxed);
  }
}

/// Takes up what read_ahead() named last, where that is new.
void ThreadPool::look_ahead(int worker, ReadAhead& own) const noexcept {
  const Share& share = shares_[static_cast<std::size_t>(worker)];
  const std::byte* begin = share.ahead.load(std::memory_order_relaxed);
  if (begin == own.begin) return;
  own = {begin, begin, std::min(share.ahead_bytes.load(std::memory_order_relaxed), kAheadBytes)};
}

/// Asks for the next lines.
void ThreadPool::ReadAhead::fetch_some() noexcept {
  if (left == 0) return;
  for (std::size_t i = 0; i < kFetchBytes; i += kCacheLine) __builtin_prefetch(at + i, 0, 2);
  at += kFetchBytes;
  left -= std::min(left, kFetchBytes);
}

/// Waits until there is another loop than the one of `seen`; gives the state it saw.
std::uint32_t ThreadPool::wait_for_loop(std::uint32_t seen, ReadAhead& ahead) const {
  using Clock = std::chrono::steady_clock;
  std::uint32_t state = state_.load(std::memory_order_acquire);
  Clock::time_point spun{};
  for (int spins = 0; (state & ~(kLoop - 1)) == (seen & ~(kLoop - 1)); ++spins) {
    if (spins < kSpins) {
      ahead.fetch_some();
      pause_briefly();
    } else if (spins == kSpins) {
      spun = Clock::now();
    } else if (Clock::now() - spun < kAwake) {
      std::this_thread::yield();
    } else {
      state_.wait(state, std::memory_order_acquire);
    }
    state = state_.load(std::memory_order_acquire);
  }
  return state;
}

void ThreadPool::work(int worker) {
  std::uint32_t state = 0;
  ReadAhead ahead;
  for (;;) {
    look_ahead(worker, ahead);
    state = wait_for_loop(state, ahead);
    if (stop_.load()) return;
    // The loop may have been closed meanwhile: then there is nothing left in it.
    while ((state & kOpen) != 0) {
      if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) continue;
      take_tasks(worker);
      const std::uint32_t after = state_.fetch_sub(1, std::memory_order_release) - 1;
      if ((after & (kOpen | kInside)) == 0) state_.notify_all();
      break;
    }
  }
}

void ThreadPool::take_tasks(int worker) noexcept {
  try {
    for (int task = take_task(worker); task >= 0; task = take_task(worker)) {
      function_(context_, task, worker);
    }
  } catch (...) {
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
    for (Share& share : shares_) share.tasks.store(0, std::memory_order_relaxed);
  }
}

/// A task that nobody has taken, or -1: the next of its own, or of half of those of the thread that
/// has most left.
int ThreadPool::take_task(int worker) noexcept {
  std::atomic<std::uint64_t>& own = shares_[static_cast<std::size_t>(worker)].tasks;
  std::uint64_t tasks = own.load(std::memory_order_relaxed);
  while (left_of(tasks) > 0) {
    if (own.compare_exchange_weak(tasks, tasks + 1, std::memory_order_relaxed)) {
      return static_cast<int>(tasks & 0xffffffffU);
    }
  }
  for (;;) {
    std::atomic<std::uint64_t>* fullest = nullptr;
    std::uint64_t most = 0;
    for (Share& share : shares_) {
      tasks = share.tasks.load(std::memory_order_relaxed);
      if (left_of(tasks) <= left_of(most)) continue;
      most = tasks;
      fullest = &share.tasks;
    }
    if (fullest == nullptr) return -1;
    const std::uint64_t last = most >> 32U;
    const std::uint64_t first = last - static_cast<std::uint64_t>(left_of(most) + 1) / 2;
    if (fullest->compare_exchange_weak(most, (most & 0xffffffffU) | first << 32U,
                                       std::memory_order_relaxed)) {
      own.store((first + 1) | last << 32U, std::memory_order_relaxed);
      return static_cast<int>(first);
    }
  }
}

}  // namespace quiver
