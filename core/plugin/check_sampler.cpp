// Checks of samplers.
#include "core/plugin/check_scene.hpp"
#include "core/plugin/check_support.hpp"

#include <quiver/error.hpp>
#include <quiver/sampler.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

namespace quiver {
namespace {

using SamplerPointer = std::shared_ptr<const Sampler>;

constexpr std::size_t kMostStateBytes = 4096;
constexpr int kThreads = 4;

/// A sampler with the options that it was made with.
struct Instance {
  std::string label;
  SamplerPointer sampler;
};

SamplerPointer create(const PluginLibrary& library, const PluginOffer& offer,
                      const OptionChoice& choice) {
  return try_create<Sampler, SamplerFactory>(library, offer.name, choice);
}

/// The offer with its default options and with others that make it do something.
std::vector<Instance> instances(const PluginLibrary& library, const PluginOffer& offer) {
  create_default<Sampler, SamplerFactory>(library, offer.name);
  std::vector<Instance> made;
  const auto specs = provider_of<SamplerFactory>(library).options(offer.name);
  for (const OptionChoice& choice : lively_options(specs)) {
    if (SamplerPointer sampler = create(library, offer, choice)) {
      made.push_back({choice.label, std::move(sampler)});
    }
  }
  return made;
}

std::string with(const Instance& instance, const Scene& scene) {
  return " with " + instance.label + " (" + scene.label + ")";
}

/// Runs a step; a sampler may refuse a row with an Error only where `may_refuse`.
SceneOutcome run_scene(const Scene& scene, const Instance& instance,
                       GuardSide side = GuardSide::after, std::span<const std::byte> state = {}) {
  try {
    return SceneRun(scene, *instance.sampler, side).run(state);
  } catch (const Error& error) {
    throw CheckFailed("fails" + with(instance, scene) + ": " + error.what());
  }
}

std::string check_options(const PluginLibrary& library, const PluginOffer& offer) {
  const auto& factory = provider_of<SamplerFactory>(library);
  require_sane_options(factory.options(offer.name));
  create_default<Sampler, SamplerFactory>(library, offer.name);
  return std::to_string(factory.options(offer.name).size()) + " options";
}

std::string check_bad_options(const PluginLibrary& library, const PluginOffer& offer) {
  const auto& factory = provider_of<SamplerFactory>(library);
  require_refuses_unknown_offer(factory);
  int refused = 0;
  for (const OptionChoice& choice : extreme_options(factory.options(offer.name))) {
    const SamplerPointer sampler = create(library, offer, choice);
    if (!sampler) {
      ++refused;
      continue;
    }
    for (const Scene& scene : ordinary_scenes()) run_scene(scene, {choice.label, sampler});
  }
  return std::to_string(refused) + " choices of options refused";
}

std::string check_deterministic(const PluginLibrary& library, const PluginOffer& offer) {
  const std::vector<Instance> first = instances(library, offer);
  const std::vector<Instance> second = instances(library, offer);
  for (std::size_t i = 0; i < first.size(); ++i) {
    for (const Scene& scene : ordinary_scenes()) {
      const SceneOutcome outcome = run_scene(scene, first[i]);
      require(outcome.equals(run_scene(scene, first[i])),
              "the second call gives other bits" + with(first[i], scene));
      require(outcome.equals(run_scene(scene, second[i])),
              "another instance gives other bits" + with(first[i], scene));
    }
  }
  return {};
}

std::string check_threads(const PluginLibrary& library, const PluginOffer& offer) {
  const std::vector<Scene> scenes = ordinary_scenes();
  for (const Instance& instance : instances(library, offer)) {
    std::vector<SceneOutcome> alone;
    for (const Scene& scene : scenes) alone.push_back(run_scene(scene, instance));
    run_in_threads(kThreads, [&](int thread) {
      for (std::size_t i = 0; i < 4 * scenes.size(); ++i) {
        const std::size_t which = (i + static_cast<std::size_t>(thread)) % scenes.size();
        require(alone[which].equals(run_scene(scenes[which], instance)),
                "other threads change the bits" + with(instance, scenes[which]));
      }
    });
  }
  return std::to_string(kThreads) + " threads";
}

/// Outcomes of some steps of a text; the history grows by one token a step.
std::vector<SceneOutcome> run_steps(const Instance& instance, Scene scene, int steps,
                                    std::vector<std::byte> state) {
  std::vector<SceneOutcome> outcomes;
  for (int step = 0; step < steps; ++step) {
    outcomes.push_back(run_scene(scene, instance, GuardSide::after, state));
    state = outcomes.back().state;
    scene.history.push_back(outcomes.back().ids.front());
  }
  return outcomes;
}

std::string check_rollback(const PluginLibrary& library, const PluginOffer& offer) {
  constexpr int kSteps = 6;
  for (const Instance& instance : instances(library, offer)) {
    const Scene scene = ordinary_scenes().front();
    const std::vector<SceneOutcome> straight = run_steps(instance, scene, kSteps, {});
    // Another text in between must not matter, nor must tokens that are taken back.
    Scene other = scene;
    other.seed = 99;
    other.history = {30, 31, 32};
    run_steps(instance, other, kSteps, {});
    Scene middle = scene;
    for (int step = 0; step < kSteps / 2; ++step) {
      middle.history.push_back(straight[static_cast<std::size_t>(step)].ids.front());
    }
    const auto& state = straight[kSteps / 2 - 1].state;
    const auto replay = run_steps(instance, middle, kSteps / 2, state);
    for (std::size_t i = 0; i < replay.size(); ++i) {
      require(replay[i].equals(straight[kSteps / 2 + i]),
              "going back to an earlier state changes the bits" + with(instance, scene));
    }
  }
  return {};
}

std::string check_buffers(const PluginLibrary& library, const PluginOffer& offer) {
  for (const Instance& instance : instances(library, offer)) {
    for (const Scene& scene : ordinary_scenes()) {
      const SceneOutcome outcome = run_scene(scene, instance, GuardSide::after);
      require(outcome.equals(run_scene(scene, instance, GuardSide::before)),
              "the place of its buffers changes the bits" + with(instance, scene));
    }
  }
  return {};
}

std::string check_edges(const PluginLibrary& library, const PluginOffer& offer) {
  for (const Instance& instance : instances(library, offer)) {
    for (const Scene& scene : edge_scenes()) {
      const SceneOutcome outcome = run_scene(scene, instance);
      require(outcome.equals(run_scene(scene, instance)),
              "the second call gives other bits" + with(instance, scene));
    }
  }
  return {};
}

std::string check_state(const PluginLibrary& library, const PluginOffer& offer) {
  std::size_t most = 0;
  for (const Instance& instance : instances(library, offer)) {
    const std::size_t bytes = instance.sampler->state_bytes();
    require(bytes <= kMostStateBytes, "wants " + std::to_string(bytes) +
                                          " bytes of state, more than " +
                                          std::to_string(kMostStateBytes));
    most = std::max(most, bytes);
    GuardedBuffer<std::byte> first(bytes, GuardSide::after, 16);
    GuardedBuffer<std::byte> second(bytes, GuardSide::before, 16);
    std::ranges::fill(first.span(), std::byte{0x00});
    std::ranges::fill(second.span(), std::byte{0xFF});
    instance.sampler->reset(first.span());
    instance.sampler->reset(second.span());
    require(first.is_intact() && second.is_intact(), "reset() writes beside its state");
    require(std::ranges::equal(first.span(), second.span()),
            "reset() leaves bytes of the state as they were");
  }
  return std::to_string(most) + " bytes";
}

using SamplerCheck = std::string (*)(const PluginLibrary&, const PluginOffer&);

}  // namespace

void add_sampler_checks(const PluginOffer& offer, std::vector<Check>& plan) {
  constexpr std::array<std::pair<const char*, SamplerCheck>, 8> kChecks{
      {{"options-valid", check_options},
       {"bad-options-are-errors", check_bad_options},
       {"deterministic", check_deterministic},
       {"independent-of-threads", check_threads},
       {"rollback-equals-replay", check_rollback},
       {"no-write-outside-buffers", check_buffers},
       {"edge-inputs", check_edges},
       {"state-within-bounds", check_state}}};
  for (const auto& [name, check] : kChecks) {
    plan.push_back({offer.name + "/" + name, [offer, check = check](const CheckSubject& subject) {
                      return check(*subject.load(), offer);
                    }});
  }
}

void exercise_sampler(const PluginLibrary& library, const PluginOffer& offer) {
  const auto sampler = create_default<Sampler, SamplerFactory>(library, offer.name);
  run_scene(ordinary_scenes().front(), {"default options", sampler});
}

}  // namespace quiver
