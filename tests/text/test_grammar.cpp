// Grammars: masks against acceptance, texts against what the grammar says, sources that cannot be.
#include "core/text/grammar.hpp"

#include <algorithm>
#include <random>

#include "tests/text/text_test.hpp"

namespace quiver::text {
namespace {

using nlohmann::json;
using test::shared;

const std::vector<std::int32_t> kStops = {1, 6};

const Tokenizer& tokenizer() {
  static const auto value = Tokenizer::load_folder(shared("reference/gemma4/tokenizer/checkpoint"));
  return value;
}

bool is_set(const std::vector<std::uint32_t>& mask, std::int32_t id) {
  const auto at = static_cast<std::uint32_t>(id);
  return (mask[at / 32] >> (at % 32) & 1U) != 0;
}

std::vector<std::int32_t> allowed(GrammarMatcher& matcher, const Grammar& grammar) {
  std::vector<std::uint32_t> mask(grammar.mask_words());
  matcher.mask(mask);
  std::vector<std::int32_t> ids;
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(tokenizer().vocab_size()); ++id) {
    if (is_set(mask, id)) ids.push_back(id);
  }
  return ids;
}

bool is_stop(std::int32_t id) {
  return id == kStops[0] || id == kStops[1];
}

/// A text that the grammar allows, with tokens chosen at random.
std::string random_text(const Grammar& grammar, unsigned seed, int max_tokens) {
  std::mt19937 random(seed);
  GrammarMatcher matcher(grammar);
  std::string text;
  for (int i = 0; i < max_tokens && !matcher.is_finished(); ++i) {
    const auto ids = allowed(matcher, grammar);
    if (ids.empty()) throw std::runtime_error("nothing is allowed after " + text);
    const std::int32_t id = ids[random() % ids.size()];
    EXPECT_TRUE(matcher.accept(id));
    if (!is_stop(id)) text += tokenizer().piece(id);
  }
  EXPECT_TRUE(matcher.is_finished()) << text;
  return text;
}

const char* const kSchema = R"({
  "type": "object",
  "properties": {
    "name": {"type": "string", "maxLength": 4},
    "age": {"type": "integer", "minimum": 0, "maximum": 99},
    "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    "pet": {"oneOf": [{"type": "null"}, {"type": "boolean"}]}
  },
  "required": ["name", "age", "tags", "pet"],
  "additionalProperties": false
})";

TEST(Grammar, texts_of_a_schema_are_valid_under_it) {
  const auto grammar = Grammar::from_json_schema(tokenizer(), kSchema, kStops);
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::string text = random_text(grammar, seed, 2000);
    const json value = json::parse(text, nullptr, false);
    ASSERT_TRUE(value.is_object()) << text;
    EXPECT_EQ(value.size(), 4U);
    EXPECT_TRUE(value["name"].is_string());
    EXPECT_TRUE(value["age"].is_number_integer());
    EXPECT_GE(value["age"].get<int>(), 0);
    EXPECT_LE(value["age"].get<int>(), 99);
    EXPECT_LE(value["tags"].size(), 2U);
    for (const auto& tag : value["tags"]) EXPECT_TRUE(tag == "a" || tag == "b");
    EXPECT_TRUE(value["pet"].is_null() || value["pet"].is_boolean());
  }
}

TEST(Grammar, whitespace_between_json_tokens_is_bounded) {
  const auto grammar = Grammar::from_json_schema(tokenizer(), R"({"type": "object"})", kStops);
  GrammarMatcher matcher(grammar);
  const auto brace = tokenizer().encode("{", false);
  ASSERT_EQ(brace.size(), 1U);
  ASSERT_TRUE(matcher.accept(brace[0]));
  const auto newline = tokenizer().id("\n");
  ASSERT_TRUE(newline.has_value());
  int count = 0;
  while (count < 1000 && matcher.accept(*newline)) ++count;
  EXPECT_EQ(count, 64);
  std::vector<std::uint32_t> mask(grammar.mask_words());
  matcher.mask(mask);
  EXPECT_FALSE(is_set(mask, *newline));
  matcher.rollback(1);
  matcher.mask(mask);
  EXPECT_TRUE(is_set(mask, *newline));
}

