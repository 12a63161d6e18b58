// Samples of calibration text.
#include "core/quantize/calibration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <quiver/error.hpp>
#include <random>
#include <set>

#include "core/quantize/calibration_text.hpp"
#include "core/tensor/printable.hpp"

namespace quiver {
namespace {

constexpr int kFewestTokens = 16;
constexpr int kMostSamples = 1 << 20;
constexpr int kLongestSample = 1 << 20;

void check(const CalibrationOptions& options) {
  if (options.samples < 1 || options.samples > kMostSamples) {
    throw Error(ErrorCode::usage, fmt::format("{} samples are not possible", options.samples),
                "--samples", fmt::format("take 1 to {}", kMostSamples));
  }
  if (options.sequence_length < kFewestTokens || options.sequence_length > kLongestSample) {
    throw Error(ErrorCode::usage,
                fmt::format("samples of {} tokens are not possible", options.sequence_length),
                "--sequence-length", fmt::format("take {} to {}", kFewestTokens, kLongestSample));
  }
}

/// What to say about a text of `tokens` tokens where a sample has more. Throws for too few.
std::string short_text(const std::string& whose, std::size_t tokens, int wanted) {
  const std::string what = fmt::format("{} has {} tokens", whose, tokens);
  if (tokens < kFewestTokens) {
    throw Error(ErrorCode::bad_input, what, "calibration text",
                fmt::format("add rows, a sample needs {} tokens at least", kFewestTokens));
  }
  return fmt::format("{}, so samples are shorter than the {} asked for", what, wanted);
}

/// Seeds of domains have nothing to do with one another, nor with the order of the domains
/// (FNV-1a).
std::uint32_t domain_seed(const std::string& domain, std::uint32_t seed) {
  std::uint32_t hash = 2166136261U ^ seed;
  for (const char c : domain) hash = (hash ^ static_cast<std::uint8_t>(c)) * 16777619U;
  return hash;
}

/// The rows of a domain in a shuffled order, again and again, as tokens.
class Domain {
 public:
  Domain(std::string name, const CalibrationText& text, std::uint32_t seed)
      : name_(std::move(name)), text_(text), seed_(domain_seed(name_, seed)) {}

  void add(const CalibrationRow& row) { rows_.push_back(&row); }
  const std::string& name() const { return name_; }
  bool is_used_again() const { return round_ > 1; }
  std::size_t simplified() const { return simplified_; }
  std::size_t plain() const { return plain_; }

  /// A sample of `length` tokens; of all rows where they have fewer. No row comes twice in it.
  std::vector<std::int32_t> sample(std::size_t length) {
    std::vector<std::int32_t> tokens;
    std::set<std::size_t> taken;
    while (tokens.size() < length && taken.size() < rows_.size()) {
      if (next_ == order_.size()) begin_round(taken);
      const std::size_t row = order_[next_++];
      taken.insert(row);
      const std::vector<std::int32_t>& more = encoded(row);
      const std::size_t count = std::min(more.size(), length - tokens.size());
      tokens.insert(tokens.end(), more.begin(), more.begin() + static_cast<std::ptrdiff_t>(count));
    }
    return tokens;
  }

 private:
  /// Another order, in which rows that the current sample has come last.
  void begin_round(const std::set<std::size_t>& taken) {
    order_ = shuffled(rows_.size(), seed_ + static_cast<std::uint32_t>(round_++));
    std::stable_partition(order_.begin(), order_.end(),
                          [&](std::size_t row) { return !taken.contains(row); });
    next_ = 0;
  }

  const std::vector<std::int32_t>& encoded(std::size_t index) {
    if (tokens_.empty()) tokens_.resize(rows_.size());
    std::optional<std::vector<std::int32_t>>& tokens = tokens_[index];
    if (!tokens) {
      const RenderedRow rendered = text_.render(*rows_[index]);
      if (rendered.form == CalibrationForm::simplified) ++simplified_;
      if (rendered.form == CalibrationForm::plain) ++plain_;
      tokens = text_.encode(rendered);
    }
    return *tokens;
  }

