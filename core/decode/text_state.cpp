// One text while it is generated: how its tokens are chosen, and everything that can end it.
#include "core/decode/text_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <quiver/error.hpp>

#include "core/decode/engine.hpp"

namespace quiver {

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::interrupted: return "interrupted";
  }
  return "stop";
}

TextState::TextState(const SamplerChain& samplers, const TextRules& rules,
                     std::vector<std::int32_t> history, std::size_t context_length)
    : samplers_(&samplers),
      rules_(&rules),
      history_(std::move(history)),
      given_(history_.size()),
      context_length_(context_length),
      sampler_state_(samplers.start(rules.seed)),
      is_finished_(rules.max_tokens <= 0) {}

void TextState::choose(std::span<float> logits) {
  if (rules_->filter != nullptr) rules_->filter->apply(logits);
  const std::int32_t token =
      samplers_->next(logits, history_, given_, rules_->vocabulary, sampler_state_);
  append(token);
}

Proposal TextState::propose(std::span<float> logits, std::size_t index, std::size_t known) const {
  return samplers_->propose(logits, history().first(known), std::min(given_, known),
                            rules_->vocabulary, sampler_state_, index - known);
}

std::int32_t TextState::guess(std::span<float> logits, std::size_t index, std::size_t known) const {
  return samplers_->guess(logits, history().first(known), std::min(given_, known),
                          rules_->vocabulary, sampler_state_, index - known);
}

std::int32_t TextState::guess(std::span<float> logits,
                              std::span<const std::int32_t> history) const {
  return samplers_->guess(logits, history, given_, rules_->vocabulary, sampler_state_, 0);
}

std::size_t TextState::remaining() const noexcept {
  if (is_finished_) return 0;
  const std::size_t rest = static_cast<std::size_t>(rules_->max_tokens) - generated().size();
  return std::min(rest, room());
}

std::size_t TextState::room() const noexcept {
  // The newest token needs a place of its own before anything can follow it.
  return context_length_ == 0
             ? std::numeric_limits<std::size_t>::max()
             : context_length_ + 1 - std::min(context_length_ + 1, history_.size());
}

void TextState::append(std::int32_t token) {
  history_.push_back(token);
  if (rules_->filter != nullptr) rules_->filter->accept(token);
  const bool is_end = std::ranges::find(rules_->end_ids, token) != rules_->end_ids.end();
  const bool is_complete = rules_->filter != nullptr && rules_->filter->is_finished();
  const bool is_stopped = (rules_->on_token && !rules_->on_token(token)) || is_end || is_complete;
  const bool is_full = context_length_ != 0 && history_.size() > context_length_;
  const bool is_long = generated().size() >= static_cast<std::size_t>(rules_->max_tokens);
  is_finished_ = is_stopped || is_full || is_long;
  reason_ = is_stopped ? FinishReason::stop : FinishReason::length;
}

void TextState::interrupt() noexcept {
  if (is_finished_ && reason_ == FinishReason::stop) return;
  is_finished_ = true;
  reason_ = FinishReason::interrupted;
}

void check_prompt(const TextModelInfo& info, std::size_t held,
                  std::span<const std::int32_t> prompt) {
  if (prompt.empty()) {
    throw Error(ErrorCode::usage, "the prompt is empty", "prompt", "give at least one token");
  }
  const auto limit = static_cast<std::size_t>(info.context_length);
  if (limit != 0 && held + prompt.size() > limit) {
    throw Error(ErrorCode::bad_input,
                fmt::format("the prompt has {} tokens, the model's context {}",
                            held + prompt.size(), limit),
                "prompt", "shorten it");
  }
  check_token_ids(prompt, info.vocabulary);
}

}  // namespace quiver
