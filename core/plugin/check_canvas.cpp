// Checks of canvas samplers.
#include "core/plugin/check_support.hpp"
#include "core/plugin/guarded_buffer.hpp"

#include <quiver/canvas_sampler.hpp>
#include <quiver/error.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

namespace quiver {
namespace {

constexpr int kThreads = 4;

/// A canvas after one forward pass.
struct Canvas {
  std::string label;
  std::vector<std::int32_t> proposal;
  std::vector<float> confidence;
  std::vector<float> entropy;
  std::vector<std::uint8_t> is_fixed;
  std::int32_t step = 0;
  std::int32_t step_limit = 8;
};

Canvas make_canvas(std::string label, std::size_t positions, std::uint64_t seed) {
  Canvas canvas{.label = std::move(label),
                .proposal = std::vector<std::int32_t>(positions),
                .confidence = check_noise(positions, seed),
                .entropy = std::vector<float>(positions),
                .is_fixed = std::vector<std::uint8_t>(positions)};
  for (std::size_t i = 0; i < positions; ++i) {
    canvas.proposal[i] = static_cast<std::int32_t>(i * 7 % 100);
    canvas.confidence[i] = 0.5F + 0.499F * canvas.confidence[i];
    canvas.entropy[i] = 3.0F * (1.0F - canvas.confidence[i]);
    canvas.is_fixed[i] = i % 5 == 4 ? 1 : 0;
  }
  return canvas;
}

std::vector<Canvas> canvases() {
  std::vector<Canvas> all{make_canvas("32 positions", 32, 1), make_canvas("one position", 1, 2),
                          make_canvas("256 positions, last step", 256, 3)};
  all[2].step = 7;
  all.push_back(make_canvas("no confidence anywhere", 16, 4));
  std::ranges::fill(all.back().confidence, 0.0F);
  std::ranges::fill(all.back().entropy, 20.0F);
  all.push_back(make_canvas("certainty everywhere", 16, 5));
  std::ranges::fill(all.back().confidence, 1.0F);
  std::ranges::fill(all.back().entropy, 0.0F);
  all.push_back(make_canvas("one open position", 16, 6));
  std::ranges::fill(all.back().is_fixed, std::uint8_t{1});
  all.back().is_fixed[9] = 0;
  all.push_back(make_canvas("a single step", 16, 7));
  all.back().step_limit = 1;
  return all;
}

struct Instance {
  std::string label;
  std::shared_ptr<const CanvasSampler> sampler;
};

template <class T>
GuardedBuffer<T> guarded(const std::vector<T>& values, GuardSide side) {
  return GuardedBuffer<T>(values.size(), side);
}

/// Decides one step between guard pages; fails the check where the contract is broken.
std::vector<std::uint8_t> decide(const Canvas& canvas, const Instance& instance, GuardSide side) {
  const std::string where = " with " + instance.label + " (" + canvas.label + ")";
  auto proposal = guarded(canvas.proposal, side);
  auto confidence = guarded(canvas.confidence, side);
  auto entropy = guarded(canvas.entropy, side);
  auto is_fixed = guarded(canvas.is_fixed, side);
  auto accept = guarded(canvas.is_fixed, side);
  std::ranges::copy(canvas.proposal, proposal.data());
  std::ranges::copy(canvas.confidence, confidence.data());
  std::ranges::copy(canvas.entropy, entropy.data());
  std::ranges::copy(canvas.is_fixed, is_fixed.data());
  proposal.make_read_only();
  confidence.make_read_only();
  entropy.make_read_only();
  is_fixed.make_read_only();
  // Neither 0 nor 1, so that a position without a decision is seen.
  std::ranges::fill(accept.span(), std::uint8_t{0x5A});
  const CanvasStep step{.proposal = proposal.span(),
                        .confidence = confidence.span(),
                        .entropy = entropy.span(),
                        .is_fixed = is_fixed.span(),
                        .step = canvas.step,
                        .step_limit = canvas.step_limit};
  try {
    instance.sampler->decide(step, accept.span());
  } catch (const Error& error) {
    throw CheckFailed("fails" + where + ": " + error.what());
  }
  require(accept.is_intact(), "writes beside its answers" + where);
  bool has_open = false;
  bool has_accepted = false;
  for (std::size_t i = 0; i < canvas.is_fixed.size(); ++i) {
    require(accept.span()[i] <= 1, "answers something other than 0 or 1" + where);
    has_open |= canvas.is_fixed[i] == 0;
    has_accepted |= canvas.is_fixed[i] == 0 && accept.span()[i] == 1;
  }
  require(has_accepted || !has_open, "accepts no open position" + where);
  return {accept.span().begin(), accept.span().end()};
}

std::vector<Instance> instances(const PluginLibrary& library, const PluginOffer& offer,
                                const std::vector<OptionChoice>& choices) {
  std::vector<Instance> made;
  for (const OptionChoice& choice : choices) {
    auto sampler = try_create<CanvasSampler, CanvasSamplerFactory>(library, offer.name, choice);
    if (sampler) made.push_back({choice.label, std::move(sampler)});
  }
  return made;
}

std::vector<Instance> lively(const PluginLibrary& library, const PluginOffer& offer) {
  create_default<CanvasSampler, CanvasSamplerFactory>(library, offer.name);
  const auto specs = provider_of<CanvasSamplerFactory>(library).options(offer.name);
  return instances(library, offer, lively_options(specs));
}

std::string check_options(const PluginLibrary& library, const PluginOffer& offer) {
  const auto& factory = provider_of<CanvasSamplerFactory>(library);
  require_sane_options(factory.options(offer.name));
  create_default<CanvasSampler, CanvasSamplerFactory>(library, offer.name);
  return std::to_string(factory.options(offer.name).size()) + " options";
}

std::string check_bad_options(const PluginLibrary& library, const PluginOffer& offer) {
  const auto& factory = provider_of<CanvasSamplerFactory>(library);
  require_refuses_unknown_offer(factory);
  const auto choices = extreme_options(factory.options(offer.name));
  const auto made = instances(library, offer, choices);
  for (const Instance& instance : made) {
    for (const Canvas& canvas : canvases()) decide(canvas, instance, GuardSide::after);
  }
  return std::to_string(choices.size() - made.size()) + " choices of options refused";
}

std::string check_deterministic(const PluginLibrary& library, const PluginOffer& offer) {
  for (const Instance& instance : lively(library, offer)) {
    const bool is_sticky = instance.sampler->is_sticky();
    for (const Canvas& canvas : canvases()) {
      require(
          decide(canvas, instance, GuardSide::after) == decide(canvas, instance, GuardSide::before),
          "decides otherwise at the second call with " + instance.label);
    }
    require(instance.sampler->is_sticky() == is_sticky, "is_sticky() changes its answer");
  }
  return {};
}

std::string check_threads(const PluginLibrary& library, const PluginOffer& offer) {
  const std::vector<Canvas> all = canvases();
  for (const Instance& instance : lively(library, offer)) {
    std::vector<std::vector<std::uint8_t>> alone;
    for (const Canvas& canvas : all) alone.push_back(decide(canvas, instance, GuardSide::after));
    run_in_threads(kThreads, [&](int thread) {
      for (std::size_t i = 0; i < 4 * all.size(); ++i) {
        const std::size_t which = (i + static_cast<std::size_t>(thread)) % all.size();
        require(alone[which] == decide(all[which], instance, GuardSide::after),
                "other threads change the decision with " + instance.label);
      }
    });
  }
  return std::to_string(kThreads) + " threads";
}

/// Whole runs over a canvas: each ends within the step limit or, where the host gives more, with
/// all positions fixed.
std::string check_ends(const PluginLibrary& library, const PluginOffer& offer) {
  constexpr std::size_t kPositions = 64;
  std::size_t most_steps = 0;
  for (const Instance& instance : lively(library, offer)) {
    if (!instance.sampler->is_sticky()) continue;
    Canvas canvas = make_canvas("a whole run", kPositions, 9);
    std::ranges::fill(canvas.is_fixed, std::uint8_t{0});
    canvas.step_limit = kPositions;
    std::size_t steps = 0;
    while (std::ranges::count(canvas.is_fixed, 0) > 0) {
      require(steps < kPositions, "leaves positions open for ever with " + instance.label);
      const auto accepted = decide(canvas, instance, GuardSide::after);
      for (std::size_t i = 0; i < kPositions; ++i) canvas.is_fixed[i] |= accepted[i];
      canvas.step = static_cast<std::int32_t>(++steps);
    }
    most_steps = std::max(most_steps, steps);
  }
  if (most_steps == 0) throw CheckSkipped("positions do not stay fixed, so the host ends a run");
  return "64 positions in at most " + std::to_string(most_steps) + " steps";
}

using CanvasCheck = std::string (*)(const PluginLibrary&, const PluginOffer&);

}  // namespace

void add_canvas_checks(const PluginOffer& offer, std::vector<Check>& plan) {
  constexpr std::array<std::pair<const char*, CanvasCheck>, 5> kChecks{
      {{"options-valid", check_options},
       {"bad-options-are-errors", check_bad_options},
       {"deterministic-within-buffers", check_deterministic},
       {"independent-of-threads", check_threads},
       {"fixes-every-position", check_ends}}};
  for (const auto& [name, check] : kChecks) {
    plan.push_back({offer.name + "/" + name, [offer, check = check](const CheckSubject& subject) {
                      return check(*subject.load(), offer);
                    }});
  }
}

void exercise_canvas(const PluginLibrary& library, const PluginOffer& offer) {
  const auto sampler = create_default<CanvasSampler, CanvasSamplerFactory>(library, offer.name);
  decide(canvases().front(), {"default options", sampler}, GuardSide::after);
}

}  // namespace quiver
