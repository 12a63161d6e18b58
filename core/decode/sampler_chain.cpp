// Samplers applied one after another, and the state that they keep for a sequence.
#include "core/decode/sampler_chain.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <quiver/error.hpp>

#include "core/decode/index_of_largest.hpp"
#include "core/decode/philox.hpp"
#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

constexpr std::size_t kStateAlignment = 16;
constexpr std::size_t kStateLimit = 4096;

/// Memory that every choice needs and none keeps: a vocabulary's worth is too much to get from the
/// system each time.
struct Scratch {
  std::vector<std::int32_t> ids;
  std::size_t indexed = 0;  ///< First ids that are known to be their own index.
  std::vector<std::int32_t> seen_ids;
  std::vector<float> weights;
};

Scratch& scratch() {
  thread_local Scratch memory;
  return memory;
}

/// The first `count` ids in order, from the last choice where no sampler had them. Writing those of
/// a large vocabulary takes longer than finding its likeliest.
std::int32_t* ids_in_order(Scratch& memory, std::size_t count) {
  if (memory.indexed >= count) return memory.ids.data();
  if (memory.ids.size() < count) memory.ids.resize(count);
  std::iota(memory.ids.begin(), memory.ids.begin() + static_cast<std::ptrdiff_t>(count), 0);
  memory.indexed = count;
  return memory.ids.data();
}

bool has_nan(std::span<const float> logits) {
  // Without an early end, so that it becomes vector code.
  unsigned count = 0;
  for (const float x : logits) count += x != x ? 1U : 0U;
  return count != 0;
}

/// Index of the largest logit, the lowest id among equals.
std::size_t most_likely(const Candidates& candidates) {
  if (candidates.is_indexed) {
    return index_of_largest({candidates.logits, candidates.count});
  }
  std::size_t best = 0;
  for (std::size_t i = 1; i < candidates.count; ++i) {
    const bool is_better = candidates.logits[i] > candidates.logits[best] ||
                           (candidates.logits[i] == candidates.logits[best] &&
                            candidates.ids[i] < candidates.ids[best]);
    if (is_better) best = i;
  }
  return best;
}

void check(const Candidates& candidates, std::size_t before) {
  if (candidates.count == 0 || candidates.count > before) {
    throw Error(ErrorCode::plugin, "a sampler left no token to choose", "sampling",
                "remove it from the chain, or report it to its author");
  }
}

/// Fills in the entropy of the candidates; `weights` become their probabilities.
void measure(const Candidates& candidates, Proposal& proposal, std::vector<float>& weights) {
  weights.assign(candidates.logits, candidates.logits + candidates.count);
  const ElementKernels& elements = *kernels().elements;
  const auto count = static_cast<int>(candidates.count);
  const float top = elements.largest(weights.data(), count);
  const float total = elements.exp_sum(weights.data(), count, top);
  constexpr std::size_t kLanes = 16;
  float sums[kLanes] = {};
  // The weight is 0 where a logit is -infinity, whose product with it would be no number.
  const auto term = [&](std::size_t i) {
    return weights[i] > 0 ? weights[i] * (candidates.logits[i] - top) : 0.0F;
  };
  std::size_t i = 0;
  for (; i + kLanes <= candidates.count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += term(i + lane);
  }
  for (std::size_t lane = 0; i < candidates.count; ++i, ++lane) sums[lane] += term(i);
  const float sum = std::accumulate(std::begin(sums), std::end(sums), 0.0F);
  proposal.entropy = std::max(0.0F, std::log(total) - sum / total);
  const float scale = 1 / total;
  for (float& weight : weights) weight *= scale;
}

/// The probability that measure() left for a token.
float probability_of(std::int32_t token, std::span<const std::int32_t> ids,
                     std::span<const float> weights) {
  const auto at = std::ranges::find(ids, token);
  return at == ids.end() ? 0.0F : weights[static_cast<std::size_t>(at - ids.begin())];
}

}  // namespace

class SamplerChain::Context : public SamplerContext {
 public:
  Context(std::span<const std::int32_t> history, std::size_t prompt_length,
          const Vocabulary* vocabulary, std::uint64_t seed, std::size_t ahead)
      : history_(history),
        prompt_length_(prompt_length),
        vocabulary_(vocabulary),
        seed_(seed),
        position_(history.size() + ahead) {}

  void set_place(std::size_t place) { place_ = static_cast<std::uint32_t>(place); }

  std::span<const std::int32_t> history() const override { return history_; }
  std::size_t prompt_length() const override { return prompt_length_; }
  double uniform(std::uint32_t draw) const override {
    return philox_uniform(seed_, position_, place_, draw);
  }
  const Vocabulary* vocabulary() const override { return vocabulary_; }

