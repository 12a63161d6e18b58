// Makes rows for samplers and judges what they make of them.
#include "core/plugin/check_scene.hpp"

#include "core/decode/philox.hpp"
#include "core/plugin/check_plan.hpp"
#include "core/plugin/check_support.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string_view>

namespace quiver {
namespace {

constexpr std::size_t kVocabulary = 320;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Tokens 0 and 1 end a text, 2 is a newline, the others are short words.
class SceneVocabulary final : public Vocabulary {
 public:
  SceneVocabulary() {
    for (std::size_t i = 0; i < kVocabulary; ++i) pieces_.push_back("w" + std::to_string(i));
    pieces_[0] = "</s>";
    pieces_[1] = "";
    pieces_[2] = "\n";
    pieces_[3] = ":";
    pieces_[4] = "\xE4\xBD";  // a part of a character
  }
  std::int32_t size() const override { return static_cast<std::int32_t>(pieces_.size()); }
  std::string_view piece(std::int32_t id) const override {
    return id >= 0 && id < size() ? std::string_view(pieces_[static_cast<std::size_t>(id)])
                                  : std::string_view();
  }
  bool is_end(std::int32_t id) const override { return id == 0 || id == 1; }

 private:
  std::vector<std::string> pieces_;
};

class SceneContext final : public SamplerContext {
 public:
  SceneContext(const Scene& scene, std::span<const std::int32_t> history,
               const Vocabulary* vocabulary)
      : scene_(scene), history_(history), vocabulary_(vocabulary) {}
  std::span<const std::int32_t> history() const override { return history_; }
  std::size_t prompt_length() const override { return scene_.prompt_length; }
  double uniform(std::uint32_t draw) const override {
    return philox_uniform(scene_.seed, history_.size(), 0, draw);
  }
  const Vocabulary* vocabulary() const override { return vocabulary_; }

