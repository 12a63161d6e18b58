// Generates many texts at once, on a thread of its own, with a bounded queue in front.
#include "core/decode/scheduler.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace quiver {

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : engine_(engine), options_(options), thread_([this] { work(); }) {}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

std::uint64_t Scheduler::most_requests() const noexcept {
  const int running = std::max(1, options_.max_sequences);
  return static_cast<std::uint64_t>(running) +
         static_cast<std::uint64_t>(std::max(0, options_.max_waiting));
}

RequestHandle Scheduler::submit(Request request) {
  check_prompt(engine_.info(), 0, request.prompt);
  const std::size_t limit = engine_.pool().limit_bytes();
  const auto tokens = static_cast<int>(request.prompt.size());
  if (limit != 0 && page_bytes(engine_.layout(), tokens) > limit) {
    throw Error(ErrorCode::resources,
                fmt::format("the prompt's {} tokens do not fit into the key-value cache", tokens),
                "prompt", "shorten it, or raise the cache's limit");
  }
  check_decoding(engine_.model(), request.decode, request.rules);
  auto job = std::make_unique<Job>(std::move(request), engine_);
  RequestHandle handle(job->cancel_flag);
  {
    const std::lock_guard lock(mutex_);
    if (is_stopping_) throw Error(ErrorCode::interrupted, "the scheduler is shutting down");
    // Nobody else adds, so what is counted here can only become less.
    if (counters_.requests >= most_requests()) {
      throw Error(ErrorCode::resources,
                  fmt::format("{} requests are running or waiting", most_requests()), "queue",
                  "try again when one of them has ended");
    }
    queue_.push_back(std::move(job));
    ++counters_.requests;
  }
  wake_.notify_one();
  return handle;
}

void Scheduler::work() {
  ContinuousBatch batch(engine_, options_, counters_);
  bool goes_on = true;
  while (goes_on) {
    Queue begun;
    Queue ended;
    goes_on = take_requests(batch, begun, ended);
    // Callbacks run without the lock, because they may submit.
    for (const auto& job : ended) job->end(FinishReason::interrupted, {}, counters_);
    for (auto& job : begun) batch.add(std::move(job));
    if (!goes_on) break;
    try {
      batch.step();
    } catch (...) {
      // Nothing that one text does ends up here, but memory for the lists of a pass may be short.
      batch.end_all(current_error());
    }
  }
  batch.end_all({});
}

/// Waits for something to do. Takes from the queue what may begin, and what is not to begin any
/// more. Returns false when the thread is to end.
bool Scheduler::take_requests(const ContinuousBatch& batch, Queue& begun, Queue& ended) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return is_stopping_ || !queue_.empty() || !batch.is_empty(); });
  if (is_stopping_) {
    ended.swap(queue_);
    return false;
  }
  Queue waiting;
  for (auto& job : queue_) {
    const bool may_begin = begun.size() < batch.room();
    Queue& target = job->is_cancelled() ? ended : may_begin ? begun : waiting;
    target.push_back(std::move(job));
  }
  queue_.swap(waiting);
  return true;
}

}  // namespace quiver
