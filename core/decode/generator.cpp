// Autoregressive generation of one text: the loop, and everything that can end it.
#include "core/decode/generator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <quiver/error.hpp>

namespace quiver {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void check_prompt(const Engine& engine, const Sequence& sequence, std::size_t tokens) {
  if (tokens == 0) {
    throw Error(ErrorCode::usage, "the prompt is empty", "prompt", "give at least one token");
  }
  const auto limit = static_cast<std::size_t>(engine.info().context_length);
  if (limit != 0 && static_cast<std::size_t>(sequence.length()) + tokens > limit) {
    throw Error(ErrorCode::bad_input,
                fmt::format("the prompt has {} tokens, the model's context {}",
                            static_cast<std::size_t>(sequence.length()) + tokens, limit),
                "prompt", "shorten it");
  }
}

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::interrupted: return "interrupted";
  }
  return "stop";
}

Generation generate(Engine& engine, Sequence& sequence, std::span<const std::int32_t> prompt,
                    const SamplerChain& samplers, const GenerationOptions& options) {
  check_prompt(engine, sequence, prompt.size());
  const auto start = Clock::now();
  const auto is_interrupted = [&] {
    return options.interrupt != nullptr && options.interrupt->load();
  };
  const auto go_on = [&](std::size_t done) {
    return !is_interrupted() && (!options.on_prompt || options.on_prompt(done));
  };
  Generation result;
  Logits logits = engine.feed_prompt(sequence, prompt, Wanted::last, go_on);
  result.prompt_ms = ms_since(start);
  std::vector<std::int32_t> history(options.cached.begin(), options.cached.end());
  history.insert(history.end(), prompt.begin(), prompt.end());
  const std::size_t prompt_length = history.size();
  SamplerState state = samplers.start(options.seed);
  auto first_token = start;
  while (static_cast<int>(result.ids.size()) < options.max_tokens) {
    if (options.filter != nullptr) options.filter->apply(logits.values);
    const std::int32_t token =
        samplers.next(logits.values, history, prompt_length, options.vocabulary, state);
    if (result.ids.empty()) {
      first_token = Clock::now();
      result.first_token_ms = ms_since(start);
    }
    result.ids.push_back(token);
    history.push_back(token);
    if (options.filter != nullptr) options.filter->accept(token);
    const bool is_end = std::ranges::find(options.end_ids, token) != options.end_ids.end();
    const bool is_complete = options.filter != nullptr && options.filter->is_finished();
    if ((options.on_token && !options.on_token(token)) || is_end || is_complete) {
      result.reason = FinishReason::stop;
      break;
    }
    if (is_interrupted()) {
      result.reason = FinishReason::interrupted;
      break;
    }
    const int context = engine.info().context_length;
    const bool is_full = context != 0 && sequence.length() + 1 > context;
    if (is_full || static_cast<int>(result.ids.size()) == options.max_tokens) break;
    const Feed feed{&sequence, {&token, 1}, Wanted::last, RowForm::decode};
    logits = engine.forward({&feed, 1});
    sequence.accept(1);
  }
  if (!result.ids.empty()) result.decode_ms = ms_since(first_token);
  return result;
}

}  // namespace quiver
