// Samplers that reshape the distribution or cut it: temperature, top-k, top-p, min-p, typical,
// top-n-sigma and xtc.
#include "candidates.hpp"
#include "offer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

namespace quiver::samplers {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr OptionSpec kTemperatureOptions[] = {
    {"t", "Divisor of the logits; 0 keeps only the likeliest token", OptionKind::number, 1, 0, 1e9,
     nullptr}};

class Temperature final : public Sampler {
 public:
  explicit Temperature(const Options& options) : t_(options.number("t")) {}

  void apply(Candidates& candidates, const SamplerContext&, std::span<std::byte>) const override {
    if (t_ == 1) return;
    const float largest = largest_logit(candidates, "temperature");
    if (t_ == 0) return keep_largest(candidates, 1, largest);
    // Rounding may make neighbours equal, and those need not stand by ascending id.
    candidates.is_sorted = false;
    double reach = 0;
    for (std::size_t i = 0; i < candidates.count; ++i) {
      const double size = std::abs(static_cast<double>(candidates.logits[i]));
      if (size > reach && size < kInfinity) reach = size;
    }
    // Softmax does not see a common shift, so it may keep the largest logits inside float32.
    const double origin = reach / t_ > std::numeric_limits<float>::max() ? largest : 0;
    for (std::size_t i = 0; i < candidates.count; ++i) {
      candidates.logits[i] =
          static_cast<float>((static_cast<double>(candidates.logits[i]) - origin) / t_);
    }
  }

 private:
  double t_;
};

constexpr OptionSpec kTopKOptions[] = {{"k", "Tokens to keep, equal ones by lowest id; 0 keeps all",
                                        OptionKind::integer, 40, 0, kLargestInteger, nullptr}};

class TopK final : public Sampler {
 public:
  explicit TopK(const Options& options) : k_(static_cast<std::size_t>(options.integer("k"))) {}

  void apply(Candidates& candidates, const SamplerContext&, std::span<std::byte>) const override {
    if (k_ == 0) return;
    keep_largest(candidates, k_, largest_logit(candidates, "top-k"));
  }

 private:
  std::size_t k_;
};

constexpr OptionSpec kTopPOptions[] = {
    {"p", "Keeps tokens while strictly likelier ones have less than this mass; 0 and 1 keep all",
     OptionKind::number, 0.95, 0, 1, nullptr}};

class TopP final : public Sampler {
 public:
  explicit TopP(const Options& options) : p_(options.number("p")) {}

  void apply(Candidates& candidates, const SamplerContext&, std::span<std::byte>) const override {
    if (p_ == 0 || p_ == 1) return;
    const float largest = largest_logit(candidates, "top-p");
    const SoftmaxWeights softmax{largest};
    const auto key = [](float logit) { return -static_cast<double>(logit); };
    const double target = p_ * total_of(candidates, softmax);
    Rank last = find_rank(candidates, Ranking{key, key(largest), softmax},
                          [=](double mass) { return mass >= target; });
    last.id = std::numeric_limits<std::int32_t>::max();  // All that are as likely stay too.
    keep_up_to(candidates, key, last);
  }

 private:
  double p_;
};

constexpr OptionSpec kMinPOptions[] = {
    {"p", "Least probability relative to the likeliest token's; 0 keeps all", OptionKind::number,
     0.05, 0, 1, nullptr}};

class MinP final : public Sampler {
 public:
  explicit MinP(const Options& options) : p_(options.number("p")) {}

  void apply(Candidates& candidates, const SamplerContext&, std::span<std::byte>) const override {
    if (p_ < std::numeric_limits<double>::min()) return;
    const float largest = largest_logit(candidates, "min-p");
    const double threshold = largest + log_of(p_);
    keep_if(candidates, [=](float logit, std::int32_t) { return logit >= threshold; });
  }

 private:
  double p_;
};

constexpr OptionSpec kTypicalOptions[] = {
    {"p", "Mass of the tokens to keep, those nearest to the average surprise first; 1 keeps all",
     OptionKind::number, 0.95, 0, 1, nullptr}};

/// Meister et al., Locally Typical Sampling, arXiv 2202.00666.
class Typical final : public Sampler {
 public:
  explicit Typical(const Options& options) : p_(options.number("p")) {}

