// A plugin of samplers that each break one rule, and a good one.
#include <quiver/plugin.hpp>
#include <quiver/sampler.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <thread>

namespace {

using namespace quiver;

constexpr OptionSpec kNone[] = {{"unused", "Does nothing", OptionKind::number, 0.5, 0, 1, nullptr}};
constexpr OptionSpec kBad[] = {
    {"outside", "Default outside", OptionKind::number, 9, 0, 1, nullptr}};
constexpr OptionSpec kNameless[] = {{"has space", "No name", OptionKind::number, 0, 0, 1, nullptr}};
constexpr OptionSpec kMax[] = {
    {"level", "Crashes at its end", OptionKind::integer, 1, 0, 9, nullptr}};

volatile float* nowhere = nullptr;

class Breaker final : public Sampler {
 public:
  Breaker(std::string_view defect, double level) : defect_(defect), level_(level) {}

  std::size_t state_bytes() const override {
    if (defect_ == "big-state") return 8192;
    return defect_ == "state-overrun" || defect_ == "unset-state" ? 16 : 0;
  }

  void reset(std::span<std::byte> state) const override {
    if (defect_ != "unset-state") std::ranges::fill(state, std::byte{0});
  }

  void apply(Candidates& c, const SamplerContext& context,
             std::span<std::byte> state) const override {
    calls_ = calls_ + 1;
    const auto history = context.history();
    longest_ = std::max(longest_, history.size());
    if (defect_ == "writes-after") c.logits[c.count] = 0;
    if (defect_ == "writes-before") c.ids[-1] = 0;
    if (defect_ == "writes-history") const_cast<std::int32_t&>(history[0]) = 1;
    if (defect_ == "empties") c.count = 0;
    if (defect_ == "grows") ++c.count;
    if (defect_ == "not-a-number") c.logits[0] = std::nanf("");
    if (defect_ == "invents-id") c.ids[0] = 12345;
    if (defect_ == "doubles-id") {
      c.ids[0] = c.ids[c.count - 1];
      c.is_indexed = false;
    }
    if (defect_ == "lies-sorted") c.is_sorted = true;
    if (defect_ == "lies-indexed") c.is_indexed = true;
    if (defect_ == "remembers") c.logits[0] += static_cast<float>(calls_);
    if (defect_ == "by-thread") {
      const auto id = std::hash<std::thread::id>()(std::this_thread::get_id());
      c.logits[0] += static_cast<float>(id % 1000003);
    }
    if (defect_ == "hidden-state") c.logits[0] += static_cast<float>(longest_);
    if (defect_ == "state-overrun") state.data()[16] = std::byte{1};
    if (defect_ == "crashes-on-one" && c.count == 1) *nowhere = 1;
    if (defect_ == "crashes-at-max" && level_ == 9) *nowhere = 1;
    if (defect_ == "loops") {
      while (calls_ != 0) calls_ = 1;
    }
  }

  bool chooses() const override { return defect_ == "bad-choice"; }

  std::int32_t choose(Candidates&, const SamplerContext&, std::span<std::byte>) const override {
    return -5;
  }

 private:
  std::string_view defect_;
  double level_;
  mutable volatile std::uint64_t calls_ = 0;
  mutable std::size_t longest_ = 0;
};

class Factory final : public SamplerFactory {
 public:
  std::span<const OptionSpec> options(std::string_view offer) const override {
    if (offer == "bad-default") return kBad;
    if (offer == "nameless-option") return kNameless;
    if (offer == "crashes-at-max") return kMax;
    return kNone;
  }
  Sampler* create(std::string_view offer, const Options& options) const override {
    if (offer == "throws-int") throw 42;
    for (const quiver_offer& known : offers()) {
      if (offer != known.name || offer.empty()) continue;
      return new Breaker(known.name, offer == "crashes-at-max" ? options.number("level") : 0);
    }
    return nullptr;
  }

 private:
  static std::span<const quiver_offer> offers();
};

const void* get(std::string_view id) {
  static const Factory factory;
  return provide<SamplerFactory>(id, factory);
}

}  // namespace

#define BREAKER(name) QUIVER_OFFER_SAMPLER(name, "Breaks a rule")
QUIVER_PLUGIN(get, "bad-samplers", "1.0.0", "Apache-2.0", "Samplers that break rules",
              BREAKER("good"), BREAKER("writes-after"), BREAKER("writes-before"),
              BREAKER("writes-history"), BREAKER("empties"), BREAKER("grows"),
              BREAKER("not-a-number"), BREAKER("invents-id"), BREAKER("doubles-id"),
              BREAKER("lies-sorted"), BREAKER("lies-indexed"), BREAKER("remembers"),
              BREAKER("by-thread"), BREAKER("hidden-state"), BREAKER("big-state"),
              BREAKER("state-overrun"), BREAKER("unset-state"), BREAKER("crashes-on-one"),
              BREAKER("bad-choice"), BREAKER("throws-int"), BREAKER("crashes-at-max"),
              BREAKER("bad-default"), BREAKER("nameless-option"), BREAKER("loops"));

std::span<const quiver_offer> Factory::offers() {
  return quiver_descriptor_.offers;
}
