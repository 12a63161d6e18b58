// A model's config.json, read once and safely.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <quiver/config.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// config.json of a model folder, or a bare config file. Immutable. [any-thread]
class ModelConfig : public Config {
 public:
  /// Reads `path`, a folder that holds config.json or the file itself. Throws Error(bad_input) for
  /// a file that is missing, above 16 MiB, not JSON, or not an object.
  static ModelConfig load(const std::filesystem::path& path);

  /// From a text; `origin` names it in errors.
  static ModelConfig parse(std::string_view text, const std::string& origin);

  ModelConfig(ModelConfig&&) noexcept;
  ModelConfig& operator=(ModelConfig&&) noexcept;
  ~ModelConfig() override;

  bool has(std::string_view path) const override;
  bool read_number(std::string_view path, double& value) const override;
  bool read_text(std::string_view path, std::string_view& value) const override;
  int count(std::string_view path) const override;

  /// `model_type`; of text_config where the top level has none; "optiq-detector" for the configs
  /// that the reference package writes for detectors. Throws Error(bad_input) where absent.
  std::string model_type() const;

  const nlohmann::json& json() const noexcept { return *json_; }

 private:
  explicit ModelConfig(std::unique_ptr<nlohmann::json> json, std::string origin);
  const nlohmann::json* find(std::string_view path) const;

  std::unique_ptr<nlohmann::json> json_;
  std::string origin_;
};

/// Ids that end a text: `eos_token_id` (a number or a list) of generation_config.json where the
/// folder has one, else of config.json. Empty where neither says. Throws Error(bad_input) for other
/// types or ids outside [0, 2^31).
std::vector<std::int32_t> end_token_ids(const std::filesystem::path& folder,
                                        const ModelConfig& config);

}  // namespace quiver
