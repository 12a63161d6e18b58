// The pool of worker threads that every parallel loop of the engine runs on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
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

  /// Of `tasks` in a loop, the first that falls to a thread, 0 being the caller. The tasks of each
  /// follow one another up to the first of the next thread; who has none left goes on with the
  /// second half of what another has.
  int first_task(int tasks, int thread) const noexcept {
    return static_cast<int>(std::int64_t{tasks} * thread / threads());
  }

  /// Memory that a thread will read from its first task on.
  struct Reading {
    const std::byte* begin = nullptr;
    std::size_t bytes = 0;
  };

  /// Names what a loop to come reads, a part for each thread. From the end of the next loop on,
  /// threads that wait ask for theirs, so that memory is not idle while they are. Only prefetches:
  /// the memory may be gone by then.
  void read_ahead(std::span<const Reading> parts) noexcept;

 private:
  using Function = void (*)(const void* context, int task, int worker);

  static constexpr std::size_t kCacheLine = 64;

  /// What the others see of a thread.
  struct alignas(kCacheLine) Share {
    /// Its tasks that nobody has taken: the first of them, and in the high half the one behind the
    /// last. It takes from the front itself, so that it reads memory that lies together.
    std::atomic<std::uint64_t> tasks{0};
    // Of read_ahead(). A thread may see one of them new and the other old, which does no harm.
    std::atomic<const std::byte*> ahead{nullptr};
    std::atomic<std::size_t> ahead_bytes{0};
  };

  /// What one thread fetches of what read_ahead() named, and how far it is.
  struct ReadAhead {
    const std::byte* begin = nullptr;
    const std::byte* at = nullptr;
    std::size_t left = 0;

    void fetch_some() noexcept;
  };

  void run_erased(int tasks, const void* context, Function function);
  void work(int worker);
  std::uint32_t wait_for_loop(std::uint32_t seen, ReadAhead& ahead) const;
  void take_tasks(int worker) noexcept;
  int take_task(int worker) noexcept;
  void look_ahead(int worker, ReadAhead& own) const noexcept;

  // Written by one thread and read by all, watched by all: two cache lines, so that neither of
  // these takes the other away from a core that needs it.
  Function function_ = nullptr;
  const void* context_ = nullptr;
  std::vector<Share> shares_;  // by thread
  /// What the workers watch: the number of the loop, whether it is open to them, how many are in
  /// it. A loop waits for those that came in, never for one that the system has not let run yet.
  alignas(kCacheLine) std::atomic<std::uint32_t> state_{0};
  alignas(kCacheLine) std::atomic<bool> stop_{false};
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
  // Of the caller, which changes it while the others read what is above.
  alignas(kCacheLine) ReadAhead own_ahead_;
};

}  // namespace quiver
