// config.json from the metadata of a GGUF file and the tables of its family.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <quiver/gguf_import.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor/gguf.hpp"

namespace quiver {

/// An open file as a family's code reads it. [any-thread]
class GgufFileSource : public GgufSource {
 public:
  /// The file outlives the source. Throws Error(bad_input) where it names no architecture.
  explicit GgufFileSource(const GgufFile& file);

  std::string_view architecture() const override { return architecture_; }
  bool read_number(std::string_view key, double& value) const override;
  bool read_text(std::string_view key, std::string_view& value) const override;
  bool has_tensor(std::string_view name) const override;
  std::int64_t tensor_elements(std::string_view name) const override;

  /// Throws Error(bad_input) where the tensor is absent or of another size.
  void read_tensor(std::string_view name, std::span<float> values) const override;

 private:
  const GgufFile& file_;
  std::string_view architecture_;
};

/// Values by dotted path. Writing throws Error(plugin) where something that is no object stands on
/// the way, for a number that JSON cannot hold, and for a text that is not UTF-8.
/// [one-call-at-a-time]
class JsonConfigWriter : public ConfigWriter {
 public:
  JsonConfigWriter() = default;

  /// Starts with the values of an object.
  explicit JsonConfigWriter(nlohmann::json start) : json_(std::move(start)) {}

  void number(std::string_view path, double value) override;
  void integer(std::string_view path, std::int64_t value) override;
  void flag(std::string_view path, bool value) override;
  void text(std::string_view path, std::string_view value) override;
  void erase(std::string_view path) override;

  const nlohmann::json& json() const noexcept { return json_; }

 private:
  nlohmann::json& at(std::string_view path);

  nlohmann::json json_ = nlohmann::json::object();
};

/// What a file says about ids with a meaning; only those inside the vocabulary exist.
struct GgufTokenIds {
  std::int64_t bos = -1;  ///< -1 = none; so for the others.
  std::int64_t unknown = -1;
  std::int64_t padding = -1;
  std::vector<std::int64_t> ends;  ///< End of text first, then those of turns; without repetition.
};

/// Reads tokenizer.ggml.*_token_id. Ids outside [0, `vocabulary`) throw Error(bad_input), but
/// 2^32-1 stands for none.
GgufTokenIds read_token_ids(const GgufFile& file, std::int64_t vocabulary);

/// bos, eos (a number or a list) and padding ids as config.json and generation_config.json have
/// them.
nlohmann::json token_id_config(const GgufTokenIds& ids);

/// The config: model_type, vocab_size (rows of the token embedding, else tokens in the list), ids,
/// the family's table of keys, and what the family completes. Numbers that the file holds as
/// float32 become the shortest decimals that give the same float32. Throws Error(bad_input) naming
/// keys that are missing or of the wrong type.
nlohmann::json config_from_gguf(const GgufFile& file, const GgufImport& family);

/// The double whose shortest decimal is the shortest one of `value` as a float32.
double shortest_double(float value);

}  // namespace quiver
