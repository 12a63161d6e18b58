// A request on its way from submission to its end, as the inference thread sees it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "core/cache/sequence.hpp"
#include "core/decode/decoder.hpp"
#include "core/decode/request.hpp"
#include "core/decode/text_state.hpp"

namespace quiver {

/// Figures of a scheduler since its start, counted by the inference thread. Reading is
/// [any-thread]; what a callback is told has been counted before.
struct SchedulerCounters {
  std::atomic<std::uint64_t> passes{0};
  std::atomic<std::uint64_t> prompt_rows{0};
  std::atomic<std::uint64_t> decode_rows{0};
  std::atomic<std::uint64_t> shared_tokens{0};  ///< Of prompts, taken from earlier texts.
  std::atomic<std::uint64_t> preemptions{0};
  std::atomic<std::uint64_t> requests{0};      ///< Now: accepted and not ended.
  std::atomic<std::uint64_t> suspended{0};     ///< Now: preempted and not taken up again.
  std::atomic<std::uint64_t> prefix_bytes{0};  ///< Now: kept for sharing.
};

/// One text with its caches and its report. [one-call-at-a-time]
struct Job {
  using Clock = std::chrono::steady_clock;

  /// Throws what the samplers throw when their state is made.
  Job(Request asked, Engine& engine);
  Job(const Job&) = delete;  // the text refers to the request
  Job& operator=(const Job&) = delete;

  /// Gives the caches up and reports the end, once.
  void end(FinishReason reason, std::optional<Error> error, SchedulerCounters& counters) noexcept;

  bool is_cancelled() const noexcept { return cancel_flag->load(); }

  /// Tokens of the text that the caches hold, in the pool or saved.
  int length() const noexcept;

  /// What the next pass feeds: the prompt up to the next point of its grid, or what the decoder
  /// plans. The sequence is set where the job is running.
  Feed next();

  /// An empty sequence with all that the decoder needs.
  Sequence new_sequence(Engine& engine) const {
    return decoder->keeps_head_history() ? engine.new_drafted_sequence() : engine.new_sequence();
  }

  /// Tokens of a chunk of the prompt.
  int prompt_grid() const noexcept { return Engine::prompt_grid(prompt_visibility); }

  /// Whether its prompt may be shared with others: chunks lie as those of all others.
  bool is_shareable() const noexcept { return prompt_grid() == Engine::kPromptGrid; }

  bool is_prompt() const noexcept {
    return static_cast<std::size_t>(length()) < text.given().size();
  }
  bool is_running() const noexcept { return sequence.has_value(); }
  bool is_suspended() const noexcept { return saved.has_value(); }

  Request request;  ///< Its prompt has moved into the text.
  RequestEnd report;
  TextState text;
  std::unique_ptr<Decoder> decoder;
  Visibility prompt_visibility;
  std::string prefix_key;  ///< Of the request, with the rule of the prompt.
  std::shared_ptr<std::atomic<bool>> cancel_flag = std::make_shared<std::atomic<bool>>(false);
  std::optional<Sequence> sequence;    ///< While it runs.
  std::optional<SavedSequence> saved;  ///< While it is suspended.
  std::uint64_t number = 0;            ///< In order of admission: a larger one is younger.
  std::uint64_t turn = 0;              ///< Place in the round of prompts; the lowest is next.
  bool is_ended = false;
  Clock::time_point submitted = Clock::now();
  std::optional<Clock::time_point> admitted;
  std::optional<Clock::time_point> first_token;
};

/// The exception being handled as an Error of our own. Call it in a catch block only.
Error current_error();

}  // namespace quiver
