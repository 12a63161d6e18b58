// Samplers that change the logits of single tokens: penalties for what occurred lately, and biases.
#include "offer.hpp"
#include "tokens.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

namespace quiver::samplers {
namespace {

constexpr OptionSpec kWindowOption = {
    "window",
    "Newest tokens of prompt and text to look at; 0 and -1 look at all",
    OptionKind::integer,
    20,
    -1,
    kLargestInteger,
    nullptr};

/// Occurrences in the newest `window` tokens, by token.
std::vector<TokenValue> count_recent(const SamplerContext& context, int window) {
  const auto recent = newest(context.history(), window);
  std::vector<std::int32_t> ids(recent.begin(), recent.end());
  std::sort(ids.begin(), ids.end());
  std::vector<TokenValue> counts;
  for (const std::int32_t id : ids) {
    if (counts.empty() || counts.back().id != id) counts.push_back({id, 0});
    counts.back().value += 1;
  }
  return counts;
}

constexpr OptionSpec kRepetitionOptions[] = {
    {"penalty", "Divides positive and multiplies negative logits; 0 and 1 change nothing",
     OptionKind::number, 1.1, 0, 1000, nullptr},
    kWindowOption};

/// Keskar et al., CTRL, arXiv 1909.05858.
class RepetitionPenalty final : public Sampler {
 public:
  explicit RepetitionPenalty(const Options& options)
      : penalty_(options.number("penalty")), window_(options.integer("window")) {}

  void apply(Candidates& candidates, const SamplerContext& context,
             std::span<std::byte>) const override {
    if (penalty_ == 0 || penalty_ == 1) return;
    largest_logit(candidates, "repetition-penalty");
    const double penalty = penalty_;
    change_logits(candidates, count_recent(context, window_), [=](double logit, double) {
      return logit < 0 ? logit * penalty : logit / penalty;
    });
  }

 private:
  double penalty_;
  int window_;
};

constexpr OptionSpec kPresenceOptions[] = {
    {"penalty", "Taken off the logit of every token that occurred; 0 changes nothing",
     OptionKind::number, 0.5, -100, 100, nullptr},
    kWindowOption};

class PresencePenalty final : public Sampler {
 public:
  explicit PresencePenalty(const Options& options)
      : penalty_(options.number("penalty")), window_(options.integer("window")) {}

  void apply(Candidates& candidates, const SamplerContext& context,
             std::span<std::byte>) const override {
    if (penalty_ == 0) return;
    largest_logit(candidates, "presence-penalty");
    const double penalty = penalty_;
    change_logits(candidates, count_recent(context, window_),
                  [=](double logit, double) { return logit - penalty; });
  }

 private:
  double penalty_;
  int window_;
};

constexpr OptionSpec kFrequencyOptions[] = {
    {"penalty", "Taken off a token's logit for each occurrence; 0 changes nothing",
     OptionKind::number, 0.5, -100, 100, nullptr},
    kWindowOption};

class FrequencyPenalty final : public Sampler {
 public:
  explicit FrequencyPenalty(const Options& options)
      : penalty_(options.number("penalty")), window_(options.integer("window")) {}

  void apply(Candidates& candidates, const SamplerContext& context,
             std::span<std::byte>) const override {
    if (penalty_ == 0) return;
    largest_logit(candidates, "frequency-penalty");
    const double penalty = penalty_;
    change_logits(candidates, count_recent(context, window_),
                  [=](double logit, double count) { return logit - penalty * count; });
  }

 private:
  double penalty_;
  int window_;
};

constexpr double kLargestBias = 100;

constexpr OptionSpec kBiasOptions[] = {
    {"biases", "What to add to which token, as id:bias;id:bias with biases from -100 to 100",
     OptionKind::text, 0, 0, 0, ""}};

/// Reads one "id:bias".
TokenValue parse_bias(std::string_view text) {
  TokenValue bias{0, 0};
  const char* end = text.data() + text.size();
  const auto id = std::from_chars(text.data(), end, bias.id);
  if (id.ec == std::errc{} && id.ptr != end && *id.ptr == ':') {
    const auto value = std::from_chars(id.ptr + 1, end, bias.value);
    const bool is_within = bias.value >= -kLargestBias && bias.value <= kLargestBias;
    if (value.ec == std::errc{} && value.ptr == end && bias.id >= 0 && is_within) return bias;
  }
  throw Error(ErrorCode::usage, "'" + std::string(text) + "' is not a token id and its bias",
              "sampler logit-bias, biases", "write for example 15:-100;198:2.5");
}

std::vector<TokenValue> parse_biases(std::string_view text) {
  std::vector<TokenValue> biases;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(';'), text.size());
    biases.push_back(parse_bias(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  std::sort(biases.begin(), biases.end(),
            [](const TokenValue& a, const TokenValue& b) { return a.id < b.id; });
  for (std::size_t i = 1; i < biases.size(); ++i) {
    if (biases[i].id != biases[i - 1].id) continue;
    throw Error(ErrorCode::usage, "token " + std::to_string(biases[i].id) + " has two biases",
                "sampler logit-bias, biases", "name every token once");
  }
  return biases;
}

class LogitBias final : public Sampler {
 public:
  explicit LogitBias(const Options& options) : biases_(parse_biases(options.text("biases"))) {}

  void apply(Candidates& candidates, const SamplerContext&, std::span<std::byte>) const override {
    if (biases_.empty()) return;
    largest_logit(candidates, "logit-bias");
    const auto highest = static_cast<std::size_t>(biases_.back().id);
    if (candidates.is_indexed && highest >= candidates.count) {
      throw Error(ErrorCode::usage, "the model has no token " + std::to_string(highest),
                  "sampler logit-bias, biases",
                  "its tokens are 0 to " + std::to_string(candidates.count - 1));
    }
    change_logits(candidates, biases_, [](double logit, double bias) { return logit + bias; });
  }

 private:
  std::vector<TokenValue> biases_;
};

constexpr SamplerOffer kOffers[] = {
    {"repetition-penalty", kRepetitionOptions, make_sampler<RepetitionPenalty>},
    {"presence-penalty", kPresenceOptions, make_sampler<PresencePenalty>},
    {"frequency-penalty", kFrequencyOptions, make_sampler<FrequencyPenalty>},
    {"logit-bias", kBiasOptions, make_sampler<LogitBias>},
};

}  // namespace

std::span<const SamplerOffer> penalty_offers() {
  return kOffers;
}

}  // namespace quiver::samplers