TEST(Grammar, a_mask_holds_exactly_the_tokens_that_are_accepted) {
  const auto grammar = Grammar::from_json_schema(tokenizer(), kSchema, kStops);
  std::mt19937 random(2);
  GrammarMatcher matcher(grammar);
  for (int step = 0; step < 25 && !matcher.is_finished(); ++step) {
    std::vector<std::uint32_t> mask(grammar.mask_words() + 3, 0xFFFFFFFF);
    matcher.mask(mask);
    std::vector<std::int32_t> ids;
    for (std::int32_t id = 0; id < static_cast<std::int32_t>(32 * mask.size()); ++id) {
      GrammarMatcher copy = matcher;
      ASSERT_EQ(copy.accept(id), is_set(mask, id)) << "token " << id << " in step " << step;
      if (is_set(mask, id)) ids.push_back(id);
    }
    ASSERT_FALSE(ids.empty());
    ASSERT_TRUE(matcher.accept(ids[random() % ids.size()]));
  }
}

TEST(Grammar, tokens_with_the_same_bytes_are_allowed_alike) {
  const auto grammar = Grammar::from_regex(tokenizer(), "a+", kStops);
  GrammarMatcher matcher(grammar);
  std::vector<std::uint32_t> mask(grammar.mask_words());
  matcher.mask(mask);
  EXPECT_TRUE(is_set(mask, *tokenizer().id("a")));
  EXPECT_TRUE(is_set(mask, *tokenizer().id("<0x61>")));
  EXPECT_FALSE(is_set(mask, *tokenizer().id("<0x62>")));
}

/// Whether all of `text` is (yes|no|[0-9]{2,4}(-[a-f]+)?)!
bool matches(std::string_view text) {
  if (!text.ends_with('!')) return false;
  text.remove_suffix(1);
  if (text == "yes" || text == "no") return true;
  const std::size_t digits = std::min(text.find('-'), text.size());
  if (digits < 2 || digits > 4) return false;
  const auto only = [](std::string_view part, std::string_view letters) {
    return part.find_first_not_of(letters) == std::string_view::npos;
  };
  if (!only(text.substr(0, digits), "0123456789")) return false;
  return digits == text.size() ||
         (digits + 1 < text.size() && only(text.substr(digits + 1), "abcdef"));
}

TEST(Grammar, texts_of_a_pattern_match_it) {
  const auto grammar = Grammar::from_regex(tokenizer(), "(yes|no|[0-9]{2,4}(-[a-f]+)?)!", kStops);
  for (unsigned seed = 0; seed < 30; ++seed) {
    const std::string text = random_text(grammar, seed, 500);
    EXPECT_TRUE(matches(text)) << text;
  }
}

TEST(Grammar, a_lark_grammar_may_name_special_tokens_but_text_never_is_one) {
  const auto grammar = Grammar::from_lark(tokenizer(), "start: <|turn> /(.|\\n)*/", kStops);
  GrammarMatcher matcher(grammar);
  const auto first = allowed(matcher, grammar);
  ASSERT_EQ(first, std::vector<std::int32_t>{*tokenizer().id("<|turn>")});
  ASSERT_TRUE(matcher.accept(first[0]));
  for (const std::int32_t id : allowed(matcher, grammar)) {
    EXPECT_TRUE(is_stop(id) || !tokenizer().is_special(id)) << *tokenizer().token(id);
  }
}

TEST(Grammar, any_stop_token_ends_the_text_where_it_may_end) {
  const auto grammar = Grammar::from_regex(tokenizer(), "ab*", kStops);
  GrammarMatcher matcher(grammar);
  EXPECT_FALSE(matcher.may_stop());
  EXPECT_FALSE(matcher.accept(kStops[0]));
  ASSERT_TRUE(matcher.accept(*tokenizer().id("a")));
  EXPECT_TRUE(matcher.may_stop());
  EXPECT_FALSE(matcher.is_finished());
  for (const std::int32_t stop : kStops) {
    GrammarMatcher copy = matcher;
    EXPECT_TRUE(copy.accept(stop));
    EXPECT_TRUE(copy.is_finished());
    EXPECT_FALSE(copy.accept(*tokenizer().id("b")));
    EXPECT_EQ(allowed(copy, grammar), kStops);
    copy.rollback(1);
    EXPECT_FALSE(copy.is_finished());
    EXPECT_TRUE(copy.accept(*tokenizer().id("b")));
  }
}

TEST(Grammar, is_finished_when_nothing_can_follow) {
  const auto grammar = Grammar::from_regex(tokenizer(), "a", kStops);
  GrammarMatcher matcher(grammar);
  ASSERT_TRUE(matcher.accept(*tokenizer().id("a")));
  EXPECT_TRUE(matcher.is_finished());
  EXPECT_TRUE(matcher.may_stop());
  EXPECT_EQ(allowed(matcher, grammar), kStops);
}

