// The extension of architectures whose converted folders say other things in config.json.
#pragma once

#include <quiver/config.hpp>
#include <quiver/quant_scheme.hpp>
#include <quiver/sidecars.hpp>

#include <span>
#include <string>
#include <string_view>

namespace quiver {

/// A file beside the weights as a converter has written it.
struct ConvertedSidecar {
  const Sidecar* sidecar;
  std::string_view file;  ///< In the folder.
  QuantFormat format;     ///< Of the matrices that are packed; 0 bits where none is.
  std::string_view scheme;
  std::span<const std::string_view> packed;  ///< Their modules' names.
};

/// Asked of an Architecture by id. [any-thread]
class ConvertedConfig {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.converted-config/1";
  virtual ~ConvertedConfig() = default;

  /// What config.json of a converted folder has in place of what `config`, its source, says: a JSON
  /// object that is merged into it (RFC 7396: objects member by member, null removes). For readers
  /// in the MLX layout that know a family by another `model_type`, and for what they look sidecars
  /// up by. The host writes `quantization` itself.
  virtual std::string changes(std::string_view offer, const Config& config,
                              std::span<const ConvertedSidecar> sidecars) const = 0;
};

}  // namespace quiver
