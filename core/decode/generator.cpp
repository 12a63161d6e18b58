// Generation of one text on its own.
#include "core/decode/generator.hpp"

#include <algorithm>
#include <chrono>
#include <memory>

#include "core/decode/decoder.hpp"

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
  check_decoding(engine.model(), options.decode, options);
  const auto start = Clock::now();
  const auto is_interrupted = [&] {
    return options.interrupt != nullptr && options.interrupt->load();
  };
  const auto go_on = [&](std::size_t done) {
    return !is_interrupted() && (!options.on_prompt || options.on_prompt(done));
  };
  std::vector<std::int32_t> history(options.cached.begin(), options.cached.end());
  history.insert(history.end(), prompt.begin(), prompt.end());
  const auto context = static_cast<std::size_t>(engine.info().context_length);
  const std::size_t unseen = held - std::min(held, options.cached.size());
  TextState text(samplers, options, std::move(history), context == 0 ? 0 : context - unseen);
  const std::unique_ptr<Decoder> decoder = make_decoder(engine, text, options.decode, &sequence);
  Generation result;
  Logits logits = engine.feed_prompt(sequence, prompt,
                                     decoder->wants_prompt_logits() ? Wanted::last : Wanted::none,
                                     go_on, decoder->prompt_visibility(), options.images);
  result.prompt_ms = ms_since(start);
  const auto prompt_end = Clock::now();
  auto first_token = start;
  const auto note_first = [&] {
    if (first_token != start || text.generated().empty()) return;
    first_token = Clock::now();
    result.first_token_ms = ms_since(start);
  };
  decoder->begin(logits.values);
  note_first();
  while (!text.is_finished()) {
    if (is_interrupted()) {
      text.interrupt();
      break;
    }
    const Feed feed = decoder->plan().feed(&sequence, options.images);
    logits = engine.forward({&feed, 1});
    int kept = 0;
    try {
      kept = decoder->settle({logits.values, logits.hidden}, 1);
    } catch (...) {
      sequence.accept(0);
      throw;
    }
    sequence.accept(kept);
    engine.reuse(std::move(logits));
    note_first();
  }
  result.counts = decoder->counts();
  result.ids.assign(text.generated().begin(), text.generated().end());
  result.reason = text.reason();
  const bool has_token_at_once = decoder->wants_prompt_logits();
  result.decode_ms =
      result.ids.empty() ? 0 : ms_since(has_token_at_once ? first_token : prompt_end);
  result.decoded = result.ids.size() - (has_token_at_once && !result.ids.empty() ? 1 : 0);
  return result;
}

}  // namespace quiver
