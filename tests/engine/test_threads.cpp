// The thread pool: every task once, errors passed on, and no work lost between loops.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/threads/thread_pool.hpp"

namespace quiver {
namespace {

TEST(ThreadPool, every_task_runs_once_by_a_worker_of_the_pool) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int round = 0; round < 200; ++round) {
      const int tasks = round % 17;
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
      pool.run(tasks, [&](int task, int worker) {
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, threads);
        ++runs[static_cast<std::size_t>(task)];
      });
      for (const auto& count : runs) EXPECT_EQ(count.load(), 1);
    }
  }
}

TEST(ThreadPool, the_first_exception_reaches_the_caller_and_the_pool_goes_on) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.run(50,
                        [](int task, int) {
                          if (task == 7) throw std::runtime_error("seven");
                        }),
               std::runtime_error);
  std::atomic<int> done{0};
  pool.run(50, [&](int, int) { ++done; });
  EXPECT_EQ(done.load(), 50);
}

TEST(ThreadPool, memory_named_for_reading_ahead_may_be_of_any_size_and_gone) {
  ThreadPool pool(3);
  std::atomic<int> done{0};
  const auto loops = [&] {
    for (int i = 0; i < 20; ++i) pool.run(7, [&](int, int) { ++done; });
  };
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{1}, std::size_t{5000}, std::size_t{1} << 20U}) {
    for (const std::size_t parts : {1U, 3U, 5U}) {
      {
        const std::vector<std::byte> memory(bytes);
        pool.read_ahead(std::vector<ThreadPool::Reading>(parts, {memory.data(), bytes}));
        loops();
      }
      loops();
    }
  }
  pool.read_ahead({});
  loops();
  EXPECT_EQ(done.load(), 7 * 20 * (2 * 4 * 3 + 1));
}

TEST(ThreadPool, shares_of_tasks_cover_a_loop) {
  const ThreadPool pool(4);
  for (const int tasks : {1, 2, 5, 1000}) {
    EXPECT_EQ(pool.first_task(tasks, 0), 0);
    EXPECT_EQ(pool.first_task(tasks, 4), tasks);
  }
}

TEST(ThreadPool, tasks_of_a_thread_that_is_busy_are_done_by_others) {
  ThreadPool pool(3);
  std::atomic<int> others{0};
  pool.run(64, [&](int task, int) {
    if (task != 0) {
      ++others;
      return;
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (others.load() < 63 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    EXPECT_EQ(others.load(), 63);
  });
  EXPECT_EQ(others.load(), 63);
}

TEST(ThreadPool, this_machine_has_at_least_one_cpu) {
  EXPECT_GE(available_cpus(), 1);
}

}  // namespace
}  // namespace quiver
