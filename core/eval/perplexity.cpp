// How well a model predicts a text.
#include "core/eval/perplexity.hpp"

#include <algorithm>
#include <cmath>
#include <quiver/error.hpp>

namespace quiver {

double negative_log_likelihood(std::span<const float> logits, std::int32_t token) {
  const double top = *std::ranges::max_element(logits);
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit) - top);
  return std::log(total) + top - static_cast<double>(logits[static_cast<std::size_t>(token)]);
}

Perplexity perplexity(Engine& engine, std::span<const std::int32_t> tokens,
                      const PerplexityOptions& options) {
  if (tokens.size() < 2) {
    throw Error(ErrorCode::bad_input, "the text has fewer than two tokens", "text",
                "give a longer text");
  }
  const auto model_context = static_cast<std::size_t>(engine.info().context_length);
  std::size_t context = options.context != 0 ? options.context : model_context;
  context = context == 0 ? tokens.size() : std::min(context, tokens.size());
  if (context < 2)
    throw Error(ErrorCode::usage, "a window needs two tokens", "--context", "raise it");
  const std::size_t stride = options.stride == 0 ? context : std::min(options.stride, context);
  Perplexity result;
  double total = 0;
  std::size_t scored = 1;  // tokens below this index have been scored (the first never is)
  for (std::size_t begin = 0; begin + 1 < tokens.size() && scored < tokens.size();
       begin += stride) {
    const std::size_t end = std::min(begin + context, tokens.size());
    Sequence sequence = engine.new_sequence();
    // Chunk by chunk, so that the logits of a long window never lie in memory all at once.
    for (std::size_t at = begin; at + 1 < end;) {
      const std::size_t count = std::min<std::size_t>(Engine::kPromptGrid, end - 1 - at);
      const bool is_scored = at + count + 1 > scored;
      const Feed feed{&sequence, tokens.subspan(at, count), is_scored ? Wanted::all : Wanted::none};
      const Logits logits = engine.forward({&feed, 1});
      sequence.accept(static_cast<int>(count));
      for (int row = 0; row < logits.rows; ++row) {
        const std::size_t predicted = at + static_cast<std::size_t>(row) + 1;
        if (predicted < std::max(scored, begin + 1)) continue;
        total += negative_log_likelihood(logits.row(row), tokens[predicted]);
        ++result.tokens;
      }
      at += count;
      if (options.progress && !options.progress(at, tokens.size())) {
        throw Error(ErrorCode::interrupted, "interrupted");
      }
    }
    scored = std::max(scored, end);
  }
  result.nll = total / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.nll);
  return result;
}

}  // namespace quiver
