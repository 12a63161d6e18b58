// The tokens that a GGUF file lists, and the merges between them.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/tensor/gguf.hpp"

namespace quiver {

/// Kinds of tokens, with the numbers of tokenizer.ggml.token_type.
enum class GgufTokenType : std::uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6,
};

struct GgufToken {
  std::string_view text;
  GgufTokenType type = GgufTokenType::normal;
};

/// The vocabulary of one file. Texts are UTF-8 and live as long as the file and this object.
class GgufVocabulary {
 public:
  /// Reads tokens and their types. With `respells_spaces`, spaces in tokens become U+2581, as the
  /// pieces of a SentencePiece model have them. Throws Error(bad_input) where the list is missing
  /// or empty, its lengths differ, or a token is not UTF-8, longer than 1024 bytes, or of no known
  /// type; also above 2^20 tokens or 32 MiB of text.
  GgufVocabulary(const GgufFile& file, bool respells_spaces);

  GgufVocabulary(GgufVocabulary&&) noexcept = default;

  std::size_t size() const noexcept { return tokens_.size(); }
  const GgufToken& operator[](std::size_t id) const noexcept { return tokens_[id]; }

  /// The id of a text, or -1. Of tokens with the same text the first has it.
  std::int32_t find(std::string_view text) const noexcept;

  /// How many tokens repeat the text of an earlier one.
  std::size_t repeated() const noexcept { return tokens_.size() - ids_.size(); }

 private:
  std::vector<GgufToken> tokens_;
  std::unordered_map<std::string_view, std::int32_t> ids_;
  std::deque<std::string> respelled_;  // Keeps its strings where they are.
};

/// Two tokens that become one, by their ids; the earlier in a list, the sooner it is done.
using Merge = std::pair<std::int32_t, std::int32_t>;

/// tokenizer.ggml.merges. Throws Error(bad_input) naming a merge that is not two tokens making a
/// third; also above 2^21 merges.
std::vector<Merge> listed_merges(const GgufFile& file, const GgufVocabulary& vocabulary);

/// The merges that a SentencePiece model implies: every cut of every piece into two pieces, ordered
/// by the piece's score (tokenizer.ggml.scores) falling, then by the lengths of left and right part
/// falling, then by the ids of the piece and its parts. Control, unknown and byte tokens take no
/// part. Throws Error(bad_input) for missing scores, ones that are not finite, and above 2^21
/// merges.
std::vector<Merge> merges_from_scores(const GgufFile& file, const GgufVocabulary& vocabulary);

}  // namespace quiver
