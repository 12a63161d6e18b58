// Generates many texts at once, on a thread of its own, with a bounded queue in front.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "core/decode/continuous_batch.hpp"
#include "core/decode/engine.hpp"
#include "core/decode/request.hpp"

namespace quiver {

/// The one inference thread of an engine. A request's tokens are those that generate() gives with
/// the same rules, bit for bit, whatever else runs, is shared, preempted or cancelled.
class Scheduler {
 public:
  /// Starts the thread, which sleeps until there is a request. The engine outlives the scheduler
  /// and is used by it alone.
  explicit Scheduler(Engine& engine, const SchedulerOptions& options = {});

  /// Ends all requests with FinishReason::interrupted and waits for the thread. Not to be called by
  /// a callback.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Accepts a request; its on_end is called once, whatever happens. Refuses by throwing, without
  /// any callback: Error(usage) for an empty prompt and what check_decoding() refuses,
  /// Error(bad_input) for ids outside the vocabulary or a prompt longer than the context,
  /// Error(resources) where the prompt alone does not fit into the page pool or max_sequences +
  /// max_waiting requests are there already, and Error(interrupted) while the scheduler is being
  /// destroyed. [any-thread], callbacks too
  RequestHandle submit(Request request);

  /// Figures since the start. [any-thread]
  const SchedulerCounters& counters() const noexcept { return counters_; }

 private:
  using Queue = std::deque<std::unique_ptr<Job>>;

  void work();
  bool take_requests(const ContinuousBatch& batch, Queue& begun, Queue& ended);
  std::uint64_t most_requests() const noexcept;

  Engine& engine_;
  const SchedulerOptions options_;
  SchedulerCounters counters_;
  std::mutex mutex_;
  std::condition_variable wake_;
  Queue queue_;               // guarded by mutex_
  bool is_stopping_ = false;  // guarded by mutex_
  std::thread thread_;        // last, so that it finds everything else in place
};

}  // namespace quiver
