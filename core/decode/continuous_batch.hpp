// Many texts in one batch: which rows the next pass runs, and who makes room when memory is short.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/cache/prefix_cache.hpp"
#include "core/decode/engine.hpp"
#include "core/decode/job.hpp"

namespace quiver {

/// Limits of a scheduler.
struct SchedulerOptions {
  /// Texts that are in progress at once. One that was preempted is held in ordinary memory, so all
  /// of them together may need this many times what the page pool allows.
  int max_sequences = 32;
  int max_waiting = 128;  ///< Requests that wait until one of those has ended.
  /// Prompt rows of a pass at most. Chunks are never cut off their grid, so one chunk always runs.
  int max_prompt_rows = Engine::kPromptGrid;
  std::size_t prefix_limit_bytes = std::size_t{256}
                                   << 20U;  ///< See PrefixCache; 0 = share nothing.
};

/// Continuous batching without a thread of its own: step() runs one pass over what the decoders of
/// all texts ask for (newest tokens, drafts, canvases) and over chunks of prompts, taken in turns.
/// A token never depends on what else is in its pass, on sharing or on preemption.
///
/// When pages run short, unused prefixes go first; then the youngest text is saved in ordinary
/// memory and goes on, with the same bits, once there is room. The oldest always goes on, so all
/// end. [one-call-at-a-time]
class ContinuousBatch {
 public:
  /// All references outlive the object. The engine's sequences are this object's alone.
  ContinuousBatch(Engine& engine, const SchedulerOptions& options, SchedulerCounters& counters);

  /// How many texts may begin. None while one waits for memory, which came before.
  std::size_t room() const noexcept;

  bool is_empty() const noexcept { return jobs_.empty(); }

  /// Takes a text up; requires room().
  void add(std::unique_ptr<Job> job);

  /// Runs one pass. What goes wrong with one text ends that one alone.
  void step();

  /// Ends all texts: with an error, or as interrupted.
  void end_all(const std::optional<Error>& error) noexcept;

 private:
  using Jobs = std::vector<Job*>;

  void fail(Job& job, Error error) noexcept;
  void end_cancelled() noexcept;
  void resume_suspended();
  bool resume(Job& job);
  void suspend(Job& job);
  void run_draft_heads();
  Jobs choose();
  bool is_computed_by(Job& job, const Jobs& others) const;
  void reserve(Jobs& chosen);
  bool reserve(Job& job, std::size_t needed, std::size_t promised);
  bool free_pages(std::size_t bytes);
  void run(std::span<Job* const> chosen);
  void settle(std::span<Job* const> chosen, std::span<const Feed> feeds, Logits& logits);
  void advance(Job& job, const Feed& feed, const PassResult& result, int texts);

  Engine& engine_;
  SchedulerOptions options_;
  SchedulerCounters& counters_;
  PrefixCache prefixes_;
  std::vector<std::unique_ptr<Job>> jobs_;  // oldest first
  std::uint64_t numbers_ = 0;
  std::uint64_t turns_ = 0;
};

}  // namespace quiver
