// A model's config.json, read once and safely.
#include "core/model/model_config.hpp"

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/model/json_file.hpp"

namespace quiver {
namespace {

Error wrong_type(const std::string& origin, std::string_view path, const char* wanted,
                 const nlohmann::json& value) {
  return Error(ErrorCode::bad_input,
               std::string("expected ") + wanted + ", found " + value.type_name(),
               origin + ", " + std::string(path), "correct the file");
}

}  // namespace

ModelConfig::ModelConfig(std::unique_ptr<nlohmann::json> json, std::string origin)
    : json_(std::move(json)), origin_(std::move(origin)) {}
ModelConfig::ModelConfig(ModelConfig&&) noexcept = default;
ModelConfig& ModelConfig::operator=(ModelConfig&&) noexcept = default;
ModelConfig::~ModelConfig() = default;

ModelConfig ModelConfig::load(const std::filesystem::path& path) {
  const auto file = std::filesystem::is_directory(path) ? path / "config.json" : path;
  if (!std::filesystem::exists(file)) {
    throw Error(ErrorCode::bad_input, "there is no such model", file.string(),
                "give a folder with config.json and safetensors files");
  }
  return parse(read_small_file(file, 16U << 20U), file.string());
}

ModelConfig ModelConfig::parse(std::string_view text, const std::string& origin) {
  auto json = std::make_unique<nlohmann::json>(parse_json(text, origin));
  if (!json->is_object()) {
    throw Error(ErrorCode::bad_input, "expected a JSON object", origin, "correct the file");
  }
  return ModelConfig(std::move(json), origin);
}

const nlohmann::json* ModelConfig::find(std::string_view path) const {
  const nlohmann::json* value = json_.get();
  while (!path.empty()) {
    const std::size_t dot = path.find('.');
    const std::string_view key = path.substr(0, dot);
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
    if (value->is_object()) {
      const auto member = value->find(key);
      if (member == value->end()) return nullptr;
      value = &*member;
    } else if (value->is_array()) {
      std::size_t index = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
      if (error != std::errc() || end != key.data() + key.size() || index >= value->size()) {
        return nullptr;
      }
      value = &(*value)[index];
    } else {
      return nullptr;
    }
  }
  return value->is_null() ? nullptr : value;
}

bool ModelConfig::has(std::string_view path) const {
  return find(path) != nullptr;
}

bool ModelConfig::read_number(std::string_view path, double& value) const {
  const nlohmann::json* found = find(path);
  if (found == nullptr) return false;
  if (found->is_boolean()) {
    value = found->get<bool>() ? 1 : 0;
  } else if (found->is_number()) {
    value = found->get<double>();
  } else {
    throw wrong_type(origin_, path, "a number", *found);
  }
  return true;
}

bool ModelConfig::read_text(std::string_view path, std::string_view& value) const {
  const nlohmann::json* found = find(path);
  if (found == nullptr) return false;
  if (!found->is_string()) throw wrong_type(origin_, path, "a text", *found);
  value = found->get_ref<const std::string&>();
  return true;
}

int ModelConfig::count(std::string_view path) const {
  const nlohmann::json* found = find(path);
  return found != nullptr && found->is_structured() ? static_cast<int>(found->size()) : -1;
}

std::string ModelConfig::model_type() const {
  // Quantized detectors of the reference package state no type; these keys are theirs alone.
  if (!has("model_type") && has("allocation") && has("flat_shape")) return "optiq-detector";
  return has("model_type") || !has("text_config.model_type") ? text("model_type")
                                                             : text("text_config.model_type");
}

std::vector<std::int32_t> end_token_ids(const std::filesystem::path& folder,
                                        const ModelConfig& config) {
  std::vector<std::int32_t> ids;
  const auto collect = [&ids](const ModelConfig& source, const std::string& path) {
    const int count = source.count(path);
    if (count < 0) {
      if (source.has(path)) ids.push_back(source.integer(path, 0));
      return;
    }
    for (int i = 0; i < count; ++i) {
      ids.push_back(source.integer(path + "." + std::to_string(i), 0));
    }
  };
  const auto generation = folder / "generation_config.json";
  if (std::filesystem::is_regular_file(generation)) {
    collect(ModelConfig::load(generation), "eos_token_id");
  }
  if (ids.empty()) collect(config, "eos_token_id");
  if (ids.empty()) collect(config, "text_config.eos_token_id");
  return ids;
}

}  // namespace quiver
