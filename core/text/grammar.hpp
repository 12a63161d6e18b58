// Which tokens may come next when the text must follow a JSON schema, a pattern or a grammar.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "core/text/export.hpp"
#include "core/text/tokenizer.hpp"

namespace quiver::text {

/// A compiled grammar for one tokenizer. Grammars come from requests and are treated as hostile:
/// compiling ends within limits on time and memory, and so does every step of a matcher.
///
/// The first grammar of a tokenizer prepares its vocabulary (some 150 ms for 50,000 tokens); the
/// others find it ready. Copies share the compiled form; const functions are [any-thread].
class QUIVER_TEXT_API Grammar {
 public:
  /// JSON of a schema. Whitespace between tokens is free, up to 64 bytes in a row. Keywords that
  /// cannot be enforced are refused by name, unknown ones mean nothing, oneOf is taken as anyOf;
  /// minItems and maxItems of a schema add up to at most 50,000. `stop_ids`: the tokens that end
  /// the model's text, at least one; one of them is allowed wherever the text may end. All three
  /// throw bad_input when the source cannot be compiled or a stop id is outside the vocabulary.
  static Grammar from_json_schema(const Tokenizer& tokenizer, std::string_view schema,
                                  std::span<const std::int32_t> stop_ids);

  /// A regular expression for the whole text (syntax of Rust's regex crate, no look-around).
  static Grammar from_regex(const Tokenizer& tokenizer, std::string_view pattern,
                            std::span<const std::int32_t> stop_ids);

  /// A context-free grammar in Lark's notation, starting at `start`.
  static Grammar from_lark(const Tokenizer& tokenizer, std::string_view grammar,
                           std::span<const std::int32_t> stop_ids);

  /// Words of a mask: 32 tokens each, for every id of the tokenizer.
  std::size_t mask_words() const noexcept { return (vocab_size_ + 31) / 32; }

 private:
  friend class GrammarMatcher;
  struct Handle;
  static Grammar compile(const Tokenizer& tokenizer, int kind, std::string_view source,
                         std::span<const std::int32_t> stop_ids);

  std::shared_ptr<const Handle> handle_;
  std::size_t vocab_size_ = 0;
};

/// Where one text stands in a grammar. Copies go on independently (a copy costs as much as the
/// states seen so far; for drafted tokens `rollback` is cheaper). One that was moved from may only
/// be assigned to or destroyed. [one-call-at-a-time]
class QUIVER_TEXT_API GrammarMatcher {
 public:
  /// At the start of the text.
  explicit GrammarMatcher(const Grammar& grammar);
  GrammarMatcher(const GrammarMatcher& other);
  GrammarMatcher(GrammarMatcher&& other) noexcept;
  GrammarMatcher& operator=(GrammarMatcher other) noexcept;
  ~GrammarMatcher();

  /// Sets bit id % 32 of word id / 32 for each token that may come next and clears all others, also
  /// beyond the vocabulary. `words` has at least Grammar::mask_words() elements. Throws bad_input
  /// when the grammar turns out to be too complex.
  void mask(std::span<std::uint32_t> words);

  /// Goes on by one token; false, and nothing changes, when it may not come next.
  bool accept(std::int32_t id);

  /// Takes back the last `tokens` accepted tokens; no more than were accepted.
  void rollback(std::size_t tokens);

  /// True when nothing but a stop token may follow, or one has been accepted.
  bool is_finished() const noexcept;

  /// True when the text so far is complete, so that a stop token is allowed.
  bool may_stop();

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace quiver::text
