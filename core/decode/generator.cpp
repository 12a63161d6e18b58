// Autoregressive generation of one text on its own.
#include "core/decode/generator.hpp"

#include <algorithm>
#include <chrono>

namespace quiver {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace

Generation generate(Engine& engine, Sequence& sequence, std::span<const std::int32_t> prompt,
                    const SamplerChain& samplers, const GenerationOptions& options) {
  const auto held = static_cast<std::size_t>(sequence.length());
  check_prompt(engine.info(), held, prompt);
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
  const auto context = static_cast<std::size_t>(engine.info().context_length);
  const std::size_t unseen = held - std::min(held, options.cached.size());
  TextState text(samplers, options, std::move(history), context == 0 ? 0 : context - unseen);
  auto first_token = start;
  while (!text.is_finished()) {
    text.choose(logits.values);
    if (text.generated().size() == 1) {
      first_token = Clock::now();
      result.first_token_ms = ms_since(start);
    }
    if (is_interrupted()) text.interrupt();
    if (text.is_finished()) break;
    const Feed feed{&sequence, text.history().last(1), Wanted::last, RowForm::decode};
    logits = engine.forward({&feed, 1});
    sequence.accept(1);
  }
  result.ids.assign(text.generated().begin(), text.generated().end());
  result.reason = text.reason();
  if (!result.ids.empty()) result.decode_ms = ms_since(first_token);
  return result;
}

}  // namespace quiver
