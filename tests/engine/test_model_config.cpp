// Reading config.json: paths, types, errors that name the value, and hostile texts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <quiver/rope_frequencies.hpp>

#include "core/model/json_file.hpp"
#include "core/model/model_config.hpp"
#include "tests/support/checkpoint_folder.hpp"

namespace quiver::test {
namespace {

using testing::HasSubstr;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "one line";
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

ModelConfig parse(const std::string& text) {
  return ModelConfig::parse(text, "config.json");
}

TEST(ModelConfig, values_are_found_by_path) {
  const auto config = parse(
      R"({"a": {"b": [1, {"c": "deep"}], "n": null}, "f": true, "t": "x", "n": 2.5, "i": 7})");
  EXPECT_EQ(config.text("a.b.1.c"), "deep");
  EXPECT_EQ(config.number("a.b.0"), 1);
  EXPECT_EQ(config.count("a.b"), 2);
  EXPECT_EQ(config.count("t"), -1);
  EXPECT_TRUE(config.flag("f", false));
  EXPECT_TRUE(config.flag("missing", true));
  EXPECT_EQ(config.integer("i"), 7);
  EXPECT_FALSE(config.has("a.n"));
  EXPECT_FALSE(config.has("a.b.2"));
  EXPECT_FALSE(config.has("a.b.x"));
  EXPECT_FALSE(config.has("t.deeper"));
}

TEST(ModelConfig, errors_name_the_value) {
  const auto config = parse(R"({"t": "x", "half": 0.5, "big": 1e300, "minus": -3, "o": {}})");
  EXPECT_THAT(message_of([&] { (void)config.integer("absent"); }), HasSubstr("absent"));
  EXPECT_THAT(message_of([&] { (void)config.integer("t"); }), HasSubstr("t"));
  for (const char* key : {"half", "big", "minus", "o"}) {
    EXPECT_THAT(message_of([&] { (void)config.integer(key); }), HasSubstr(key));
  }
  EXPECT_THAT(message_of([&] { (void)config.text("half"); }), HasSubstr("expected a text"));
}

TEST(ModelConfig, malformed_texts_are_refused_in_one_line) {
  for (const std::string text :
       {"", "{", "[]", "3", "{\"a\": }", "\xff\xfe", "{} {}", "{\"a\": 1e999}"}) {
    message_of([&] { parse(text); });
  }
  message_of([&] { parse(std::string(100000, '[')); });
  std::string deep = "{\"a\":";
  for (int i = 0; i < 10000; ++i) deep += "{\"a\":";
  message_of([&] { parse(deep); });
}

TEST(ModelConfig, a_missing_or_huge_file_is_refused) {
  TemporaryFolder folder;
  EXPECT_THAT(message_of([&] { ModelConfig::load(folder.path()); }), HasSubstr("no such model"));
  folder.write("config.json", std::string((16U << 20U) + 1, ' '));
  EXPECT_THAT(message_of([&] { ModelConfig::load(folder.path()); }), HasSubstr("limit"));
}

TEST(ModelConfig, end_ids_come_from_the_generation_config_first) {
  TemporaryFolder folder;
  const auto config = parse(R"({"eos_token_id": 5})");
  EXPECT_THAT(end_token_ids(folder.path(), config), testing::ElementsAre(5));
  folder.write("generation_config.json", R"({"eos_token_id": [7, 8]})");
  EXPECT_THAT(end_token_ids(folder.path(), config), testing::ElementsAre(7, 8));
  folder.write("generation_config.json", R"({"eos_token_id": "seven"})");
  message_of([&] { end_token_ids(folder.path(), config); });
}

TEST(RopeFrequencies, nonsense_is_refused) {
  for (
      const char* text :
      {R"({"rope_theta": 0})", R"({"rope_theta": -5})",
       R"({"rope_scaling": {"rope_type": "mystery", "factor": 2}, "max_position_embeddings": 9})",
       R"({"rope_scaling": {"rope_type": "linear"}})",
       R"({"rope_scaling": {"rope_type": "linear", "factor": 0}})",
       R"({"rope_scaling": {"rope_type": "yarn", "factor": 2}})",
       R"({"rope_scaling": {"rope_type": "llama3", "factor": 2, "original_max_position_embeddings": 64}})"}) {
    message_of([&] { rope_frequencies(parse(text), "", 16); });
  }
}

}  // namespace
}  // namespace quiver::test
