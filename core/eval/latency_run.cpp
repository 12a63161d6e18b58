// How fast a model really runs here.
#include "core/eval/latency_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <quiver/error.hpp>
#include <vector>

#include "core/decode/index_of_largest.hpp"
#include "core/eval/stopwatch.hpp"

namespace quiver {
namespace {

using Ids = std::vector<std::int32_t>;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Tokens all over the vocabulary; which ones does not matter to the time.
Ids made_up(int count, int vocabulary) {
  Ids ids(static_cast<std::size_t>(count));
  std::uint32_t state = 1;
  for (std::int32_t& id : ids) {
    state = state * 1664525U + 1013904223U;  // Numerical Recipes' generator
    id = static_cast<std::int32_t>((state >> 8U) % static_cast<std::uint32_t>(vocabulary));
  }
  return ids;
}

std::int32_t likeliest(std::span<const float> logits) {
  return static_cast<std::int32_t>(index_of_largest(logits));
}

double prefill_seconds(Engine& engine, const Ids& prompt) {
  Sequence sequence = engine.new_sequence();
  const Stopwatch watch;
  engine.feed_prompt(sequence, prompt);
  return watch.read().wall;
}

/// Decodes on a copy of the context, which shares its pages.
double decode_seconds(Engine& engine, const Sequence& context, int count) {
  Sequence sequence = context;
  std::int32_t token = 0;
  const Stopwatch watch;
  for (int i = 0; i < count; ++i) {
    const Feed feed{&sequence, {&token, 1}, Wanted::last, RowForm::decode};
    const Logits logits = engine.forward({&feed, 1});
    sequence.accept(1);
    token = likeliest(logits.row(0));
  }
  return watch.read().wall;
}

void check(const LatencyRunOptions& options, const TextModelInfo& info) {
  const int longest = std::max(options.prompt, options.context + options.generated);
  if (options.prompt < 1 || options.context < 0 || options.generated < 1 || options.runs < 1 ||
      (info.context_length != 0 && longest > info.context_length)) {
    throw Error(
        ErrorCode::usage,
        fmt::format("{} tokens do not fit the model's context of {}", longest, info.context_length),
        "--context", "lower it");
  }
}

}  // namespace

LatencyRun run_latency(Engine& engine, const LatencyRunOptions& options) {
  check(options, engine.info());
  const int vocabulary = engine.info().vocabulary;
  const Ids prompt = made_up(options.prompt, vocabulary);
  const auto total = static_cast<std::size_t>(options.runs) + 1;
  Sequence context = engine.new_sequence();
  if (options.context > 0) {
    engine.feed_prompt(context, made_up(options.context, vocabulary), Wanted::none);
  }
  std::vector<double> prefill;
  std::vector<double> decode;
  for (std::size_t run = 0; run < total; ++run) {
    prefill.push_back(prefill_seconds(engine, prompt));
    decode.push_back(decode_seconds(engine, context, options.generated));
    if (options.progress && !options.progress(run + 1, total)) {
      throw Error(ErrorCode::interrupted, "interrupted");
    }
  }
  // The first run packs weights and fills caches.
  prefill.erase(prefill.begin());
  decode.erase(decode.begin());
  return {options.generated / median(decode), options.prompt / median(prefill)};
}

}  // namespace quiver
