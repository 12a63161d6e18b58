// The extension of architectures whose models can be imported from GGUF files.
#pragma once

#include <quiver/tensor_rule.hpp>

#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

/// One config value that a GGUF metadata key holds. `key` may begin with "{arch}", which stands for
/// the file's general.architecture.
struct GgufKey {
  const char* key;
  const char* config_path;  ///< Dotted path in config.json.
  bool is_required;
};

/// How the host rebuilds tokenizer.json from the vocabulary in a file.
enum class GgufTokenizerAlgorithm : std::uint32_t {
  byte_level_bpe =
      0,  ///< Tokens in the byte alphabet, merges listed, split as GgufPretokenizer says.
  sentencepiece_bpe = 1,  ///< Pieces with scores, from which the merges follow; bytes as fallback.
};

/// What a value of tokenizer.ggml.model stands for.
struct GgufTokenizerKind {
  const char* name;
  GgufTokenizerAlgorithm algorithm;
};

/// How byte-level BPE cuts text into pieces before it merges: what a value of tokenizer.ggml.pre
/// stands for. In order: NFC, digits, patterns, the pattern built into byte-level pre-tokenizers.
struct GgufPretokenizer {
  static constexpr int kMaxPatterns = 6;

  const char* name;
  bool normalizes_nfc;  ///< Text is brought into NFC first.
  bool splits_digits;   ///< Every digit is a piece of its own.
  /// Regular expressions as tokenizer.json has them, applied one after the other to the pieces of
  /// the last: matches become pieces, and so does what lies between them. nullptr ends the list.
  const char* patterns[kMaxPatterns];
  bool uses_built_in_pattern;  ///< use_regex of tokenizer.json's ByteLevel.
  bool ignores_merges;         ///< A piece that is a token is taken whole, whatever the merges say.
  bool adds_bos;               ///< Where the file has no tokenizer.ggml.add_bos_token.
};

/// Read access to a GGUF file for what tables cannot say. Implemented by the host. [load-thread]
class GgufSource {
 public:
  virtual ~GgufSource() = default;
  virtual std::string_view architecture() const = 0;
  /// Metadata by full key; false where absent, Error(bad_input) for another type. A float32 arrives
  /// as the shortest decimal that it is the nearest to: 0.1, not 0.10000000149.
  virtual bool read_number(std::string_view key, double& value) const = 0;
  virtual bool read_text(std::string_view key, std::string_view& value) const = 0;
  virtual bool has_tensor(std::string_view name) const = 0;
  /// Number of elements of a tensor; -1 where absent.
  virtual std::int64_t tensor_elements(std::string_view name) const = 0;
  /// A small tensor as float32; `values` has its size.
  virtual void read_tensor(std::string_view name, std::span<float> values) const = 0;
};

/// Where an import writes config.json. Paths are dotted; objects on the way are made. [load-thread]
class ConfigWriter {
 public:
  virtual ~ConfigWriter() = default;
  virtual void number(std::string_view path, double value) = 0;
  virtual void integer(std::string_view path, std::int64_t value) = 0;
  virtual void flag(std::string_view path, bool value) = 0;
  virtual void text(std::string_view path, std::string_view value) = 0;
  /// Removes what stands at the path, if anything does.
  virtual void erase(std::string_view path) = 0;
};

/// What a family knows about its GGUF files. All tables live as long as the library. [any-thread]
class GgufImport {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.gguf-import/1";
  virtual ~GgufImport() = default;

  /// `model_type` for a file of this general.architecture.
  virtual std::string_view model_type(std::string_view gguf_architecture) const = 0;

  /// GGUF tensor names to those of a checkpoint folder.
  virtual std::span<const TensorRule> tensor_rules(std::string_view gguf_architecture) const = 0;

  /// Metadata keys to config values.
  virtual std::span<const GgufKey> keys(std::string_view gguf_architecture) const = 0;

  /// Values of tokenizer.ggml.model and of tokenizer.ggml.pre that files of the family may have; a
  /// file with another one is refused by name.
  virtual std::span<const GgufTokenizerKind> tokenizer_kinds() const = 0;
  virtual std::span<const GgufPretokenizer> pretokenizers() const = 0;

  /// Completes the config after the tables were applied. The host has written model_type,
  /// vocab_size and the special tokens' ids before, and writes element types and quantization
  /// after.
  virtual void complete(const GgufSource& source, ConfigWriter& config) const = 0;
};

}  // namespace quiver
