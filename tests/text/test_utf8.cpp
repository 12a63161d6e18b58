// UTF-8: what is well-formed, how the rest is repaired, and that streams repair as a whole text.
#include "core/text/utf8.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace quiver::text {
namespace {

const std::string kMark(kReplacement);

TEST(Utf8, accepts_the_first_and_last_code_point_of_every_length) {
  for (const char* text :
       {"", "\x01", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(is_utf8(text));
    EXPECT_EQ(utf8_lossy(text), text);
  }
}

TEST(Utf8, replaces_each_maximal_ill_formed_part_once) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\x80", kMark},
      {"\xFF\xFE", kMark + kMark},
      {"a\xC0\xAF"
       "b",
       "a" + kMark + kMark + "b"},                          // overlong
      {"\xE0\x80\x80", kMark + kMark + kMark},              // overlong
      {"\xED\xA0\x80", kMark + kMark + kMark},              // surrogate
      {"\xF4\x90\x80\x80", kMark + kMark + kMark + kMark},  // beyond U+10FFFF
      {"\xE2\x82", kMark},                                  // cut
      {"\xE2\x82x", kMark + "x"},
      {"\xF0\x9F\x98", kMark},
      {"\xF0\x9F\xE2\x82\xAC", kMark + "\xE2\x82\xAC"},
      {"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64",  // the standard's example
       "a" + kMark + kMark + kMark + "b" + kMark + "c" + kMark + kMark + "d"},
  };
  for (const auto& [bytes, text] : cases) {
    EXPECT_FALSE(is_utf8(bytes));
    EXPECT_EQ(utf8_lossy(bytes), text);
  }
}

TEST(Utf8, a_stream_equals_the_whole_however_it_is_cut) {
  std::mt19937 random(3);
  const std::vector<std::string> parts = {
      "a",    "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xE2",
      "\x82", "\xF0\x9F", "\xFF",         "\xED\xA0",         "\xC0"};
  for (int round = 0; round < 300; ++round) {
    std::string bytes;
    for (int i = 0; i < 12; ++i) bytes += parts[random() % parts.size()];
    Utf8Stream stream;
    std::string out;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = 1 + random() % 4;
      std::string piece;
      stream.feed(std::string_view(bytes).substr(at, size), piece);
      EXPECT_TRUE(is_utf8(piece));
      out += piece;
      at += size;
    }
    stream.finish(out);
    EXPECT_EQ(out, utf8_lossy(bytes));
  }
}

TEST(Utf8, a_copy_of_a_stream_goes_on_independently) {
  Utf8Stream stream;
  std::string out;
  stream.feed("\xE2\x82", out);
  Utf8Stream copy = stream;
  std::string first;
  std::string second;
  stream.feed("\xAC", first);
  copy.finish(second);
  EXPECT_EQ(first, "\xE2\x82\xAC");
  EXPECT_EQ(second, kMark);
}

}  // namespace
}  // namespace quiver::text
