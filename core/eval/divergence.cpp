// How far a model's predictions are from those of a reference.
#include "core/eval/divergence.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <quiver/error.hpp>
#include <vector>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

// Sums of this many terms are taken in float32, and added up in double.
constexpr std::size_t kBlock = 512;

float largest(std::span<const float> logits) {
  return kernels().elements->largest(logits.data(), static_cast<int>(logits.size()));
}

/// sum_i w_i (a_i - b_i) in sixteen partial sums.
double weighted_difference(const float* w, const float* a, const float* b, std::size_t count) {
  std::array<float, 16> sums{};
  std::size_t i = 0;
  for (; i + sums.size() <= count; i += sums.size()) {
    for (std::size_t lane = 0; lane < sums.size(); ++lane) {
      sums[lane] += w[i + lane] * (a[i + lane] - b[i + lane]);
    }
  }
  for (std::size_t lane = 0; i < count; ++i, ++lane) sums[lane] += w[i] * (a[i] - b[i]);
  return std::accumulate(sums.begin(), sums.end(), 0.0);
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
  // sum_i p_i (r_i - z_i) - log(sum e^r) + log(sum e^z), p being the softmax of r
  const float reference_top = largest(reference);
  const float top = largest(logits);
  double reference_total = 0;
  double total = 0;
  double sum = 0;
  std::array<float, kBlock> weights;
  for (std::size_t first = 0; first < reference.size(); first += kBlock) {
    const std::size_t count = std::min(kBlock, reference.size() - first);
    const auto size = static_cast<int>(count);
    const float* r = reference.data() + first;
    const float* z = logits.data() + first;
    std::copy_n(z, count, weights.data());
    total += kernels().elements->exp_sum(weights.data(), size, top);
    std::copy_n(r, count, weights.data());
    reference_total += kernels().elements->exp_sum(weights.data(), size, reference_top);
    sum += weighted_difference(weights.data(), r, z, count);
  }
  const double result =
      sum / reference_total - (std::log(reference_total) + reference_top) + (std::log(total) + top);
  if (!std::isfinite(result)) {
    throw Error(ErrorCode::bad_input, "a logit is not a finite number", "logits",
                "check the model's weights");
  }
  return result;
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
