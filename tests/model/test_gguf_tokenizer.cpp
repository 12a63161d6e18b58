// Tokenizers rebuilt from GGUF vocabularies.
#include "core/model/gguf_tokenizer.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "core/model/gguf_vocabulary.hpp"
#include "tests/model/wagon_family.hpp"
#include "tests/tensor/refusal.hpp"

namespace quiver::test {
namespace {

using Json = nlohmann::ordered_json;

quiver::RebuiltTokenizer rebuilt(const GgufWriter& writer) {
  return quiver::rebuild_tokenizer(*GgufImage(writer), WagonGguf());
}

/// Twenty pieces with ties between their scores.
GgufWriter pieces() {
  return wagon_keys()
      .text("tokenizer.ggml.model", "pieces")
      .remove("tokenizer.ggml.pre")
      .remove("tokenizer.ggml.merges")
      .texts("tokenizer.ggml.tokens", {"<unk>",
                                       "<s>",
                                       "</s>",
                                       "<0x41>",
                                       "a",
                                       "b",
                                       "\xC3\xA9",
                                       "ab",
                                       "ba",
                                       "aa",
                                       "aab",
                                       "\xC3\xA9"
                                       "a",
                                       "a\xC3\xA9"
                                       "a",
                                       "abab",
                                       "aba",
                                       "bab",
                                       "\xE2\x96\x81",
                                       "\xE2\x96\x81"
                                       "a",
                                       "\xE2\x96\x81"
                                       "ab",
                                       "aaa"})
      .i32s("tokenizer.ggml.token_type",
            {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1})
      .f32s("tokenizer.ggml.scores",
            {0, 0, 0, 0, -10, -11, -12, -1, -2, -2, -3, -4, -4, -5, -5, -5, -9, -0.5F, -0.5F, -3})
      .u32("tokenizer.ggml.bos_token_id", 1)
      .u32("tokenizer.ggml.eos_token_id", 2)
      .u32("tokenizer.ggml.unknown_token_id", 0);
}

TEST(GgufTokenizer, ByteLevelFilesBecomeTheDocumentThatTheyCameFrom) {
  EXPECT_EQ(rebuilt(wagon_keys()).tokenizer, Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [
      {"id": 3, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true},
      {"id": 4, "content": "<tool>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                      "use_regex": true},
    "post_processor": null,
    "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null,
              "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
              "byte_fallback": false, "ignore_merges": false,
              "vocab": {"a": 0, "b": 1, "ab": 2, "<end>": 3, "<tool>": 4, "[PAD5]": 5},
              "merges": [["a", "b"]]}})"));
}

TEST(GgufTokenizer, EveryFlagOfAPretokenizerIsWritten) {
  const auto json =
      rebuilt(wagon_keys().text("tokenizer.ggml.pre", "all").u32("tokenizer.ggml.bos_token_id", 0))
          .tokenizer;
  EXPECT_EQ(json["normalizer"], Json::parse(R"({"type": "NFC"})"));
  EXPECT_EQ(json["pre_tokenizer"], Json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true},
      {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated", "invert": false},
      {"type": "Split", "pattern": {"Regex": "b|c"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
       "use_regex": false}]})"));
  EXPECT_EQ(json["model"]["ignore_merges"], true);
  EXPECT_EQ(json["post_processor"]["single"], Json::parse(R"([
      {"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}])"));
}

TEST(GgufTokenizer, TextsBeginAndEndAsTheFileSays) {
  const auto tokenizer = rebuilt(wagon_keys()
                                     .u32("tokenizer.ggml.bos_token_id", 0)
                                     .flag("tokenizer.ggml.add_bos_token", true)
                                     .flag("tokenizer.ggml.add_eos_token", true));
  EXPECT_EQ(tokenizer.tokenizer["post_processor"], Json::parse(R"({
      "type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "a", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "<end>", "type_id": 0}}],
      "pair": [{"SpecialToken": {"id": "a", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "<end>", "type_id": 0}},
               {"SpecialToken": {"id": "a", "type_id": 1}},
               {"Sequence": {"id": "B", "type_id": 1}},
               {"SpecialToken": {"id": "<end>", "type_id": 1}}],
      "special_tokens": {"a": {"id": "a", "ids": [0], "tokens": ["a"]},
                         "<end>": {"id": "<end>", "ids": [3], "tokens": ["<end>"]}}})"));
  EXPECT_EQ(tokenizer.config["add_bos_token"], true);
  EXPECT_EQ(tokenizer.config["add_eos_token"], true);
}

TEST(GgufTokenizer, TheFileOutranksThePretokenizer) {
  const auto json = rebuilt(wagon_keys()
                                .text("tokenizer.ggml.pre", "all")
                                .u32("tokenizer.ggml.bos_token_id", 0)
                                .flag("tokenizer.ggml.add_bos_token", false))
                        .tokenizer;
  EXPECT_TRUE(json["post_processor"].is_null());
}

TEST(GgufTokenizer, ABeginningWithoutATokenIsRefusedWhereTheFileAsksForIt) {
  EXPECT_TRUE(rebuilt(wagon_keys().text("tokenizer.ggml.pre", "all"))
                  .tokenizer["post_processor"]
                  .is_null());
  expect_refused([] { rebuilt(wagon_keys().flag("tokenizer.ggml.add_bos_token", true)); },
                 "no key 'tokenizer.ggml.bos_token_id'");
  expect_refused(
      [] {
        rebuilt(wagon_keys()
                    .flag("tokenizer.ggml.add_eos_token", true)
                    .remove("tokenizer.ggml.eos_token_id"));
      },
      "no key 'tokenizer.ggml.eos_token_id'");
}

TEST(GgufTokenizer, WhatEndsATextIsSpecialWhateverItsType) {
  const auto json = rebuilt(wagon_keys().u32("tokenizer.ggml.eos_token_id", 2)).tokenizer;
  EXPECT_EQ(json["added_tokens"][0]["content"], "ab");
  EXPECT_EQ(json["added_tokens"][0]["special"], true);
}

TEST(GgufTokenizer, PiecesBecomeASentencePieceTokenizer) {
  const auto tokenizer = rebuilt(pieces());
  const Json& json = tokenizer.tokenizer;
  EXPECT_EQ(json["normalizer"], Json::parse(R"({"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})"));
  EXPECT_TRUE(json["pre_tokenizer"].is_null());
  EXPECT_EQ(json["decoder"], Json::parse(R"({"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})"));
  EXPECT_EQ(json["model"]["unk_token"], "<unk>");
  EXPECT_EQ(json["model"]["fuse_unk"], true);
  EXPECT_EQ(json["model"]["byte_fallback"], true);
  EXPECT_EQ(json["added_tokens"].size(), 3U);
  EXPECT_EQ(json["added_tokens"][0]["content"], "<unk>");
  EXPECT_EQ(json["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");
  EXPECT_EQ(tokenizer.config["add_bos_token"], true);
  EXPECT_EQ(tokenizer.config["unk_token"], "<unk>");
}

TEST(GgufTokenizer, NoSpaceIsPutInFrontWhereTheFileForbidsIt) {
  const auto json = rebuilt(pieces().flag("tokenizer.ggml.add_space_prefix", false)).tokenizer;
  EXPECT_EQ(json["normalizer"]["normalizers"].size(), 1U);
  EXPECT_EQ(json["normalizer"]["normalizers"][0]["type"], "Replace");
  EXPECT_EQ(json["decoder"]["decoders"].size(), 3U);
}

TEST(GgufTokenizer, MergesFollowFromScores) {
  // Computed from the same pieces by generate_merges of transformers 5.23.
  const std::vector<quiver::Merge> expected = {
      {17, 5}, {16, 7}, {16, 4}, {4, 5}, {5, 4}, {4, 4}, {9, 5},  {9, 4}, {4, 7}, {4, 9},
      {4, 11}, {6, 4},  {14, 5}, {7, 7}, {7, 4}, {8, 5}, {4, 15}, {4, 8}, {5, 7}};
  const GgufImage image(pieces());
  EXPECT_EQ(quiver::merges_from_scores(*image, quiver::GgufVocabulary(*image, true)), expected);
}

TEST(GgufTokenizer, SpacesInPiecesAreSpelledVisibly) {
  const GgufImage image(wagon_keys()
                            .text("tokenizer.ggml.model", "pieces")
                            .texts("tokenizer.ggml.tokens", {"\xE2\x96\x81", "  ", "a b"})
                            .i32s("tokenizer.ggml.token_type", {1, 4, 1})
                            .f32s("tokenizer.ggml.scores", {0, 0, 0}));
  const quiver::GgufVocabulary vocabulary(*image, true);
  EXPECT_EQ(vocabulary[1].text, "\xE2\x96\x81\xE2\x96\x81");
  EXPECT_EQ(vocabulary.find("a\xE2\x96\x81"
                            "b"),
            2);
  EXPECT_EQ(quiver::merges_from_scores(*image, vocabulary), (std::vector<quiver::Merge>{{0, 0}}));
  EXPECT_EQ(quiver::GgufVocabulary(*image, false).find("a b"), 2);
}

TEST(GgufTokenizer, UnknownKindsAreRefusedWithTheKnownOnes) {
  expect_refused([] { rebuilt(wagon_keys().text("tokenizer.ggml.model", "runes")); },
                 "the tokenizer kind 'runes' cannot be rebuilt");
  expect_refused([] { rebuilt(wagon_keys().text("tokenizer.ggml.model", "runes")); },
                 "known are bytes, pieces");
  expect_refused([] { rebuilt(wagon_keys().text("tokenizer.ggml.pre", "strange")); },
                 "the pre-tokenizer 'strange' cannot be rebuilt");
  expect_refused([] { rebuilt(wagon_keys().text("tokenizer.ggml.pre", "strange")); },
                 "known are plain, all");
}

TEST(GgufTokenizer, ListsThatDoNotFitTogetherAreRefused) {
  expect_refused(
      [] {
        rebuilt(wagon_keys().i32s("tokenizer.ggml.token_type", {1, 1}));
      },
      "6 tokens and types for 2");
  expect_refused(
      [] {
        rebuilt(wagon_keys().i32s("tokenizer.ggml.token_type", {1, 1, 1, 3, 4, 9}));
      },
      "token 5 has the unknown type 9");
  expect_refused([] { rebuilt(pieces().f32s("tokenizer.ggml.scores", {1})); },
                 "20 tokens and scores for 1");
  expect_refused([] { rebuilt(pieces().remove("tokenizer.ggml.scores")); },
                 "tokenizer.ggml.scores");
  expect_refused([] { rebuilt(wagon_keys().texts("tokenizer.ggml.tokens", {})); }, "no tokens");
  expect_refused([] { rebuilt(wagon_keys().u32("tokenizer.ggml.tokens", 5)); },
                 "'tokenizer.ggml.tokens'");
}

TEST(GgufTokenizer, MergesOfUnknownTokensAreRefused) {
  for (const char* merge : {"a", "a ", " a", "a c", "b a", "", "a b c", "\x01 b"}) {
    expect_refused(
        [&] {
          rebuilt(wagon_keys().texts("tokenizer.ggml.merges", {"a b", merge}));
        },
        "does not join two tokens to a third");
  }
}

TEST(GgufTokenizer, TextsThatAreNotUtf8AreRefused) {
  const std::vector<std::int32_t> types = {1, 3};
  for (const char* text : {"\xFF", "\xC3", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC0\x80"}) {
    expect_refused(
        [&] {
          rebuilt(wagon_keys()
                      .texts("tokenizer.ggml.tokens", {text, "<end>"})
                      .i32s("tokenizer.ggml.token_type", types)
                      .u32("tokenizer.ggml.eos_token_id", 1));
        },
        "token 0 is not UTF-8");
  }
  expect_refused([] { rebuilt(wagon_keys().text("tokenizer.chat_template", "\xFF")); },
                 "the chat template is not UTF-8");
}

TEST(GgufTokenizer, HugePiecesAreRefused) {
  auto writer = wagon_keys();
  writer.texts("tokenizer.ggml.tokens", {std::string(1025, 'a'), "b"})
      .i32s("tokenizer.ggml.token_type", {1, 1})
      .u32("tokenizer.ggml.eos_token_id", 1);
  expect_refused([&] { rebuilt(writer); }, "token 0 is longer than 1024 bytes");
}

TEST(GgufTokenizer, ScoresThatCannotBeOrderedAreRefused) {
  auto writer = pieces();
  std::vector<float> scores(20, -1);
  scores[7] = NAN;
  writer.f32s("tokenizer.ggml.scores", scores);
  expect_refused([&] { rebuilt(writer); }, "the score of token 7 is not a finite number");
}

TEST(GgufTokenizer, RepeatedTokensAreLeftOutAndReported) {
  const auto tokenizer =
      rebuilt(wagon_keys().texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<end>", "<end>", "a"}));
  EXPECT_EQ(tokenizer.tokenizer["model"]["vocab"],
            Json::parse(R"({"a": 0, "b": 1, "ab": 2, "<end>": 3})"));
  EXPECT_EQ(tokenizer.tokenizer["added_tokens"].size(), 1U);
  EXPECT_THAT(tokenizer.warnings, testing::ElementsAre(testing::HasSubstr("2 tokens repeat")));
}

TEST(GgufTokenizer, TheConfigNamesTokensAndTemplate) {
  const auto tokenizer = rebuilt(wagon_keys()
                                     .u32("tokenizer.ggml.padding_token_id", 5)
                                     .u32("tokenizer.ggml.unknown_token_id", 4)
                                     .text("tokenizer.chat_template", "{{ x }}")
                                     .texts("tokenizer.chat_templates", {"tool_use"}));
  EXPECT_EQ(tokenizer.config, nlohmann::json::parse(R"({
      "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
      "add_bos_token": false, "add_eos_token": false, "eos_token": "<end>",
      "pad_token": "[PAD5]", "unk_token": "<tool>", "model_max_length": 512,
      "chat_template": "{{ x }}"})"));
  EXPECT_EQ(tokenizer.chat_template, "{{ x }}");
  EXPECT_THAT(tokenizer.warnings, testing::ElementsAre(testing::HasSubstr("chat templates")));
}

}  // namespace
}  // namespace quiver::test
