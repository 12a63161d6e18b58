// The extension of families whose quantized folders name tensors otherwise than the family takes
// them.
#pragma once

#include <quiver/tensor_rule.hpp>

#include <span>
#include <string_view>

namespace quiver {

/// Asked of an Architecture by id, by whoever writes a quantized folder that other programs read.
/// [any-thread]
class WrittenNames {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.written-names/1";
  virtual ~WrittenNames() = default;

  /// From the names that Architecture::create takes to those in the file: rules of the kinds prefix
  /// and rename, which checkpoint_rules() undo. They live as long as the library.
  virtual std::span<const TensorRule> written_names(std::string_view offer) const = 0;
};

}  // namespace quiver
