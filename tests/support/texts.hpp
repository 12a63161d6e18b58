// Texts to generate, alone and by a scheduler, and what came of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "core/decode/generator.hpp"
#include "core/decode/scheduler.hpp"

namespace quiver::test {

/// Draws a token from a flat softmax of the logits with the sequence's own random numbers.
class Draw : public Sampler {
 public:
  bool chooses() const override { return true; }
  std::int32_t choose(Candidates& candidates, const SamplerContext& context,
                      std::span<std::byte>) const override {
    const float top = *std::max_element(candidates.logits, candidates.logits + candidates.count);
    double total = 0;
    for (std::size_t i = 0; i < candidates.count; ++i) total += weight(candidates.logits[i] - top);
    double left = context.uniform(0) * total;
    for (std::size_t i = 0; i < candidates.count; ++i) {
      left -= weight(candidates.logits[i] - top);
      if (left <= 0) return candidates.ids[i];
    }
    return candidates.ids[candidates.count - 1];
  }

 private:
  /// At a temperature at which small models do not repeat themselves.
  static double weight(float logit) { return std::exp(double{logit} / 8); }
};

/// Allows every token, and tells texts apart whose logits differ in a single bit anywhere.
class LogitsDigest : public TokenFilter {
 public:
  void apply(std::span<float> logits) override {
    for (const float logit : logits)
      value_ = (value_ ^ std::bit_cast<std::uint32_t>(logit)) * 0x100000001B3U;  // FNV-1a
  }
  void accept(std::int32_t) override { values_.push_back(value_); }
  bool is_finished() const override { return false; }

  /// One a token, over all logits up to it.
  const std::vector<std::uint64_t>& values() const { return values_; }

 private:
  std::uint64_t value_ = 0xCBF29CE484222325U;
  std::vector<std::uint64_t> values_;
};

/// A text to generate.
struct TestText {
  std::vector<std::int32_t> prompt;
  int max_tokens = 8;
  bool is_drawn = false;
  std::uint64_t seed = 0;

  SamplerChain samplers() const {
    if (!is_drawn) return {};
    return SamplerChain({std::make_shared<const Draw>()});
  }
  Request request() const {
    Request request;
    request.prompt = prompt;
    request.samplers = samplers();
    request.rules.max_tokens = max_tokens;
    request.rules.seed = seed;
    return request;
  }
};

inline std::vector<std::int32_t> random_tokens(std::mt19937& random, int count, int vocabulary) {
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < count; ++i)
    tokens.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary)));
  return tokens;
}

/// What generate() makes of a text.
struct Alone : Generation {
  std::vector<std::uint64_t> digests;
};
inline Alone generate_alone(Engine& engine, const TestText& text) {
  LogitsDigest digest;
  GenerationOptions options;
  options.filter = &digest;
  options.max_tokens = text.max_tokens;
  options.seed = text.seed;
  Sequence sequence = engine.new_sequence();
  return {generate(engine, sequence, text.prompt, text.samplers(), options), digest.values()};
}

/// Tokens and end of a request, collected by its callbacks.
struct Outcome {
  LogitsDigest digest;
  std::vector<std::int32_t> tokens;
  std::optional<RequestHandle> handle;
  std::promise<RequestEnd> ended;
  std::future<RequestEnd> end = ended.get_future();
};

/// Submits a request whose outcome is collected. Callbacks of the request are called as well.
inline std::shared_ptr<Outcome> submit(Scheduler& scheduler, Request request) {
  const auto outcome = std::make_shared<Outcome>();
  if (request.rules.filter == nullptr) request.rules.filter = &outcome->digest;
  request.rules.on_token = [outcome, on_token = request.rules.on_token](std::int32_t token) {
    outcome->tokens.push_back(token);
    return !on_token || on_token(token);
  };
  request.on_end = [outcome, on_end = request.on_end](const RequestEnd& end) {
    outcome->ended.set_value(end);
    if (on_end) on_end(end);
  };
  outcome->handle = scheduler.submit(std::move(request));
  return outcome;
}

/// Runs `action` on the inference thread, between two passes: what it submits begins together.
inline void on_inference_thread(Scheduler& scheduler, const std::function<void()>& action) {
  Request request;
  request.prompt = {1};
  request.rules.max_tokens = 1;
  request.rules.on_token = [&](std::int32_t) {
    action();
    return true;
  };
  submit(scheduler, std::move(request))->end.wait();
}

/// Expects the outcome that generate() has, down to the bits of all logits.
inline RequestEnd expect_same(const std::shared_ptr<Outcome>& outcome, const Alone& alone,
                              const std::string& which = {}) {
  const RequestEnd end = outcome->end.get();
  EXPECT_FALSE(end.error.has_value()) << which << ": " << end.error->what();
  EXPECT_EQ(outcome->tokens, alone.ids) << which;
  EXPECT_EQ(outcome->digest.values(), alone.digests) << which << ": logits differ";
  EXPECT_EQ(end.reason, alone.reason) << which;
  EXPECT_EQ(end.generated_tokens, alone.ids.size()) << which;
  return end;
}

}  // namespace quiver::test