 private:
  std::span<const std::int32_t> history_;
  std::size_t prompt_length_;
  const Vocabulary* vocabulary_;
  std::uint64_t seed_;
  std::uint64_t position_;  // of the token that is chosen
  std::uint32_t place_ = 0;
};

SamplerChain::SamplerChain(std::vector<std::shared_ptr<const Sampler>> samplers)
    : samplers_(std::move(samplers)) {
  for (const auto& sampler : samplers_) {
    if (sampler->state_bytes() > kStateLimit) {
      throw Error(ErrorCode::plugin, "a sampler asks for more state than the limit of 4096 bytes",
                  "sampling", "remove it from the chain, or report it to its author");
    }
    offsets_.push_back(state_bytes_);
    state_bytes_ +=
        (sampler->state_bytes() + kStateAlignment - 1) / kStateAlignment * kStateAlignment;
  }
}

SamplerState SamplerChain::start(std::uint64_t seed) const {
  SamplerState state{seed, std::vector<std::byte>(state_bytes_)};
  for (std::size_t i = 0; i < samplers_.size(); ++i) {
    samplers_[i]->reset(std::span(state.bytes).subspan(offsets_[i], samplers_[i]->state_bytes()));
  }
  return state;
}

std::int32_t SamplerChain::run(std::span<float> logits, Context& context,
                               std::span<std::byte> bytes, Proposal* proposal) const {
  if (has_nan(logits)) {
    throw Error(ErrorCode::bad_input, "the model's logits are not numbers", "sampling",
                "check the checkpoint; 'quiver logits' shows where they come from");
  }
  Scratch& memory = scratch();
  std::vector<std::int32_t>& seen_ids = memory.seen_ids;
  std::vector<float>& weights = memory.weights;
  Candidates candidates{logits.data(), ids_in_order(memory, logits.size()), logits.size(), false,
                        true};
  if (!samplers_.empty()) memory.indexed = 0;
  const auto before_choice = [&] {
    if (proposal == nullptr) return;
    measure(candidates, *proposal, weights);
    // Choosing may reorder the candidates.
    seen_ids.assign(candidates.ids, candidates.ids + candidates.count);
  };
  const auto chosen = [&](std::int32_t token) {
    if (proposal != nullptr) {
      proposal->token = token;
      proposal->confidence = probability_of(token, seen_ids, weights);
    }
    return token;
  };
  for (std::size_t i = 0; i < samplers_.size(); ++i) {
    const Sampler& sampler = *samplers_[i];
    context.set_place(i);
    const auto state = bytes.subspan(offsets_[i], sampler.state_bytes());
    const std::size_t before = candidates.count;
    sampler.apply(candidates, context, state);
    check(candidates, before);
    if (!sampler.chooses()) continue;
    before_choice();
    const std::int32_t token = sampler.choose(candidates, context, state);
    if (token < 0 || static_cast<std::size_t>(token) >= logits.size()) {
      throw Error(ErrorCode::plugin, "a sampler chose a token that does not exist", "sampling",
                  "remove it from the chain, or report it to its author");
    }
    return chosen(token);
  }
  const std::size_t best = most_likely(candidates);
  if (candidates.logits[best] == -std::numeric_limits<float>::infinity()) {
    throw Error(ErrorCode::bad_input, "every token is ruled out", "sampling",
                "relax the samplers, biases or the grammar");
  }
  before_choice();
  return chosen(candidates.ids[best]);
}

std::int32_t SamplerChain::next(std::span<float> logits, std::span<const std::int32_t> history,
                                std::size_t prompt_length, const Vocabulary* vocabulary,
                                SamplerState& state) const {
  Context context(history, prompt_length, vocabulary, state.seed, 0);
  return run(logits, context, state.bytes, nullptr);
}

Proposal SamplerChain::propose(std::span<float> logits, std::span<const std::int32_t> history,
                               std::size_t prompt_length, const Vocabulary* vocabulary,
                               const SamplerState& state, std::size_t ahead) const {
  Context context(history, prompt_length, vocabulary, state.seed, ahead);
  std::vector<std::byte> bytes(state.bytes);
  Proposal proposal;
  run(logits, context, bytes, &proposal);
  return proposal;
}

std::int32_t SamplerChain::guess(std::span<float> logits, std::span<const std::int32_t> history,
                                 std::size_t prompt_length, const Vocabulary* vocabulary,
                                 const SamplerState& state, std::size_t ahead) const {
  Context context(history, prompt_length, vocabulary, state.seed, ahead);
  std::vector<std::byte> bytes(state.bytes);
  return run(logits, context, bytes, nullptr);
}

}  // namespace quiver
