// The extension of architectures whose checkpoints may keep some tensors in a file of their own.
#pragma once

#include <quiver/tensor_rule.hpp>

#include <span>
#include <string_view>

namespace quiver {

/// A file beside the weights, for tensors that other readers of the folder do not know, such as
/// those of a draft head. Where a folder has the file, its tensors stand for any of the same names
/// in the weights themselves.
struct Sidecar {
  const char* tensors;      ///< A pattern of names, as the model takes them: what belongs into it.
  const char* config_path;  ///< A text in config.json that names the file; or nullptr.
  std::span<const char* const> files;  ///< Tried in this order after that. Converters write
                                       ///< the first under its own name.
  /// Object in config.json with `bits` and `group_size` of the file's matrices; or nullptr.
  const char* quantization;
  std::span<const TensorRule> rules;  ///< Of the file's tensors, in place of the checkpoint's.
  /// A pattern of names of modules: the matrices that converters pack, all in one format, the one
  /// that most of the model's have. Other tensors they write so that `rules` give their values.
  /// nullptr = none is packed.
  const char* packed = nullptr;
};

/// Asked of an Architecture by id. The tables live as long as the library. [any-thread]
class Sidecars {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.sidecars/1";
  virtual ~Sidecars() = default;

  virtual std::span<const Sidecar> sidecars(std::string_view offer) const = 0;
};

}  // namespace quiver
