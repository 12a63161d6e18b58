// The extension of families that know their weights without a config.json.
#pragma once

#include <span>
#include <string_view>

namespace quiver {

/// Asked of an Architecture by id where a folder holds weights and no config.json, as some packages
/// write them: the names of its tensors have to do. [any-thread]
class BareWeights {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.bare-weights/1";
  virtual ~BareWeights() = default;

  /// The `model_type` that stands for the missing file, which create() then finds alone in its
  /// config; nullptr where the tensors are not of this family. `names` are as stored, in no order.
  /// The text lives as long as the library.
  virtual const char* recognize(std::string_view offer,
                                std::span<const std::string_view> names) const = 0;
};

}  // namespace quiver
