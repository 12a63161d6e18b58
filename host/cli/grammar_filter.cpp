// The options that hold a text to a grammar, and the filter that does it.
#include "host/cli/grammar_filter.hpp"

#include "core/text/grammar.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>

#include <limits>
#include <string>
#include <vector>

namespace quiver::cli {
namespace {

class GrammarFilter : public TokenFilter {
 public:
  explicit GrammarFilter(const text::Grammar& grammar)
      : matcher_(grammar), mask_(grammar.mask_words()) {}

  void apply(std::span<float> logits) override {
    matcher_.mask(mask_);
    for (std::size_t id = 0; id < logits.size(); ++id) {
      // A model may have more rows than its tokenizer has tokens.
      const bool is_allowed = id / 32 < mask_.size() && (mask_[id / 32] >> (id % 32) & 1U) != 0;
      if (!is_allowed) logits[id] = -std::numeric_limits<float>::infinity();
    }
  }

  void accept(std::int32_t token) override {
    if (matcher_.accept(token)) return;
    throw Error(ErrorCode::plugin,
                fmt::format("a sampler chose token {}, which was ruled out", token), "sampling",
                "remove it from the chain, or report it to its author");
  }

  bool is_finished() const override { return matcher_.is_finished(); }

  bool can_roll_back() const override { return true; }
  void roll_back(std::size_t tokens) override { matcher_.rollback(tokens); }
  bool allows(std::int32_t token) override {
    matcher_.mask(mask_);
    const auto id = static_cast<std::size_t>(token);
    return id / 32 < mask_.size() && (mask_[id / 32] >> (id % 32) & 1U) != 0;
  }

 private:
  text::GrammarMatcher matcher_;
  std::vector<std::uint32_t> mask_;
};

/// Ids that end a text, as far as the tokenizer knows them.
std::vector<std::int32_t> stop_ids(const ModelText& text) {
  std::vector<std::int32_t> ids;
  for (const std::int32_t id : text.end_ids()) {
    if (id < text.size()) ids.push_back(id);
  }
  if (!ids.empty()) return ids;
  throw Error(ErrorCode::bad_input, "the model names no token that ends a text", "eos_token_id",
              "add it to generation_config.json; grammars need one");
}

}  // namespace

void check_grammar_options(const Arguments& arguments) {
  arguments.require_one_of({"json-schema", "regex", "grammar"}, true);
}

std::unique_ptr<TokenFilter> make_grammar_filter(const Arguments& arguments,
                                                 const TextEngine& engine) {
  const auto make = [&](const char* option, auto compile,
                        bool is_file) -> std::unique_ptr<TokenFilter> {
    const ModelText& text = engine.require_text();
    const std::string value = arguments.text(option);
    const std::string source = is_file ? read_text(value) : value;
    return std::make_unique<GrammarFilter>(compile(text.tokenizer(), source, stop_ids(text)));
  };
  if (arguments.has("json-schema"))
    return make("json-schema", text::Grammar::from_json_schema, true);
  if (arguments.has("regex")) return make("regex", text::Grammar::from_regex, false);
  if (arguments.has("grammar")) return make("grammar", text::Grammar::from_lark, true);
  return nullptr;
}

}  // namespace quiver::cli
