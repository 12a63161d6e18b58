// The tensors of a model folder under the names that its architecture takes them by.
#pragma once

#include <filesystem>
#include <map>
#include <quiver/config.hpp>
#include <quiver/sidecars.hpp>
#include <quiver/tensor_rule.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/tensor_rules.hpp"
#include "core/tensor/safetensors_set.hpp"

namespace quiver {

/// A tensor under the name that its architecture takes it by. `name` is the stored one.
struct ModelTensor : TensorView {
  /// Where the values lie apart: equal pieces, one after another, and `data` is empty.
  std::vector<std::span<const std::byte>> pieces;
  bool adds_one = false;             ///< Each value is one more than stored.
  const Sidecar* sidecar = nullptr;  ///< The file beside the weights that it comes from.

  std::size_t size_bytes() const noexcept {
    return pieces.empty() ? data.size() : pieces.size() * pieces.front().size();
  }

  /// The pieces, or `data` as the only one.
  std::span<const std::span<const std::byte>> parts() const noexcept {
    return pieces.empty() ? std::span(&data, 1) : std::span(pieces);
  }
};

/// Memory-mapped; nothing is read until a tensor's bytes are touched. Immutable. [any-thread]
class Checkpoint {
 public:
  /// Opens the safetensors files of `folder`, with those of `sidecars` that are there, and applies
  /// the rules. Sidecars outlive the object. Throws Error(bad_input) for malformed files, for two
  /// tensors that end up under one name, and for stacks with gaps.
  Checkpoint(const std::filesystem::path& folder, std::span<const TensorRule> rules,
             const Config& config, std::span<const Sidecar> sidecars = {});

  /// The tensor of that name, or nullptr; those of towers too. Valid as long as this object.
  const ModelTensor* find(std::string_view name) const;

  /// All names but those of towers, sorted.
  std::vector<std::string> names() const;

  /// Tensors of towers (TensorRuleKind::drop_tower), in the order of the files, under the names
  /// that they are stored by.
  std::span<const TensorView* const> towers() const noexcept { return towers_; }

  /// Hands memory behind some tensor's bytes back to the system; they come from the file again when
  /// touched.
  void release(std::span<const std::byte> data) const noexcept;

  /// Bytes of all tensors, dropped ones too.
  std::size_t size_bytes() const noexcept { return size_bytes_; }

 private:
  using Stacks = std::map<std::string, std::map<int, const TensorView*>>;

  void add_file(const SafetensorsSet& files, std::span<const TensorRule> rules,
                const Config& config, const Sidecar* sidecar);
  void add(const TensorView& tensor, const AppliedRule& rule, const Sidecar* sidecar);
  void add_halves(const TensorView& tensor, const AppliedRule& rule);
  void add_stacks(const Stacks& stacks);
  void insert(const std::string& name, ModelTensor tensor);

  SafetensorsSet files_;
  std::vector<SafetensorsSet> sidecar_files_;
  std::map<std::string, ModelTensor, std::less<>> tensors_;
  std::map<std::string, ModelTensor, std::less<>>
      tower_tensors_;  // by the names that prefixes give
  std::vector<const TensorView*> towers_;
  std::size_t size_bytes_ = 0;
};

}  // namespace quiver
