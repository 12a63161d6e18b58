// Situations that samplers are checked in.
#pragma once

#include "core/plugin/guarded_buffer.hpp"

#include <quiver/sampler.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quiver {

/// One row as a sampler meets it.
struct Scene {
  std::string label;
  std::vector<float> logits;
  std::vector<std::int32_t> ids;
  bool is_sorted = false;
  bool is_indexed = false;
  std::vector<std::int32_t> history;
  std::size_t prompt_length = 0;
  bool has_vocabulary = true;
  std::uint64_t seed = 1;
};

/// What a sampler left, to be compared bit for bit.
struct SceneOutcome {
  std::vector<float> logits;
  std::vector<std::int32_t> ids;
  bool is_sorted = false;
  bool is_indexed = false;
  std::int32_t token = -1;
  std::vector<std::byte> state;

  bool equals(const SceneOutcome& other) const;
};

/// Ordinary rows, as they come up while a text is generated.
std::vector<Scene> ordinary_scenes();

/// Rows at the edge of what the interface allows.
std::vector<Scene> edge_scenes();

/// Memory for one run of a sampler, every buffer directly between pages that nobody may touch.
class SceneRun {
 public:
  SceneRun(const Scene& scene, const Sampler& sampler, GuardSide side);

  /// Applies the sampler and lets it choose, where it does. The state is that of a new sequence, or
  /// `state` where that is not empty. Fails the check where the sampler breaks its contract.
  SceneOutcome run(std::span<const std::byte> state = {});

 private:
  void require_intact() const;
  void require_contract(const Candidates& candidates, std::int32_t token);

  const Scene& scene_;
  const Sampler& sampler_;
  GuardedBuffer<float> logits_;
  GuardedBuffer<std::int32_t> ids_;
  GuardedBuffer<std::int32_t> history_;
  GuardedBuffer<std::byte> state_;
};

}  // namespace quiver
