// Tokenizers against the reference package, and files that lie.
#include "core/text/tokenizer.hpp"

#include <algorithm>
#include <random>
#include <thread>

#include "core/text/utf8.hpp"
#include "tests/text/text_test.hpp"

namespace quiver::text {
namespace {

using nlohmann::ordered_json;
using test::expected;
using test::shared;

const char* const kFallback = "reference/gemma4/tokenizer/checkpoint";
const char* const kByteLevel = "models/qwen3_5-tiny-real";

ordered_json small_file() {
  return ordered_json::parse(test::read_file(shared(kFallback) / "tokenizer.json"));
}

TEST(Tokenizer, encodes_and_decodes_as_the_reference_package) {
  for (const auto& file : expected()["encodings"]) {
    const auto tokenizer = Tokenizer::load_folder(shared(file["folder"]));
    for (const auto& one : file["cases"]) {
      const auto ids = tokenizer.encode(one["text"].get<std::string>(), true);
      EXPECT_EQ(ordered_json(ids), one["ids"]) << one["text"];
      EXPECT_EQ(tokenizer.decode(ids, false), one["decoded"].get<std::string>()) << one["text"];
      EXPECT_EQ(tokenizer.decode(ids, true), one["plain"].get<std::string>()) << one["text"];
    }
  }
}

TEST(Tokenizer, matches_the_recorded_cases_with_and_without_special_tokens) {
  const auto recorded =
      ordered_json::parse(test::read_file(shared("reference/gemma4/tokenizer/expected.json")));
  const auto tokenizer = Tokenizer::load_folder(shared(kFallback));
  for (const auto& one : recorded["cases"]) {
    const std::string text = one["text"];
    EXPECT_EQ(ordered_json(tokenizer.encode(text, true)), one["ids"]) << text;
    EXPECT_EQ(ordered_json(tokenizer.encode(text, false)), one["ids_no_special"]) << text;
    const std::vector<std::int32_t> ids = one["ids"];
    EXPECT_EQ(tokenizer.decode(ids, true), one["decoded_skip_special"].get<std::string>());
  }
  for (const auto& one : recorded["single_token_decode"]) {
    for (std::size_t i = 0; i < one["ids"].size(); ++i) {
      const std::vector<std::int32_t> id = {one["ids"][i]};
      EXPECT_EQ(tokenizer.decode(id, false), one["each"][i].get<std::string>());
      EXPECT_EQ(utf8_lossy(tokenizer.piece(id[0])), one["each"][i].get<std::string>());
    }
  }
}

TEST(Tokenizer, pieces_joined_are_the_bytes_of_the_text) {
  const std::string text = "  Grüße, 你好 😀!\n\tend";
  for (const char* folder : {kFallback, kByteLevel}) {
    const auto tokenizer = Tokenizer::load_folder(shared(folder));
    std::string joined;
    for (const std::int32_t id : tokenizer.encode(text, false)) joined += tokenizer.piece(id);
    EXPECT_EQ(joined, text);
  }
}

TEST(Tokenizer, tells_tokens_ids_and_roles) {
  const auto tokenizer = Tokenizer::load_folder(shared(kFallback));
  EXPECT_EQ(tokenizer.vocab_size(), 379U);
  EXPECT_EQ(tokenizer.id("<bos>"), 2);
  EXPECT_EQ(tokenizer.token(2), "<bos>");
  EXPECT_EQ(tokenizer.piece(2), "<bos>");
  EXPECT_EQ(tokenizer.special_id("eos_token"), 1);
  EXPECT_EQ(tokenizer.special_id("cls_token"), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(2));
  const auto byte = tokenizer.id("<0x0A>");
  ASSERT_TRUE(byte.has_value());
  EXPECT_EQ(tokenizer.piece(*byte), "\n");
  EXPECT_FALSE(tokenizer.is_special(*byte));
  EXPECT_EQ(tokenizer.id("no such token"), std::nullopt);
  for (const std::int32_t id : {-1, 379, 2147483647, -2147483647 - 1}) {
    EXPECT_EQ(tokenizer.token(id), std::nullopt);
    EXPECT_EQ(tokenizer.piece(id), "");
    EXPECT_FALSE(tokenizer.is_special(id));
    EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{id}, false), "");
  }
}