  std::string name_;
  const CalibrationText& text_;
  std::uint32_t seed_;
  std::vector<const CalibrationRow*> rows_;
  std::vector<std::optional<std::vector<std::int32_t>>> tokens_;  // by row, once it is needed
  std::vector<std::size_t> order_;
  std::size_t next_ = 0;
  std::size_t round_ = 0;
  std::size_t simplified_ = 0;
  std::size_t plain_ = 0;
};

std::vector<Domain> split_domains(const std::vector<CalibrationRow>& rows,
                                  const CalibrationText& text, std::uint32_t seed) {
  std::vector<Domain> domains;
  for (const CalibrationRow& row : rows) {
    auto found = std::ranges::find(domains, row.domain, &Domain::name);
    if (found == domains.end()) {
      domains.emplace_back(row.domain, text, seed);
      found = std::prev(domains.end());
    }
    found->add(row);
  }
  return domains;
}

std::vector<std::string> warnings_of(const std::vector<Domain>& domains) {
  std::vector<std::string> warnings;
  std::size_t simplified = 0;
  std::size_t plain = 0;
  for (const Domain& domain : domains) {
    simplified += domain.simplified();
    plain += domain.plain();
    if (!domain.is_used_again()) continue;
    warnings.push_back(
        fmt::format("calibration text {} is too short for its samples and was used more than once",
                    in_quotes(domain.name())));
  }
  if (simplified > 0) {
    warnings.push_back(
        fmt::format("{} rows of calibration text were simplified to fit the model's chat template",
                    simplified));
  }
  if (plain > 0) {
    warnings.push_back(
        fmt::format("{} rows of calibration text were written without a chat template", plain));
  }
  return warnings;
}

}  // namespace

std::size_t CalibrationSamples::token_count() const noexcept {
  std::size_t count = 0;
  for (const CalibrationSample& sample : samples) count += sample.tokens.size();
  return count;
}

std::vector<std::size_t> shuffled(std::size_t count, std::uint32_t seed) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 random(seed);
  // Numbers above the wanted range are drawn again, after their upper bits have been cut off.
  for (std::size_t i = count; i-- > 1;) {
    std::uint32_t mask = static_cast<std::uint32_t>(i);
    for (const int shift : {1, 2, 4, 8, 16}) mask |= mask >> shift;
    std::uint32_t drawn = random() & mask;
    while (drawn > i) drawn = random() & mask;
    std::swap(order[i], order[drawn]);
  }
  return order;
}

CalibrationSamples sample_calibration(const std::vector<CalibrationRow>& rows,
                                      const CalibrationText& text,
                                      const CalibrationOptions& options) {
  check(options);
  std::vector<Domain> domains = split_domains(rows, text, options.seed);
  if (domains.empty()) short_text("the text", 0, options.sequence_length);
  const auto length = static_cast<std::size_t>(options.sequence_length);
  CalibrationSamples result;
  std::vector<std::string> short_ones;
  for (int i = 0; i < options.samples; ++i) {
    const std::size_t turn = static_cast<std::size_t>(i) % domains.size();
    std::vector<std::int32_t> tokens = domains[turn].sample(length);
    if (tokens.size() < length) {
      const std::string what = short_text("calibration text " + in_quotes(domains[turn].name()),
                                          tokens.size(), options.sequence_length);
      // Of each domain once: that is when it has its first turn.
      if (static_cast<std::size_t>(i) < domains.size()) short_ones.push_back(what);
    }
    result.samples.push_back({domains[turn].name(), std::move(tokens)});
  }
  result.warnings = warnings_of(domains);
  result.warnings.insert(result.warnings.begin(), short_ones.begin(), short_ones.end());
  return result;
}

CalibrationSamples sample_calibration_optiq(const std::vector<CalibrationRow>& rows,
                                            const CalibrationText& text,
                                            const CalibrationOptions& options) {
  check(options);
  std::vector<std::int32_t> all;
  for (const CalibrationRow& row : rows) {
    const std::vector<std::int32_t> more = text.tokenizer().encode(text.render_optiq(row), false);
    all.insert(all.end(), more.begin(), more.end());
  }
  const auto length = static_cast<std::size_t>(options.sequence_length);
  CalibrationSamples result;
  if (all.size() <= length) {
    if (all.size() < length) {
      result.warnings.push_back(
          short_text("the calibration text", all.size(), options.sequence_length));
    }
    result.samples.push_back({"mix", std::move(all)});
    return result;
  }
  const std::size_t chunks = (all.size() - length + length - 1) / length;
  const auto wanted = static_cast<std::size_t>(options.samples);
  for (const std::size_t chunk : shuffled(chunks, options.seed)) {
    if (result.samples.size() == wanted) break;
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(chunk * length);
    result.samples.push_back({"mix", {begin, begin + static_cast<std::ptrdiff_t>(length)}});
  }
  if (result.samples.size() < wanted) {
    result.warnings.push_back(
        fmt::format("the calibration text gives {} samples of the {} asked for",
                    result.samples.size(), wanted));
  }
  return result;
}

}  // namespace quiver
