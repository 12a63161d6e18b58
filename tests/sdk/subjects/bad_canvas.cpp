// Canvas samplers that each break one rule, and a good one.
#include <quiver/canvas_sampler.hpp>
#include <quiver/plugin.hpp>

#include <algorithm>
#include <functional>
#include <string>
#include <thread>

namespace {

using namespace quiver;

class Breaker final : public CanvasSampler {
 public:
  explicit Breaker(std::string_view defect) : defect_(defect) {}
  bool is_sticky() const override { return true; }

  void decide(const CanvasStep& step, std::span<std::uint8_t> accept) const override {
    for (std::size_t i = 0; i < accept.size(); ++i) {
      accept[i] = step.is_fixed[i] == 0 && step.confidence[i] > 0.7F ? 1 : 0;
    }
    if (defect_ != "may-stall" && std::ranges::count(accept, 1) == 0) {
      for (std::size_t i = 0; i < accept.size(); ++i) accept[i] = step.is_fixed[i] == 0 ? 1 : 0;
    }
    if (defect_ == "unset" && accept.size() > 1) accept[1] = 0x5A;
    if (defect_ == "writes-after") accept.data()[accept.size()] = 1;
    if (defect_ == "remembers") accept[0] = ++calls_ % 2;
    if (defect_ == "by-thread" && accept.size() > 100) {
      const auto id = std::hash<std::thread::id>()(std::this_thread::get_id());
      for (std::size_t i = 0; i < 32; ++i) accept[i] = id >> i & 1U;
    }
  }

 private:
  std::string_view defect_;
  mutable std::uint8_t calls_ = 0;
};

class Factory final : public CanvasSamplerFactory {
 public:
  std::span<const OptionSpec> options(std::string_view) const override { return {}; }
  CanvasSampler* create(std::string_view offer, const Options&) const override {
    for (const quiver_offer& known : offers()) {
      if (offer == known.name && !offer.empty()) return new Breaker(known.name);
    }
    return nullptr;
  }

 private:
  static std::span<const quiver_offer> offers();
};

const void* get(std::string_view id) {
  static const Factory factory;
  return provide<CanvasSamplerFactory>(id, factory);
}

}  // namespace

#define BREAKER(name) QUIVER_OFFER_CANVAS_SAMPLER(name, "Breaks a rule")
QUIVER_PLUGIN(get, "bad-canvas", "1.0.0", "Apache-2.0", "Canvas samplers that break rules",
              BREAKER("good"), BREAKER("may-stall"), BREAKER("unset"), BREAKER("writes-after"),
              BREAKER("remembers"), BREAKER("by-thread"));

std::span<const quiver_offer> Factory::offers() {
  return quiver_descriptor_.offers;
}
