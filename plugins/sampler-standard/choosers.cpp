// Samplers that end a chain by choosing a token: draw, greedy and both versions of mirostat.
#include "candidates.hpp"
#include "offer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

namespace quiver::samplers {
namespace {

class Draw final : public Sampler {
 public:
  explicit Draw(const Options&) {}
  bool chooses() const override { return true; }

  std::int32_t choose(Candidates& candidates, const SamplerContext& context,
                      std::span<std::byte>) const override {
    const float largest = largest_logit(candidates, "draw");
    return draw_from(candidates, largest, context.uniform(0)).id;
  }
};

class Greedy final : public Sampler {
 public:
  explicit Greedy(const Options&) {}
  bool chooses() const override { return true; }

  std::int32_t choose(Candidates& candidates, const SamplerContext&,
                      std::span<std::byte>) const override {
    const float largest = largest_logit(candidates, "greedy");
    std::int32_t id = std::numeric_limits<std::int32_t>::max();
    for (std::size_t i = 0; i < candidates.count; ++i) {
      if (candidates.logits[i] == largest) id = std::min(id, candidates.ids[i]);
    }
    return id;
  }
};

constexpr OptionSpec kMirostatOptions[] = {
    {"tau", "Surprise to aim at, in bits a token", OptionKind::number, 5, 0, 100, nullptr},
    {"eta", "How fast an error is corrected", OptionKind::number, 0.1, 0, 1, nullptr}};

/// What both versions do: they cut what exceeds a bound `mu`, draw, and move the bound by the
/// error. Basu et al., Mirostat, arXiv 2007.14966.
class Mirostat : public Sampler {
 public:
  explicit Mirostat(const Options& options)
      : tau_(options.number("tau")), eta_(options.number("eta")) {}

  bool chooses() const final { return true; }
  std::size_t state_bytes() const final { return sizeof(double); }
  void reset(std::span<std::byte> state) const final { store(state, 2 * tau_); }

  std::int32_t choose(Candidates& candidates, const SamplerContext& context,
                      std::span<std::byte> state) const final {
    const float largest = largest_logit(candidates, "mirostat");
    keep_if(candidates, [](float logit, std::int32_t) { return std::isfinite(logit); });
    double mu = 0;
    std::memcpy(&mu, state.data(), sizeof mu);
    cut(candidates, largest, mu);
    const Drawn drawn = draw_from(candidates, largest, context.uniform(0));
    const double surprise = -log_of(drawn.probability) / kLn2;
    store(state, mu - eta_ * (surprise - tau_));
    return drawn.id;
  }

 protected:
  /// Drops candidates by the bound, never all. All logits are finite.
  virtual void cut(Candidates& candidates, float largest, double mu) const = 0;

 private:
  static void store(std::span<std::byte> state, double mu) {
    std::memcpy(state.data(), &mu, sizeof mu);
  }

  double tau_;
  double eta_;
};

/// Version 1 takes the likeliest tokens for a Zipf distribution, estimates its exponent, and keeps
/// as many tokens as would have a cross entropy of mu.
class MirostatV1 final : public Mirostat {
 public:
  using Mirostat::Mirostat;

 protected:
  void cut(Candidates& candidates, float largest, double mu) const override {
    if (candidates.count == 1) return;
    const double all = log_of(static_cast<double>(candidates.count));
    const double kept = log_kept(zipf_exponent(candidates, largest), all, mu);
    if (kept >= all) return;
    keep_largest(candidates, kept <= 0 ? 1 : static_cast<std::size_t>(exp_of(kept)), largest);
  }

 private:
  static constexpr std::size_t kExamined = 100;
  static constexpr double kSmallest = 1e-6;  // Below it, take the formula's limit.

  /// Least squares over the ratios of neighbours among the likeliest tokens.
  static double zipf_exponent(const Candidates& candidates, float largest) {
    const Rank last = rank_of_largest(candidates, kExamined, largest);
    std::vector<float> logits;
    for (std::size_t i = 0; i < candidates.count; ++i) {
      if (-static_cast<double>(candidates.logits[i]) <= last.key) {
        logits.push_back(candidates.logits[i]);
      }
    }
    std::sort(logits.begin(), logits.end(), std::greater<>());
    const std::size_t examined = std::min(kExamined, logits.size());
    double products = 0;
    double squares = 0;
    for (std::size_t i = 0; i + 1 < examined; ++i) {
      const double t = log_of(static_cast<double>(i + 2) / static_cast<double>(i + 1));
      const double b = static_cast<double>(logits[i]) - static_cast<double>(logits[i + 1]);
      products += t * b;
      squares += t * t;
    }
    return products / squares;
  }

  /// ln k, k = (e 2^mu / (1 - N^-e))^(1/s) with e = s - 1, for N tokens, `all` = ln N.
  static double log_kept(double s, double all, double mu) {
    if (s < kSmallest) return mu * kLn2;  // All alike: k tokens have a surprise of log2 k.
    const double e = s - 1;
    const double ratio = std::abs(e) < kSmallest ? 1 / all : e / (1 - exp_of(-e * all));
    return (log_of(ratio) + mu * kLn2) / s;
  }
};

/// Version 2 drops every token whose surprise exceeds mu.
class MirostatV2 final : public Mirostat {
 public:
  using Mirostat::Mirostat;

 protected:
  void cut(Candidates& candidates, float largest, double mu) const override {
    const double total = total_of(candidates, SoftmaxWeights{largest});
    const double threshold = largest + log_of(total) - mu * kLn2;
    keep_if(candidates,
            [=](float logit, std::int32_t) { return logit >= threshold || logit == largest; });
  }
};

constexpr SamplerOffer kOffers[] = {
    {"mirostat", kMirostatOptions, make_sampler<MirostatV1>},
    {"mirostat-v2", kMirostatOptions, make_sampler<MirostatV2>},
    {"draw", {}, make_sampler<Draw>},
    {"greedy", {}, make_sampler<Greedy>},
};

}  // namespace

std::span<const SamplerOffer> chooser_offers() {
  return kOffers;
}

}  // namespace quiver::samplers
