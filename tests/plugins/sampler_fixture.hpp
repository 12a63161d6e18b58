// A chain of one sampler over hand-made candidates, with a seeded counter generator.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <quiver/sampler.hpp>
#include <string>
#include <vector>

#include "plugin_under_test.hpp"

namespace quiver::test {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Philox4x32-10: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011.
inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                           std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = 0xD2511F53ULL * counter[0];
    const std::uint64_t b = 0xCD9E8D57ULL * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

class TestVocabulary final : public Vocabulary {
 public:
  explicit TestVocabulary(std::vector<std::string> pieces, std::int32_t end = -1)
      : pieces_(std::move(pieces)), end_(end) {}
  std::int32_t size() const override { return static_cast<std::int32_t>(pieces_.size()); }
  std::string_view piece(std::int32_t id) const override {
    return id >= 0 && id < size() ? pieces_[static_cast<std::size_t>(id)] : std::string_view();
  }
  bool is_end(std::int32_t id) const override { return id == end_; }

 private:
  std::vector<std::string> pieces_;
  std::int32_t end_;
};

class TestContext final : public SamplerContext {
 public:
  std::vector<std::int32_t> tokens;
  std::uint32_t seed = 1;
  std::uint32_t position = 0;
  double fixed_uniform = -1;  ///< Taken instead of the generator's where it is not negative.
  const Vocabulary* words = nullptr;

  std::span<const std::int32_t> history() const override { return tokens; }
  std::size_t prompt_length() const override { return 0; }
  double uniform(std::uint32_t draw) const override {
    if (fixed_uniform >= 0) return fixed_uniform;
    const auto bits = philox({position, draw, 0, 0}, {seed, 0});
    const std::uint64_t word = (static_cast<std::uint64_t>(bits[1]) << 32) | bits[0];
    return static_cast<double>(word >> 11) * 0x1p-53;
  }
  const Vocabulary* vocabulary() const override { return words; }
};

/// Logits and ids that a Candidates points into.
struct Row {
  std::vector<float> logits;
  std::vector<std::int32_t> ids;
  Candidates candidates;

  explicit Row(std::vector<float> values) : logits(std::move(values)), ids(logits.size()) {
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
    candidates = {logits.data(), ids.data(), logits.size(), false, true};
  }
  /// Tokens in any order.
  Row(std::vector<float> values, std::vector<std::int32_t> tokens)
      : logits(std::move(values)), ids(std::move(tokens)) {
    candidates = {logits.data(), ids.data(), logits.size(), false, false};
  }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;

  std::vector<std::int32_t> survivors() const {
    return {candidates.ids, candidates.ids + candidates.count};
  }
  std::vector<float> remaining() const {
    return {candidates.logits, candidates.logits + candidates.count};
  }
  /// Softmax over the survivors.
  std::vector<double> probabilities() const {
    long double largest = -std::numeric_limits<long double>::infinity();
    long double total = 0;
    for (const float logit : remaining()) largest = std::max<long double>(largest, logit);
    for (const float logit : remaining()) total += std::exp(logit - largest);
    std::vector<double> result;
    for (const float logit : remaining()) {
      result.push_back(static_cast<double>(std::exp(logit - largest) / total));
    }
    return result;
  }
};

/// Logits of given probabilities.
inline std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) {
    logits.push_back(p > 0 ? static_cast<float>(std::log(p)) : kMinusInfinity);
  }
  return logits;
}

inline const SamplerFactory& standard_samplers() {
  static const auto& factory = open_interface<SamplerFactory>(SAMPLER_STANDARD_SO);
  return factory;
}

inline std::unique_ptr<Sampler> make(std::string_view name, const Numbers& numbers = {},
                                     const Texts& texts = {}) {
  const ChosenOptions options(standard_samplers().options(name), numbers, texts);
  return std::unique_ptr<Sampler>(standard_samplers().create(name, options));
}

/// Runs a stateless sampler over the row.
inline void apply(std::string_view name, const Numbers& numbers, Row& row,
                  const TestContext& context = {}, const Texts& texts = {}) {
  make(name, numbers, texts)->apply(row.candidates, context, {});
}

using Ids = std::vector<std::int32_t>;

/// Ids that a stateless sampler leaves.
inline Ids survivors(std::string_view name, const Numbers& options,
                     const std::vector<float>& logits, const TestContext& context = {}) {
  Row row(logits);
  apply(name, options, row, context);
  return row.survivors();
}

}  // namespace quiver::test
