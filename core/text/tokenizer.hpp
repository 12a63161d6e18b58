// Text to token ids and back, as a model's tokenizer.json says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/export.hpp"
#include "core/text/tokenizer_config.hpp"

namespace quiver::text {

/// A tokenizer. An object is a handle on shared, unchanging data: copies are cheap, and all const
/// functions are [any-thread]. Ids are those of the model's embedding rows.
///
/// Files are treated as hostile: whatever they hold, loading ends within limits on time and memory.
class QUIVER_TEXT_API Tokenizer {
 public:
  /// Reads tokenizer.json and, where a path is given, tokenizer_config.json. Throws bad_input with
  /// the path when a file is missing, too large or malformed.
  static Tokenizer load(const std::filesystem::path& tokenizer_json,
                        const std::filesystem::path& tokenizer_config = {});

  /// Reads a model folder: its tokenizer.json, and its tokenizer_config.json if there is one.
  static Tokenizer load_folder(const std::filesystem::path& folder);

  /// As `load`, from the contents of the files. `where` names them in errors.
  static Tokenizer from_json(std::string_view tokenizer_json,
                             std::string_view tokenizer_config = {},
                             const std::string& where = "tokenizer.json");

  Tokenizer(const Tokenizer&) noexcept;
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(const Tokenizer&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// The ids of `text` (UTF-8; else throws bad_input). Special tokens written in the text become
  /// their ids. `add_special_tokens`: also those that the file puts around every text, such as a
  /// first token; rendered chats have them already.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens) const;

  /// The text of `ids`, well-formed UTF-8: bytes that are none become U+FFFD. Unknown ids give no
  /// text. `skip_special_tokens`: special tokens give none either.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const;

  /// The bytes that the token stands for inside a text, not always whole characters (show them
  /// through utf8_lossy). Empty for unknown ids.
  std::string piece(std::int32_t id) const;

  /// The token as the vocabulary spells it; nullopt for unknown ids.
  std::optional<std::string> token(std::int32_t id) const;

  /// The id of a token in the vocabulary's spelling; nullopt when there is none.
  std::optional<std::int32_t> id(std::string_view token) const;

  /// The id of a role of tokenizer_config.json ("eos_token"); nullopt when it names none or the
  /// vocabulary lacks it.
  std::optional<std::int32_t> special_id(std::string_view role) const;

  /// True for tokens that stand for no text, such as the end of a turn.
  bool is_special(std::int32_t id) const noexcept;

  /// One past the largest id. A model may have more rows than that.
  std::size_t vocab_size() const noexcept;

  /// What tokenizer_config.json says; empty when there was none.
  const TokenizerConfig& config() const noexcept;

 private:
  friend class StreamDecoder;
  friend class Grammar;
  struct Data;
  explicit Tokenizer(std::shared_ptr<const Data> data) noexcept;

  std::shared_ptr<const Data> data_;
};

}  // namespace quiver::text
