// Config values from GGUF metadata.
#include "core/model/gguf_config.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <quiver/error.hpp>
#include <vector>

#include "core/tensor/printable.hpp"
#include "core/tensor/utf8.hpp"

namespace quiver {
namespace {

constexpr std::string_view kEmbedding = "token_embd.weight";
constexpr std::string_view kTokens = "tokenizer.ggml.tokens";

Error bad_file(const GgufFile& file, const std::string& what, const char* hint = "") {
  return {ErrorCode::bad_input, what, file.label(), hint};
}

/// The single value of a key, or nullptr where the key is absent.
const GgufScalar* find_scalar(const GgufFile& file, std::string_view key) {
  const GgufEntry* entry = file.metadata().find_entry(key);
  if (entry == nullptr) return nullptr;
  const auto* scalar = std::get_if<GgufScalar>(&entry->value);
  if (scalar != nullptr) return scalar;
  throw bad_file(
      file, "the metadata key " + in_quotes(key) + " holds an array in place of a single value",
      "models whose layers differ in it cannot be imported");
}

/// The family's key with the file's architecture in place of "{arch}".
std::string expand(std::string_view key, std::string_view architecture) {
  constexpr std::string_view kPlaceholder = "{arch}";
  if (!key.starts_with(kPlaceholder)) return std::string(key);
  return std::string(architecture) + std::string(key.substr(kPlaceholder.size()));
}

void copy_key(const GgufFile& file, const std::string& key, const GgufKey& rule,
              ConfigWriter& config) {
  const GgufScalar* value = find_scalar(file, key);
  if (value == nullptr) {
    if (!rule.is_required) return;
    throw bad_file(file, "the metadata has no key " + in_quotes(key),
                   "the file is incomplete; convert the original model anew");
  }
  const std::string_view path = rule.config_path;
  if (const auto* text = std::get_if<std::string_view>(value)) {
    if (!is_utf8(*text)) {
      throw bad_file(file, "the text under the metadata key " + in_quotes(key) + " is not UTF-8");
    }
    config.text(path, *text);
  } else if (const auto* flag = std::get_if<bool>(value)) {
    config.flag(path, *flag);
  } else if (const auto* number = std::get_if<double>(value)) {
    if (!std::isfinite(*number)) {
      throw bad_file(file, "the metadata key " + in_quotes(key) + " is not a finite number");
    }
    const bool is_single = file.metadata().find_entry(key)->kind == GgufKind::f32;
    config.number(path, is_single ? shortest_double(static_cast<float>(*number)) : *number);
  } else {
    config.integer(path, file.metadata().get<std::int64_t>(key));
  }
}

std::int64_t vocabulary_size(const GgufFile& file) {
  std::int64_t tokens = 0;
  if (const GgufEntry* entry = file.metadata().find_entry(kTokens)) {
    const auto* list = std::get_if<GgufArray>(&entry->value);
    if (list != nullptr) tokens = static_cast<std::int64_t>(list->count);
  }
  const GgufTensor* embedding = file.find(kEmbedding);
  if (embedding == nullptr) return tokens;
  if (embedding->rows() < tokens) {
    throw bad_file(file,
                   "the file lists " + std::to_string(tokens) + " tokens and has embeddings of " +
                       std::to_string(embedding->rows()),
                   "the file is damaged; fetch it again");
  }
  return embedding->rows();
}

std::int64_t read_id(const GgufFile& file, std::string_view name, std::int64_t vocabulary) {
  const std::string key = "tokenizer.ggml." + std::string(name) + "_token_id";
  const auto id = file.metadata().find<std::int64_t>(key);
  // Some writers spell "none" as -1 in 32 bits.
  if (!id || *id == -1 || *id == UINT32_MAX) return -1;
  if (*id < 0 || *id >= vocabulary) {
    throw bad_file(file, "the metadata key " + in_quotes(key) + " is " + std::to_string(*id) +
                             ", outside the vocabulary of " + std::to_string(vocabulary));
  }
  return *id;
}

}  // namespace

double shortest_double(float value) {
  if (!std::isfinite(value)) return value;
  char text[64];
  // Not the default format: it writes large numbers with all their digits.
  const auto [end, error] =
      std::to_chars(text, text + sizeof(text), value, std::chars_format::scientific);
  double result = value;
  if (error == std::errc()) std::from_chars(text, end, result);
  return result;
}

GgufFileSource::GgufFileSource(const GgufFile& file)
    : file_(file), architecture_(file.metadata().get<std::string_view>("general.architecture")) {}

bool GgufFileSource::read_number(std::string_view key, double& value) const {
  if (find_scalar(file_, key) == nullptr) return false;
  value = file_.metadata().get<double>(key);
  if (file_.metadata().find_entry(key)->kind == GgufKind::f32) {
    value = shortest_double(static_cast<float>(value));
  }
  return true;
}

bool GgufFileSource::read_text(std::string_view key, std::string_view& value) const {
  if (find_scalar(file_, key) == nullptr) return false;
  value = file_.metadata().get<std::string_view>(key);
  return true;
}

bool GgufFileSource::has_tensor(std::string_view name) const {
  return file_.find(name) != nullptr;
}

std::int64_t GgufFileSource::tensor_elements(std::string_view name) const {
  const GgufTensor* tensor = file_.find(name);
  return tensor != nullptr ? tensor->elements() : -1;
}

void GgufFileSource::read_tensor(std::string_view name, std::span<float> values) const {
  const GgufTensor& tensor = file_.at(name);
  if (tensor.elements() != static_cast<std::int64_t>(values.size())) {
    throw bad_file(file_, "tensor " + in_quotes(name) + " has " +
                              std::to_string(tensor.elements()) + " elements in place of " +
                              std::to_string(values.size()));
  }
  dequantize(tensor.type, tensor.data, values);
}

nlohmann::json& JsonConfigWriter::at(std::string_view path) {
  nlohmann::json* value = &json_;
  while (true) {
    const std::size_t dot = path.find('.');
    if (value->is_null()) *value = nlohmann::json::object();
    if (!value->is_object()) {
      throw Error(ErrorCode::plugin, "a config value would replace another one", std::string(path),
                  "report it to the plugin's author");
    }
    value = &(*value)[std::string(path.substr(0, dot))];
    if (dot == std::string_view::npos) return *value;
    path.remove_prefix(dot + 1);
  }
}

void JsonConfigWriter::number(std::string_view path, double value) {
  if (!std::isfinite(value)) {
    throw Error(ErrorCode::plugin, "a config value is not a finite number", std::string(path),
                "report it to the plugin's author");
  }
  at(path) = value;
}

void JsonConfigWriter::integer(std::string_view path, std::int64_t value) {
  at(path) = value;
}

void JsonConfigWriter::flag(std::string_view path, bool value) {
  at(path) = value;
}

void JsonConfigWriter::text(std::string_view path, std::string_view value) {
  if (!is_utf8(value)) {
    throw Error(ErrorCode::plugin, "a config value is not UTF-8", std::string(path),
                "report it to the plugin's author");
  }
  at(path) = std::string(value);
}

void JsonConfigWriter::erase(std::string_view path) {
  nlohmann::json* parent = &json_;
  for (std::size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    if (!parent->is_object()) return;
    const auto member = parent->find(path.substr(0, dot));
    if (member == parent->end()) return;
    parent = &*member;
    path.remove_prefix(dot + 1);
  }
  if (parent->is_object()) parent->erase(std::string(path));
}

GgufTokenIds read_token_ids(const GgufFile& file, std::int64_t vocabulary) {
  GgufTokenIds ids;
  ids.bos = read_id(file, "bos", vocabulary);
  ids.unknown = read_id(file, "unknown", vocabulary);
  ids.padding = read_id(file, "padding", vocabulary);
  for (const char* name : {"eos", "eot", "eom"}) {
    const std::int64_t id = read_id(file, name, vocabulary);
    if (id >= 0 && std::ranges::find(ids.ends, id) == ids.ends.end()) ids.ends.push_back(id);
  }
  return ids;
}

nlohmann::json token_id_config(const GgufTokenIds& ids) {
  nlohmann::json config = nlohmann::json::object();
  if (ids.bos >= 0) config["bos_token_id"] = ids.bos;
  if (ids.ends.size() == 1) config["eos_token_id"] = ids.ends.front();
  if (ids.ends.size() > 1) config["eos_token_id"] = ids.ends;
  if (ids.padding >= 0) config["pad_token_id"] = ids.padding;
  return config;
}

nlohmann::json config_from_gguf(const GgufFile& file, const GgufImport& family) {
  const GgufFileSource source(file);
  const std::int64_t vocabulary = vocabulary_size(file);
  JsonConfigWriter config(token_id_config(read_token_ids(file, vocabulary)));
  config.text("model_type", family.model_type(source.architecture()));
  config.integer("vocab_size", vocabulary);
  for (const GgufKey& key : family.keys(source.architecture())) {
    copy_key(file, expand(key.key, source.architecture()), key, config);
  }
  family.complete(source, config);
  return config.json();
}

}  // namespace quiver
