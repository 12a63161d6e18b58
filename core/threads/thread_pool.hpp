// The pool of worker threads that every parallel loop of the engine runs on.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace quiver {

/// CPUs that this process may use: the affinity mask, reduced to the cgroup's CPU quota. At
/// least 1. [any-thread]
int available_cpus();

/// A fixed set of workers for short parallel loops. The calling thread works too, so a pool of one
/// has no threads of its own. Workers that are idle for long sleep in the kernel.
/// [one-call-at-a-time]
class ThreadPool {
 public:
  /// `threads` workers, the caller included; 0 = available_cpus().
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// Calls body(task, worker) for every task in [0, tasks), in any order, on any worker in
  /// [0, threads()). Returns when all are done; rethrows the first exception. Must not be nested.
  template <class Body>
  void run(int tasks, const Body& body) {
    run_erased(tasks, &body, [](const void* context, int task, int worker) {
      (*static_cast<const Body*>(context))(task, worker);
    });
  }

 private:
  using Function = void (*)(const void* context, int task, int worker);

  void run_erased(int tasks, const void* context, Function function);
  void work(int worker);
  std::uint32_t wait_for_loop(std::uint32_t seen) const;
  void take_tasks(int worker) noexcept;

  // Written by one thread and read by all, taken by all, watched by all: three cache lines, so that
  // none of these takes the others away from a core that needs them.
  static constexpr std::size_t kCacheLine = 64;
  Function function_ = nullptr;
  const void* context_ = nullptr;
  int tasks_ = 0;
  alignas(kCacheLine) std::atomic<int> next_task_{0};
  /// What the workers watch: the number of the loop, whether it is open to them, how many are in
  /// it. A loop waits for those that came in, never for one that the system has not let run yet.
  alignas(kCacheLine) std::atomic<std::uint32_t> state_{0};
  alignas(kCacheLine) std::atomic<bool> stop_{false};
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
};

}  // namespace quiver
