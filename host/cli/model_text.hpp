// The text side of a model folder: tokenizer, chat template, tokens that end a text.
#pragma once

#include "core/decode/generator.hpp"
#include "core/text/chat_template.hpp"
#include "core/text/tokenizer.hpp"

#include <nlohmann/json.hpp>

#include <quiver/error.hpp>
#include <quiver/sampler.hpp>

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver::cli {

/// Immutable. [any-thread]
class ModelText : public Vocabulary {
 public:
  /// Whether the folder has a tokenizer.
  static bool exists(const std::filesystem::path& folder);

  /// What to throw where it has none and one is needed.
  static Error missing(const std::filesystem::path& folder);

  /// Throws Error(bad_input) where the folder has no tokenizer or a broken one.
  explicit ModelText(const std::filesystem::path& folder);

  const text::Tokenizer& tokenizer() const { return tokenizer_; }

  /// Tokens of a text as it stands, with those that the tokenizer puts around texts if `is_whole`.
  std::vector<std::int32_t> encode(std::string_view text, bool is_whole) const;

  /// Tokens of a conversation [{"role", "content"}, ..] up to where the model is to answer, with
  /// what begins its answer if `opens_answer`. Throws Error(bad_input) where the folder has no chat
  /// template, or the template refuses.
  std::vector<std::int32_t> encode_chat(const nlohmann::ordered_json& messages,
                                        bool opens_answer = true) const;

  /// Ids that end a text: those of the config files, else the tokenizer's own. Sorted.
  const std::vector<std::int32_t>& end_ids() const { return end_ids_; }

  std::int32_t size() const override;
  std::string_view piece(std::int32_t id) const override;
  bool is_end(std::int32_t id) const override;

 private:
  std::filesystem::path folder_;
  text::Tokenizer tokenizer_;
  std::vector<std::int32_t> end_ids_;
  mutable std::once_flag pieces_flag_;
  mutable std::vector<std::string> pieces_;  // only samplers that look at texts need them
};

/// All text of a file or pipe; "-" is stdin. Throws Error(bad_input) above 1 GiB. Whether it is
/// UTF-8 is not looked at.
std::string read_text(const std::string& path);

}  // namespace quiver::cli
