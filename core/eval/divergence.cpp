// How far a model's predictions are from those of a reference.
#include "core/eval/divergence.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <quiver/error.hpp>
#include <vector>

namespace quiver {
namespace {

/// log of the sum of e^logit.
double log_total(std::span<const float> logits) {
  const double top = *std::ranges::max_element(logits);
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit) - top);
  return std::log(total) + top;
}

std::ptrdiff_t top1(std::span<const float> logits) {
  return std::ranges::max_element(logits) - logits.begin();
}

std::size_t window_length(const Engine& engine, const Engine& reference, std::size_t tokens,
                          std::size_t wanted) {
  std::size_t length = wanted != 0 ? wanted : tokens;
  for (const Engine* each : {&engine, &reference}) {
    const auto limit = static_cast<std::size_t>(each->info().context_length);
    if (limit != 0) length = std::min(length, limit);
  }
  return std::min(length, tokens);
}

Logits run(Engine& engine, Sequence& sequence, std::span<const std::int32_t> tokens, RowForm form) {
  const Feed feed{&sequence, tokens, Wanted::all, form};
  Logits logits = engine.forward({&feed, 1});
  sequence.accept(static_cast<int>(tokens.size()));
  return logits;
}

/// The value below which `share` of the sorted values lie (nearest rank).
double quantile(const std::vector<double>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

/// What is found token by token, over all texts.
struct Tally {
  std::vector<double> values;
  std::size_t agreements = 0;
  std::size_t total = 0;  ///< Tokens of all texts.
};

void check(const Engine& engine, const Engine& reference, std::size_t tokens) {
  if (engine.info().vocabulary != reference.info().vocabulary) {
    throw Error(ErrorCode::bad_input,
                fmt::format("the model has {} tokens, the reference {}", engine.info().vocabulary,
                            reference.info().vocabulary),
                "vocabulary", "compare models of one family");
  }
  if (tokens == 0) {
    throw Error(ErrorCode::bad_input, "the text is empty", "text", "give a longer text");
  }
}

void compare(Engine& engine, Engine& reference, std::span<const std::int32_t> tokens,
             const DivergenceOptions& options, Tally& tally) {
  const std::size_t window = window_length(engine, reference, tokens.size(), options.context);
  const std::size_t most = options.is_decoding ? 1 : Engine::kPromptGrid;
  const RowForm form = options.is_decoding ? RowForm::decode : RowForm::prompt;
  for (std::size_t begin = 0; begin < tokens.size(); begin += window) {
    const std::size_t end = std::min(begin + window, tokens.size());
    Sequence sequence = engine.new_sequence();
    Sequence reference_sequence = reference.new_sequence();
    for (std::size_t at = begin; at < end;) {
      const auto chunk = tokens.subspan(at, std::min(most, end - at));
      const Logits got = run(engine, sequence, chunk, form);
      const Logits want = run(reference, reference_sequence, chunk, form);
      for (int row = 0; row < got.rows; ++row) {
        tally.values.push_back(kl_divergence(want.row(row), got.row(row)));
        if (top1(want.row(row)) == top1(got.row(row))) ++tally.agreements;
      }
      at += chunk.size();
      if (options.progress && !options.progress(tally.values.size(), tally.total)) {
        throw Error(ErrorCode::interrupted, "interrupted");
      }
    }
  }
}

Divergence summary(Tally tally) {
  Divergence result;
  result.tokens = tally.values.size();
  const auto count = static_cast<double>(tally.values.size());
  result.mean = std::accumulate(tally.values.begin(), tally.values.end(), 0.0) / count;
  result.top1_agreement = static_cast<double>(tally.agreements) / count;
  std::ranges::sort(tally.values);
  result.median = quantile(tally.values, 0.5);
  result.p95 = quantile(tally.values, 0.95);
  return result;
}

}  // namespace

double kl_divergence(std::span<const float> reference, std::span<const float> logits) {
  const double reference_total = log_total(reference);
  const double total = log_total(logits);
  double sum = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double log_p = static_cast<double>(reference[i]) - reference_total;
    const double log_q = static_cast<double>(logits[i]) - total;
    sum += std::exp(log_p) * (log_p - log_q);
  }
  if (!std::isfinite(sum)) {
    throw Error(ErrorCode::bad_input, "a logit is not a finite number", "logits",
                "check the model's weights");
  }
  return sum;
}

Divergence divergence(Engine& engine, Engine& reference, std::span<const std::int32_t> tokens,
                      const DivergenceOptions& options) {
  check(engine, reference, tokens.size());
  Tally tally{.values = {}, .total = tokens.size()};
  compare(engine, reference, tokens, options, tally);
  return summary(std::move(tally));
}

Divergence divergence(Engine& engine, Engine& reference,
                      std::span<const std::vector<std::int32_t>> texts,
                      const DivergenceOptions& options) {
  Tally tally;
  for (const std::vector<std::int32_t>& text : texts) tally.total += text.size();
  check(engine, reference, tally.total);
  for (const std::vector<std::int32_t>& text : texts) {
    compare(engine, reference, text, options, tally);
  }
  return summary(std::move(tally));
}

}  // namespace quiver
