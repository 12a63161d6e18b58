// Grammars and matchers as owners of the crate's objects.
#include "core/text/grammar.hpp"

#include <quiver/error.hpp>

#include <string>
#include <utility>
#include <vector>

#include "core/text/rust_call.hpp"
#include "core/text/tokenizer_data.hpp"

namespace quiver::text {
namespace {

const char* what_of(int kind) noexcept {
  switch (kind) {
    case QT_GRAMMAR_JSON_SCHEMA: return "cannot use the JSON schema";
    case QT_GRAMMAR_REGEX: return "cannot use the regular expression";
    default: return "cannot use the grammar";
  }
}

const char* const kStep = "cannot follow the grammar";

}  // namespace

struct Grammar::Handle {
  qt_grammar* grammar = nullptr;
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { qt_grammar_free(grammar); }
};

Grammar Grammar::compile(const Tokenizer& tokenizer, int kind, std::string_view source,
                         std::span<const std::int32_t> stop_ids) {
  if (stop_ids.empty()) {
    throw Error(ErrorCode::usage, "a grammar needs at least one stop token", {},
                "name the token that ends the model's text");
  }
  // Negative ids become ids beyond every vocabulary, which the crate refuses.
  const std::vector<std::uint32_t> stops(stop_ids.begin(), stop_ids.end());
  auto handle = std::make_shared<Handle>();
  qt_bytes error{};
  check(qt_grammar_compile(tokenizer.data_->vocabulary(), kind, bytes_of(source), source.size(),
                           stops.data(), stops.size(), &handle->grammar, &error),
        error, what_of(kind));
  Grammar result;
  result.handle_ = std::move(handle);
  result.vocab_size_ = tokenizer.vocab_size();
  return result;
}

Grammar Grammar::from_json_schema(const Tokenizer& tokenizer, std::string_view schema,
                                  std::span<const std::int32_t> stop_ids) {
  return compile(tokenizer, QT_GRAMMAR_JSON_SCHEMA, schema, stop_ids);
}

Grammar Grammar::from_regex(const Tokenizer& tokenizer, std::string_view pattern,
                            std::span<const std::int32_t> stop_ids) {
  return compile(tokenizer, QT_GRAMMAR_REGEX, pattern, stop_ids);
}

Grammar Grammar::from_lark(const Tokenizer& tokenizer, std::string_view grammar,
                           std::span<const std::int32_t> stop_ids) {
  return compile(tokenizer, QT_GRAMMAR_LARK, grammar, stop_ids);
}

struct GrammarMatcher::Handle {
  qt_matcher* matcher = nullptr;
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { qt_matcher_free(matcher); }
};

GrammarMatcher::GrammarMatcher(const Grammar& grammar) : handle_(std::make_unique<Handle>()) {
  qt_bytes error{};
  check(qt_matcher_new(grammar.handle_->grammar, &handle_->matcher, &error), error, kStep);
}

GrammarMatcher::GrammarMatcher(const GrammarMatcher& other) : handle_(std::make_unique<Handle>()) {
  qt_bytes error{};
  check(qt_matcher_copy(other.handle_->matcher, &handle_->matcher, &error), error, kStep);
}

GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;

GrammarMatcher& GrammarMatcher::operator=(GrammarMatcher other) noexcept {
  handle_ = std::move(other.handle_);
  return *this;
}

GrammarMatcher::~GrammarMatcher() = default;

void GrammarMatcher::mask(std::span<std::uint32_t> words) {
  qt_bytes error{};
  check(qt_matcher_mask(handle_->matcher, words.data(), words.size(), &error), error, kStep);
}

bool GrammarMatcher::accept(std::int32_t id) {
  bool accepted = false;
  qt_bytes error{};
  check(qt_matcher_accept(handle_->matcher, static_cast<std::uint32_t>(id), &accepted, &error),
        error, kStep);
  return accepted;
}

void GrammarMatcher::rollback(std::size_t tokens) {
  qt_bytes error{};
  check(qt_matcher_rollback(handle_->matcher, tokens, &error), error, kStep);
}

bool GrammarMatcher::is_finished() const noexcept {
  return qt_matcher_is_finished(handle_->matcher);
}

bool GrammarMatcher::may_stop() {
  bool may_stop = false;
  qt_bytes error{};
  check(qt_matcher_may_stop(handle_->matcher, &may_stop, &error), error, kStep);
  return may_stop;
}

}  // namespace quiver::text