TEST(Tokenizer, ignores_truncation_and_padding) {
  auto file = small_file();
  file["truncation"] = {
      {"max_length", 1}, {"strategy", "LongestFirst"}, {"stride", 0}, {"direction", "Right"}};
  file["padding"] = {{"strategy", {{"Fixed", 1000000000000000}}},
                     {"direction", "Right"},
                     {"pad_to_multiple_of", nullptr},
                     {"pad_id", 0},
                     {"pad_type_id", 0},
                     {"pad_token", "<pad>"}};
  const auto plain = Tokenizer::load_folder(shared(kFallback));
  EXPECT_EQ(Tokenizer::from_json(file.dump()).encode("Hello world", true),
            plain.encode("Hello world", true));
}

TEST(Tokenizer, refuses_text_that_is_no_utf8) {
  const auto tokenizer = Tokenizer::load_folder(shared(kByteLevel));
  EXPECT_BAD_INPUT(tokenizer.encode("a\xFF", true));
}

TEST(Tokenizer, can_be_used_by_several_threads_at_a_time) {
  const auto tokenizer = Tokenizer::load_folder(shared(kByteLevel));
  const std::string text = "The following example shows how to use the timestamp 12:34.";
  const auto ids = tokenizer.encode(text, true);
  std::vector<int> equal(4, 0);
  std::vector<std::thread> threads;
  for (int& count : equal) {
    threads.emplace_back([&, copy = tokenizer] {
      for (int i = 0; i < 50; ++i) {
        count += copy.encode(text, true) == ids && copy.decode(ids, true) == text ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>(4, 50));
}

TEST(Tokenizer, refuses_a_file_cut_anywhere) {
  const std::string file = test::read_file(shared(kFallback) / "tokenizer.json");
  for (std::size_t size = 0; size + 2 < file.size(); size += 1 + size / 16) {
    EXPECT_BAD_INPUT(Tokenizer::from_json(std::string_view(file).substr(0, size)));
  }
}

TEST(Tokenizer, refuses_files_with_absurd_content) {
  const auto with = [](const char* key, const char* value) {
    auto file = small_file();
    file[key] = ordered_json::parse(value);
    return file.dump();
  };
  std::string doubling = R"({"type": "Sequence", "normalizers": [)";
  for (int i = 0; i < 64; ++i) {
    doubling += R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"},)";
  }
  doubling.back() = ']';
  doubling += "}";
  std::string copies = R"({"type": "TemplateProcessing", "special_tokens": {}, "single": [)";
  for (int i = 0; i < 50; ++i) copies += R"({"Sequence": {"id": "A", "type_id": 0}},)";
  copies.back() = ']';
  copies +=
      R"(, "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}]})";
  const std::vector<std::string> files = {
      "",
      "null",
      "[]",
      "{}",
      "\xFF\xFE",
      "{\"version\": \"2.0\"}",
      std::string(200000, '['),
      with("model", R"({"type": "BPE", "vocab": {"a": 4294967295, "b": 1}, "merges": []})"),
      with("model", R"({"type": "BPE", "vocab": {"a": -1}, "merges": []})"),
      with("model", R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]})"),
      with("model", R"({"type": "Unheard of"})"),
      with("normalizer", doubling.c_str()),
      with("post_processor", copies.c_str()),
      with("normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "/////w=="})"),
      with(
          "pre_tokenizer",
          R"({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false})"),
      with("decoder", R"({"type": "Replace", "pattern": {"Regex": ""}, "content": 3})"),
  };
  for (const std::string& file : files) EXPECT_BAD_INPUT(Tokenizer::from_json(file));
}

TEST(Tokenizer, survives_random_damage) {
  const std::string file =
      test::read_file(shared("reference/convert/qwen35_a/checkpoint/tokenizer.json"));
  std::mt19937 random(17);
  int refused = 0;
  for (int round = 0; round < 200; ++round) {
    std::string damaged = file;
    for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    const auto error = test::error_of([&] {
      const auto tokenizer = Tokenizer::from_json(damaged);
      (void)tokenizer.decode(tokenizer.encode("Hello <|end|> wörld", true), false);
    });
    if (!error) continue;
    EXPECT_EQ(error->code(), ErrorCode::bad_input) << error->what();
    ++refused;
  }
  EXPECT_GT(refused, 100);
}

TEST(Tokenizer, names_the_file_in_errors) {
  const test::TemporaryFolder folder;
  folder.write("tokenizer.json", "{");
  const auto broken = test::error_of([&] { (void)Tokenizer::load_folder(folder.path()); });
  ASSERT_TRUE(broken.has_value());
  EXPECT_EQ(broken->where(), (folder.path() / "tokenizer.json").string());
  EXPECT_BAD_INPUT(Tokenizer::load(folder.path() / "missing.json"));
  EXPECT_BAD_INPUT(Tokenizer::load(folder.path()));
}

}  // namespace
}  // namespace quiver::text
