// The text of a growing list of ids, given out as soon as it is certain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/text/export.hpp"
#include "core/text/tokenizer.hpp"
#include "core/text/utf8.hpp"

namespace quiver::text {

/// Decodes one id at a time. Every output is well-formed UTF-8, no code point is ever split, and
/// all outputs together equal Tokenizer::decode of all ids. The work per id does not grow with the
/// length of the text.
///
/// Text is held back while later ids may change it: the bytes of an unfinished code point, and with
/// byte-fallback tokenizers a whole run of byte tokens, since one bad byte at its end turns all of
/// it into U+FFFD. A few decoders of tokenizers that no generating model uses (WordPiece, CTC) are
/// defined on the whole text only: with them all of it comes from `finish`.
///
/// A copy is a snapshot: feed drafted ids to it, or keep it to go back to.
/// [one-call-at-a-time], copies are independent.
class QUIVER_TEXT_API StreamDecoder {
 public:
  /// `skip_special_tokens` as for Tokenizer::decode.
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special_tokens = true);

  /// The text that `id` completes; often empty.
  std::string feed(std::int32_t id);

  /// The rest of the text: bytes that never became a code point give U+FFFD. Afterwards the decoder
  /// is as new.
  std::string finish();

 private:
  void end_byte_run(std::string& out);
  void emit(std::string_view text, std::string& out);
  void feed_token(const std::string& token, std::string& out);

  Tokenizer tokenizer_;
  bool skip_special_tokens_;
  bool is_first_ = true;
  std::size_t strip_left_;         ///< How often the text's start may still be stripped.
  Utf8Stream utf8_;                ///< Byte-level tokenizers.
  std::string byte_run_;           ///< Byte-fallback tokenizers: the current run of bytes.
  std::vector<std::int32_t> ids_;  ///< Decoders on the whole text: all ids.
};

}  // namespace quiver::text
