// What a model family implements.
#pragma once

#include <quiver/config.hpp>
#include <quiver/ops.hpp>
#include <quiver/tensor_rule.hpp>
#include <quiver/weights.hpp>

#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

/// A built model: a list of blocks over one Stream. It holds handles only; weights, caches and
/// sequences are the host's. What kind of model it is shows in its extensions (see TextModel).
/// Immutable once built. [any-thread]
class Model {
 public:
  virtual ~Model() = default;

  /// Number of blocks; the host runs block(0) .. block(n - 1) in order, or only some of them.
  virtual int block_count() const = 0;

  /// Block `index` of the forward pass: reads and replaces what is in `stream`.
  virtual void block(int index, Ops& ops, Stream& stream) const = 0;

  /// An optional ability by interface id, or nullptr. The object lives as long as the model.
  virtual const void* extension(std::string_view interface_id) const = 0;
};

/// The provider behind an architecture offer. One per plugin; lives as long as the library.
/// [any-thread]
class Architecture {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.architecture/1";
  virtual ~Architecture() = default;

  /// Builds the model that `config` describes, taking its parts from `weights`. `offer` is the name
  /// in the descriptor. The caller owns the result and deletes it through its virtual destructor.
  /// Throws Error(bad_input) naming the config value or the tensor that is wrong. [load-thread]
  virtual Model* create(std::string_view offer, const Config& config, Weights& weights) const = 0;

  /// How the tensors of a checkpoint folder become the names that create() takes. The rules live as
  /// long as the library.
  virtual std::span<const TensorRule> checkpoint_rules(std::string_view offer) const = 0;

  /// An optional ability of the family by interface id (e.g. GgufImport), or nullptr.
  virtual const void* extension(std::string_view interface_id) const = 0;
};

}  // namespace quiver