  void apply(Candidates& candidates, const SamplerContext&, std::span<std::byte>) const override {
    if (p_ == 1) return;
    const float largest = largest_logit(candidates, "typical");
    const SoftmaxWeights softmax{largest};
    const double total = total_of(candidates, softmax);
    // With x = logit - largest: surprise = log(total) - x, and entropy = log(total) - E[x], so the
    // logarithm cancels out of their difference.
    const double average = total_of(candidates, WeightedLogits{largest}) / total;
    const auto key = [=](float logit) {
      return std::abs(average - (static_cast<double>(logit) - largest));
    };
    const double target = p_ * total;
    keep_up_to(candidates, key, find_rank(candidates, Ranking{key, 0.0, softmax}, [=](double mass) {
                 return mass > target;
               }));
  }

 private:
  double p_;
};

constexpr OptionSpec kTopNSigmaOptions[] = {
    {"n", "Standard deviations below the largest logit; 0 keeps all", OptionKind::number, 1, 0, 1e6,
     nullptr}};

/// Tang et al., Top-n-sigma: Not All Logits Are You Need, arXiv 2411.07641.
class TopNSigma final : public Sampler {
 public:
  explicit TopNSigma(const Options& options) : n_(options.number("n")) {}

  void apply(Candidates& candidates, const SamplerContext&, std::span<std::byte>) const override {
    if (n_ == 0) return;
    const float largest = largest_logit(candidates, "top-n-sigma");
    const auto sum = [&](auto function) {
      return total_of(candidates, Each{[=](float logit) {
                        const auto value = static_cast<double>(logit);
                        return value > -kInfinity ? function(value) : 0.0;
                      }});
    };
    const double count = sum([](double) { return 1.0; });
    const double mean = sum([](double logit) { return logit; }) / count;
    const double variance =
        sum([=](double logit) { return (logit - mean) * (logit - mean); }) / count;
    const double threshold = largest - n_ * std::sqrt(variance);
    keep_if(candidates, [=](float logit, std::int32_t) { return logit >= threshold; });
  }

 private:
  double n_;
};

constexpr OptionSpec kXtcOptions[] = {
    {"probability", "How often it acts; 0 = never, 1 = on every token", OptionKind::number, 0.5, 0,
     1, nullptr},
    {"threshold", "Tokens likelier than this go, except the least likely of them",
     OptionKind::number, 0.1, 0, 0.5, nullptr}};

/// Excludes the likely choices, yet never an end of text or a line break, whose absence would let a
/// text run on for ever.
class Xtc final : public Sampler {
 public:
  explicit Xtc(const Options& options)
      : probability_(options.number("probability")), threshold_(options.number("threshold")) {}

  void apply(Candidates& candidates, const SamplerContext& context,
             std::span<std::byte>) const override {
    if (probability_ == 0) return;
    const float largest = largest_logit(candidates, "xtc");
    if (context.uniform(0) >= probability_) return;
    // A probability above the threshold is a logit above this one.
    const double least_weight = threshold_ * total_of(candidates, SoftmaxWeights{largest});
    const double bound = least_weight < std::numeric_limits<double>::min()
                             ? -kInfinity
                             : largest + log_of(least_weight);
    float least = std::numeric_limits<float>::infinity();
    for (std::size_t i = 0; i < candidates.count; ++i) {
      const float logit = candidates.logits[i];
      if (logit < least && logit > bound) least = logit;
    }
    const Vocabulary* vocabulary = context.vocabulary();
    keep_if(candidates, [=](float logit, std::int32_t id) {
      if (!(logit > least)) return true;
      return vocabulary != nullptr && (vocabulary->is_end(id) || vocabulary->piece(id) == "\n");
    });
  }

 private:
  double probability_;
  double threshold_;
};

constexpr SamplerOffer kOffers[] = {
    {"temperature", kTemperatureOptions, make_sampler<Temperature>},
    {"top-k", kTopKOptions, make_sampler<TopK>},
    {"top-p", kTopPOptions, make_sampler<TopP>},
    {"min-p", kMinPOptions, make_sampler<MinP>},
    {"typical", kTypicalOptions, make_sampler<Typical>},
    {"top-n-sigma", kTopNSigmaOptions, make_sampler<TopNSigma>},
    {"xtc", kXtcOptions, make_sampler<Xtc>},
};

}  // namespace

std::span<const SamplerOffer> filter_offers() {
  return kOffers;
}

}  // namespace quiver::samplers