TEST(Grammar, rollback_restores_every_earlier_mask) {
  const auto grammar = Grammar::from_json_schema(tokenizer(), kSchema, kStops);
  std::mt19937 random(9);
  GrammarMatcher matcher(grammar);
  std::vector<std::vector<std::int32_t>> masks;
  for (int i = 0; i < 40 && !matcher.is_finished(); ++i) {
    masks.push_back(allowed(matcher, grammar));
    ASSERT_TRUE(matcher.accept(masks.back()[random() % masks.back().size()]));
  }
  while (!masks.empty()) {
    const std::size_t tokens = std::min<std::size_t>(1 + random() % 4, masks.size());
    matcher.rollback(tokens);
    masks.resize(masks.size() - tokens + 1);
    EXPECT_EQ(allowed(matcher, grammar), masks.back());
    masks.pop_back();
  }
  EXPECT_TRUE(test::error_of([&] { matcher.rollback(1); }).has_value());
}

TEST(Grammar, refuses_sources_that_cannot_be_followed) {
  for (const char* schema :
       {"", "{", "3", R"({"type": "foo"})", R"({"not": {"type": "string"}})", R"({"$ref": "#"})",
        "false", R"({"$ref": "http://example.com/schema"})",
        R"({"type": "array", "minItems": 1000000000})", R"({"type": "string", "pattern": "("})",
        R"({"type": "integer", "minimum": 3, "maximum": 2})"}) {
    EXPECT_BAD_INPUT(Grammar::from_json_schema(tokenizer(), schema, kStops));
  }
  for (const char* pattern : {"(a", "(?=a)b", "(a)\\1", "[^\\s\\S]", "\xFF"}) {
    EXPECT_BAD_INPUT(Grammar::from_regex(tokenizer(), pattern, kStops));
  }
  for (const char* lark : {"", "start: foo", "start: \"a", "start: A\nA: B\nB: A",
                           "start: %json {\"type\": \"array\", \"maxItems\": 1000000000}"}) {
    EXPECT_BAD_INPUT(Grammar::from_lark(tokenizer(), lark, kStops));
  }
  EXPECT_BAD_INPUT(Grammar::from_regex(tokenizer(), std::string(1 << 20, 'a'), kStops));
  EXPECT_BAD_INPUT(Grammar::from_regex(tokenizer(), std::string(20000, '('), kStops));
}

TEST(Grammar, refuses_grammars_that_grow_without_end_while_they_are_followed) {
  const auto grammar =
      Grammar::from_regex(tokenizer(), "((a{0,99}){0,99}){0,99}(a|b)*a(a|b){90}c", kStops);
  const std::int32_t letters[] = {*tokenizer().id("a"), *tokenizer().id("b")};
  std::mt19937 random(1);
  GrammarMatcher matcher(grammar);
  const auto error = test::error_of([&] {
    for (int i = 0; i < 100000; ++i) (void)matcher.accept(letters[random() % 2]);
  });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::bad_input) << error->what();
}

TEST(Grammar, refuses_stop_tokens_that_do_not_exist_and_masks_that_are_too_small) {
  const std::vector<std::int32_t> beyond = {379};
  const std::vector<std::int32_t> negative = {-1};
  EXPECT_BAD_INPUT(Grammar::from_regex(tokenizer(), "a", beyond));
  EXPECT_BAD_INPUT(Grammar::from_regex(tokenizer(), "a", negative));
  EXPECT_EQ(test::error_of([] { (void)Grammar::from_regex(tokenizer(), "a", {}); })->code(),
            ErrorCode::usage);
  const auto grammar = Grammar::from_regex(tokenizer(), "a", kStops);
  GrammarMatcher matcher(grammar);
  std::vector<std::uint32_t> mask(grammar.mask_words() - 1);
  EXPECT_TRUE(test::error_of([&] { matcher.mask(mask); }).has_value());
}

TEST(Grammar, outlives_the_tokenizer_it_was_made_for) {
  auto grammar = [] {
    const auto local = Tokenizer::load_folder(shared("reference/gemma4/tokenizer/checkpoint"));
    return Grammar::from_regex(local, "a|b", kStops);
  }();
  GrammarMatcher matcher(grammar);
  grammar = Grammar::from_regex(tokenizer(), "x", kStops);
  EXPECT_TRUE(matcher.accept(*tokenizer().id("a")));
}

}  // namespace
}  // namespace quiver::text