 private:
  const Scene& scene_;
  std::span<const std::int32_t> history_;
  const Vocabulary* vocabulary_;
};

std::vector<float> scaled_noise(std::size_t count, std::uint64_t seed, float factor) {
  std::vector<float> values = check_noise(count, seed);
  for (float& value : values) value *= factor;
  return values;
}

/// All tokens in order of their ids.
Scene whole_row(std::string label, std::uint64_t seed) {
  Scene scene{.label = std::move(label),
              .logits = scaled_noise(kVocabulary, seed, 8.0F),
              .ids = std::vector<std::int32_t>(kVocabulary),
              .is_indexed = true,
              .history = {7, 8, 9, 7, 8, 9, 7, 8, 2, 7, 8},
              .prompt_length = 4,
              .seed = seed};
  std::iota(scene.ids.begin(), scene.ids.end(), 0);
  return scene;
}

/// Some tokens, best first, as an earlier sampler leaves them.
Scene sorted_row(std::string label, std::uint64_t seed) {
  Scene scene = whole_row(std::move(label), seed);
  std::ranges::sort(scene.ids, [&](std::int32_t a, std::int32_t b) {
    const float x = scene.logits[static_cast<std::size_t>(a)];
    const float y = scene.logits[static_cast<std::size_t>(b)];
    return x > y || (x == y && a < b);
  });
  scene.ids.resize(48);
  std::vector<float> logits;
  for (const std::int32_t id : scene.ids)
    logits.push_back(scene.logits[static_cast<std::size_t>(id)]);
  scene.logits = std::move(logits);
  scene.is_sorted = true;
  scene.is_indexed = false;
  return scene;
}

}  // namespace

bool SceneOutcome::equals(const SceneOutcome& other) const {
  return has_same_bits(logits, other.logits) && ids == other.ids && is_sorted == other.is_sorted &&
         is_indexed == other.is_indexed && token == other.token && state == other.state;
}

std::vector<Scene> ordinary_scenes() {
  std::vector<Scene> scenes{whole_row("a row of all tokens", 11), sorted_row("a sorted row", 12)};
  scenes.push_back(sorted_row("an unsorted row", 13));
  std::swap(scenes[2].logits[3], scenes[2].logits[20]);
  std::swap(scenes[2].ids[3], scenes[2].ids[20]);
  scenes[2].is_sorted = false;
  scenes.push_back(whole_row("a model without a tokenizer", 14));
  scenes.back().has_vocabulary = false;
  scenes.push_back(whole_row("the first token of a text", 15));
  scenes.back().history = {5};
  scenes.back().prompt_length = 1;
  return scenes;
}

std::vector<Scene> edge_scenes() {
  std::vector<Scene> scenes;
  Scene scene = whole_row("one candidate", 21);
  scene.logits = {-3.5F};
  scene.ids = {17};
  scene.is_sorted = true;
  scene.is_indexed = false;
  scenes.push_back(scene);

  scene = whole_row("all but one ruled out", 22);
  std::ranges::fill(scene.logits, -kInfinity);
  scene.logits[200] = 1.0F;
  scenes.push_back(scene);

  scene = whole_row("half of the tokens ruled out", 23);
  for (std::size_t i = 0; i < scene.logits.size(); i += 2) scene.logits[i] = -kInfinity;
  scenes.push_back(scene);

  scene = whole_row("all logits equal", 24);
  std::ranges::fill(scene.logits, 0.25F);
  scenes.push_back(scene);

  scene = whole_row("ties at the top", 25);
  for (const std::size_t i : {4U, 90U, 311U}) scene.logits[i] = 9.0F;
  scenes.push_back(scene);

  scene = whole_row("huge logits", 26);
  scene.logits = scaled_noise(kVocabulary, 26, 1e30F);
  scenes.push_back(scene);

  scene = whole_row("tiny differences", 27);
  scene.logits = scaled_noise(kVocabulary, 27, 1e-30F);
  scenes.push_back(scene);

  scene = whole_row("an empty history", 28);
  scene.history.clear();
  scene.prompt_length = 0;
  scenes.push_back(scene);

  scene = whole_row("a long history of one token", 29);
  scene.history.assign(3000, 7);
  scenes.push_back(scene);
  return scenes;
}

SceneRun::SceneRun(const Scene& scene, const Sampler& sampler, GuardSide side)
    : scene_(scene),
      sampler_(sampler),
      logits_(scene.logits.size(), side),
      ids_(scene.ids.size(), side),
      history_(scene.history.size(), side),
      state_(sampler.state_bytes(), side, 16) {
  std::ranges::copy(scene.history, history_.data());
  history_.make_read_only();
}

SceneOutcome SceneRun::run(std::span<const std::byte> state) {
  static const SceneVocabulary vocabulary;
  std::ranges::copy(scene_.logits, logits_.data());
  std::ranges::copy(scene_.ids, ids_.data());
  if (state.empty()) {
    // What reset() leaves unwritten would differ from run to run in the host's memory.
    std::ranges::fill(state_.span(), std::byte{0xEE});
    sampler_.reset(state_.span());
  } else {
    std::ranges::copy(state, state_.data());
  }
  Candidates candidates{.logits = logits_.data(),
                        .ids = ids_.data(),
                        .count = scene_.ids.size(),
                        .is_sorted = scene_.is_sorted,
                        .is_indexed = scene_.is_indexed};
  const SceneContext context(scene_, history_.span(),
                             scene_.has_vocabulary ? &vocabulary : nullptr);
  sampler_.apply(candidates, context, state_.span());
  std::int32_t token = -1;
  if (sampler_.chooses()) token = sampler_.choose(candidates, context, state_.span());
  require_intact();
  require_contract(candidates, token);
  return {.logits = {candidates.logits, candidates.logits + candidates.count},
          .ids = {candidates.ids, candidates.ids + candidates.count},
          .is_sorted = candidates.is_sorted,
          .is_indexed = candidates.is_indexed,
          .token = token,
          .state = {state_.span().begin(), state_.span().end()}};
}

void SceneRun::require_intact() const {
  const std::string where = " (" + scene_.label + ")";
  require(logits_.is_intact(), "writes beside the logits" + where);
  require(ids_.is_intact(), "writes beside the ids" + where);
  require(state_.is_intact(), "writes beside its state" + where);
}

void SceneRun::require_contract(const Candidates& candidates, std::int32_t token) {
  const std::string where = " (" + scene_.label + ")";
  require(candidates.logits == logits_.data() && candidates.ids == ids_.data(),
          "replaces the host's arrays" + where);
  require(candidates.count >= 1, "leaves no candidate" + where);
  require(candidates.count <= scene_.ids.size(), "leaves more candidates than there were" + where);
  std::set<std::int32_t> open(scene_.ids.begin(), scene_.ids.end());
  float highest = -kInfinity;
  for (std::size_t i = 0; i < candidates.count; ++i) {
    const float logit = candidates.logits[i];
    const std::int32_t id = candidates.ids[i];
    require(open.erase(id) == 1, "leaves an id that was no candidate, or leaves it twice" + where);
    require(!std::isnan(logit) && logit < kInfinity,
            "leaves a logit that is not a number or +infinity" + where);
    highest = std::max(highest, logit);
    require(!candidates.is_indexed || id == static_cast<std::int32_t>(i),
            "says is_indexed of candidates that are not" + where);
    if (i == 0 || !candidates.is_sorted) continue;
    const float before = candidates.logits[i - 1];
    require(before > logit || (before == logit && candidates.ids[i - 1] < id),
            "says is_sorted of candidates that are not" + where);
  }
  require(highest > -kInfinity, "rules out every token" + where);
  if (!sampler_.chooses()) return;
  require(std::ranges::find(scene_.ids, token) != scene_.ids.end(),
          "chooses token " + std::to_string(token) + ", which is no candidate" + where);
}

}  // namespace quiver
