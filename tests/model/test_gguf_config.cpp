// Config values from GGUF metadata.
#include "core/model/gguf_config.hpp"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstdlib>

#include "tests/model/wagon_family.hpp"
#include "tests/tensor/refusal.hpp"

namespace quiver::test {
namespace {

nlohmann::json config_of(const GgufWriter& writer) {
  return quiver::config_from_gguf(*GgufImage(writer), WagonGguf());
}

TEST(GgufConfig, Float32NumbersBecomeTheDecimalThatWasMeant) {
  const std::pair<float, const char*> cases[] = {{1e-5F, "1e-05"},
                                                 {1e-6F, "1e-06"},
                                                 {0.1F, "0.1"},
                                                 {100000.0F, "100000.0"},
                                                 {1e6F, "1e+06"},
                                                 {0.85F, "0.85"},
                                                 {3.14159274F, "3.1415927"},
                                                 {-0.25F, "-0.25"},
                                                 {0.0F, "0.0"},
                                                 {1e-45F, "1e-45"},
                                                 {16777216.0F, "16777216.0"}};
  for (const auto& [value, text] : cases) {
    EXPECT_EQ(nlohmann::json(quiver::shortest_double(value)), nlohmann::json::parse(text)) << text;
  }
}

TEST(GgufConfig, EveryFloat32ComesBack) {
  std::uint32_t bits = 12345;
  for (int i = 0; i < 20000; ++i) {
    bits = bits * 1664525U + 1013904223U;
    const auto value = std::bit_cast<float>(bits);
    if (!std::isfinite(value)) continue;
    const std::string text = nlohmann::json(quiver::shortest_double(value)).dump();
    EXPECT_EQ(std::bit_cast<std::uint32_t>(std::strtof(text.c_str(), nullptr)), bits) << text;
  }
}

TEST(GgufConfig, ValuesKeepTheirKind) {
  const auto config = config_of(wagon_keys()
                                    .f64("wagon.theta", 0.1234567890123)
                                    .text("wagon.paint", "gr\xC3\xBCn")
                                    .flag("wagon.is_closed", true)
                                    .i32("general.year", -1850));
  EXPECT_EQ(config["heads"], 2);
  EXPECT_TRUE(config["heads"].is_number_integer());
  EXPECT_EQ(config["norm"]["epsilon"].dump(), "1e-05");
  EXPECT_EQ(config["theta"], 0.1234567890123);
  EXPECT_EQ(config["paint"], "gr\xC3\xBCn");
  EXPECT_EQ(config["is_closed"], true);
  EXPECT_EQ(config["year"], -1850);
  EXPECT_FALSE(config_of(wagon_keys()).contains("theta"));
}

TEST(GgufConfig, ListsInPlaceOfValuesAreRefused) {
  expect_refused(
      [] {
        config_of(wagon_keys().i32s("wagon.heads", {2, 2}));
      },
      "the metadata key 'wagon.heads' holds an array in place of a single value");
}

TEST(GgufConfig, NumbersThatJsonCannotHoldAreRefused) {
  expect_refused([] { config_of(wagon_keys().f32("wagon.epsilon", NAN)); },
                 "'wagon.epsilon' is not a finite number");
  expect_refused([] { config_of(wagon_keys().text("wagon.paint", "\xFF")); },
                 "'wagon.paint' is not UTF-8");
}

TEST(GgufConfig, TheVocabularyHasTheRowsOfTheEmbedding) {
  EXPECT_EQ(config_of(wagon_keys())["vocab_size"], 6);
  EXPECT_EQ(config_of(wagon_keys().tensor("token_embd.weight", {8, 2}, ramp(16)))["vocab_size"], 8);
  expect_refused(
      [] {
        config_of(wagon_keys().tensor("token_embd.weight", {5, 2}, ramp(10)));
      },
      "the file lists 6 tokens and has embeddings of 5");
}

TEST(GgufConfig, IdsThatEndATextAreListed) {
  const auto config = config_of(wagon_keys()
                                    .u32("tokenizer.ggml.eot_token_id", 4)
                                    .u32("tokenizer.ggml.eom_token_id", 3)
                                    .u32("tokenizer.ggml.padding_token_id", 5));
  EXPECT_EQ(config["eos_token_id"], nlohmann::json({3, 4}));
  EXPECT_EQ(config["pad_token_id"], 5);
  EXPECT_EQ(config_of(wagon_keys())["eos_token_id"], 3);
}

TEST(GgufConfig, IdsOutsideTheVocabularyAreRefused) {
  expect_refused([] { config_of(wagon_keys().u32("tokenizer.ggml.bos_token_id", 6)); },
                 "'tokenizer.ggml.bos_token_id' is 6, outside the vocabulary of 6");
  expect_refused([] { config_of(wagon_keys().i32("tokenizer.ggml.bos_token_id", -2)); },
                 "outside the vocabulary");
  const auto none = config_of(wagon_keys()
                                  .u32("tokenizer.ggml.bos_token_id", UINT32_MAX)
                                  .i32("tokenizer.ggml.padding_token_id", -1));
  EXPECT_FALSE(none.contains("bos_token_id"));
  EXPECT_FALSE(none.contains("pad_token_id"));
}

TEST(GgufConfig, PathsMakeTheObjectsOnTheirWay) {
  quiver::JsonConfigWriter writer;
  writer.number("a.b.c", 1.5);
  writer.integer("a.d", -3);
  writer.flag("e", true);
  writer.text("f", "g");
  EXPECT_EQ(writer.json(),
            nlohmann::json::parse(R"({"a": {"b": {"c": 1.5}, "d": -3}, "e": true, "f": "g"})"));
  writer.erase("a.b.c");
  writer.erase("a.x.y");
  writer.erase("f");
  EXPECT_EQ(writer.json(), nlohmann::json::parse(R"({"a": {"b": {}, "d": -3}, "e": true})"));
  expect_refused([&] { writer.number("a.d.z", 1); }, "would replace another one",
                 quiver::ErrorCode::plugin);
  expect_refused([&] { writer.number("n", INFINITY); }, "not a finite number",
                 quiver::ErrorCode::plugin);
  expect_refused([&] { writer.text("n", "\xC3"); }, "not UTF-8", quiver::ErrorCode::plugin);
}

TEST(GgufSource, AnswersFromTheFile) {
  const GgufImage image(wagon_keys()
                            .f32("wagon.theta", 0.1F)
                            .text("wagon.paint", "red")
                            .tensor("table", {2, 2}, quiver::GgufType::f16,
                                    bytes_of<std::uint16_t>({0x3C00, 0x4000, 0, 0xBC00})));
  const quiver::GgufFileSource source(*image);
  EXPECT_EQ(source.architecture(), "wagon");
  double number = 7;
  EXPECT_FALSE(source.read_number("wagon.none", number));
  EXPECT_EQ(number, 7);
  EXPECT_TRUE(source.read_number("wagon.theta", number));
  EXPECT_EQ(number, 0.1);
  std::string_view text;
  EXPECT_TRUE(source.read_text("wagon.paint", text));
  EXPECT_EQ(text, "red");
  EXPECT_FALSE(source.read_text("wagon.none", text));
  EXPECT_EQ(source.tensor_elements("table"), 4);
  EXPECT_EQ(source.tensor_elements("none"), -1);
  std::vector<float> values(4);
  source.read_tensor("table", values);
  EXPECT_EQ(values, (std::vector<float>{1, 2, 0, -1}));
  expect_refused([&] { source.read_tensor("none", values); }, "no tensor 'none'");
  values.resize(3);
  expect_refused([&] { source.read_tensor("table", values); }, "has 4 elements in place of 3");
  expect_refused([&] { source.read_number("wagon.paint", number); }, "wagon.paint");
  expect_refused([&] { source.read_text("wagon.theta", text); }, "wagon.theta");
}

}  // namespace
}  // namespace quiver::test
