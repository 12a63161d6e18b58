// Streaming equals decoding the whole, for every kind of decoder.
#include "core/text/stream_decoder.hpp"

#include <random>

#include "core/text/utf8.hpp"
#include "tests/text/text_test.hpp"

namespace quiver::text {
namespace {

using nlohmann::ordered_json;
using test::expected;
using test::shared;

std::string stream(StreamDecoder& decoder, const std::vector<std::int32_t>& ids) {
  std::string all;
  for (const std::int32_t id : ids) {
    const std::string text = decoder.feed(id);
    EXPECT_TRUE(is_utf8(text));
    all += text;
  }
  return all + decoder.finish();
}

Tokenizer with_decoder(const ordered_json& decoder) {
  auto file =
      ordered_json::parse(test::read_file(shared(expected()["decoder_base"]) / "tokenizer.json"));
  file["decoder"] = decoder;
  return Tokenizer::from_json(file.dump());
}

TEST(StreamDecoder, equals_the_reference_package_for_every_kind_of_decoder) {
  for (const auto& kind : expected()["decodings"]) {
    const auto tokenizer = with_decoder(kind["decoder"]);
    for (const auto& one : kind["cases"]) {
      const std::vector<std::int32_t> ids = one["ids"];
      StreamDecoder all(tokenizer, false);
      StreamDecoder plain(tokenizer, true);
      EXPECT_EQ(stream(all, ids), one["decoded"].get<std::string>()) << kind["decoder"];
      EXPECT_EQ(stream(plain, ids), one["plain"].get<std::string>()) << kind["decoder"];
      EXPECT_EQ(stream(all, ids), one["decoded"].get<std::string>())
          << "a finished decoder is as new";
    }
  }
}

TEST(StreamDecoder, equals_decoding_the_whole_for_random_ids) {
  std::mt19937 random(5);
  for (const char* folder : {"models/qwen3_5-tiny-real", "reference/gemma4/tokenizer/checkpoint"}) {
    const auto tokenizer = Tokenizer::load_folder(shared(folder));
    for (int round = 0; round < 200; ++round) {
      std::vector<std::int32_t> ids(20);
      for (auto& id : ids) id = static_cast<std::int32_t>(random() % (tokenizer.vocab_size() + 4));
      StreamDecoder decoder(tokenizer, round % 2 == 0);
      EXPECT_EQ(stream(decoder, ids), tokenizer.decode(ids, round % 2 == 0));
    }
  }
}

TEST(StreamDecoder, gives_text_as_soon_as_it_is_certain) {
  const auto tokenizer = Tokenizer::load_folder(shared("models/qwen3_5-tiny-real"));
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.feed(*tokenizer.id("a")), "a");
  // The three bytes of the euro sign in the byte-level alphabet.
  EXPECT_EQ(decoder.feed(*tokenizer.id("â")), "");
  EXPECT_EQ(decoder.feed(*tokenizer.id("Ĥ")), "");
  EXPECT_EQ(decoder.feed(*tokenizer.id("¬")), "€");
  EXPECT_EQ(decoder.feed(*tokenizer.id("â")), "");
  EXPECT_EQ(decoder.feed(*tokenizer.id("b")), std::string(kReplacement) + "b");
  EXPECT_EQ(decoder.feed(*tokenizer.id("â")), "");
  EXPECT_EQ(decoder.finish(), kReplacement);
}

TEST(StreamDecoder, holds_a_run_of_byte_tokens_until_it_ends) {
  const auto tokenizer = Tokenizer::load_folder(shared("reference/gemma4/tokenizer/checkpoint"));
  StreamDecoder decoder(tokenizer);
  for (const char* byte : {"<0xE2>", "<0x82>", "<0xAC>"}) {
    EXPECT_EQ(decoder.feed(*tokenizer.id(byte)), "");
  }
  StreamDecoder broken = decoder;
  EXPECT_EQ(decoder.feed(*tokenizer.id("a")), "€a");
  EXPECT_EQ(broken.feed(*tokenizer.id("<0xFF>")), "");
  std::string marks;
  for (int i = 0; i < 4; ++i) marks += kReplacement;
  EXPECT_EQ(broken.finish(), marks);
}

TEST(StreamDecoder, a_copy_is_a_snapshot_to_go_back_to) {
  const auto tokenizer = Tokenizer::load_folder(shared("models/qwen3_5-tiny-real"));
  const auto ids = tokenizer.encode("naïve 😀 text 你好", false);
  const auto drafted = tokenizer.encode("😀😀 other", false);
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const std::int32_t id : ids) {
    StreamDecoder snapshot = decoder;
    for (const std::int32_t other : drafted) (void)decoder.feed(other);
    decoder = snapshot;
    text += decoder.feed(id);
  }
  EXPECT_EQ(text + decoder.finish(), tokenizer.decode(ids, true));
}

TEST(StreamDecoder, a_long_text_costs_no_more_per_token) {
  const auto tokenizer = Tokenizer::load_folder(shared("models/qwen3_5-tiny-real"));
  const auto ids = tokenizer.encode("Some words, again and again. ", false);
  StreamDecoder decoder(tokenizer);
  std::size_t size = 0;
  // Decoding everything anew for each id would take hours here.
  for (int round = 0; round < 20000; ++round) {
    for (const std::int32_t id : ids) size += decoder.feed(id).size();
  }
  EXPECT_EQ(size, 20000 * tokenizer.decode(ids, true).size());
}

}  // namespace
}  // namespace quiver::text
