// Tests of the escaping of names.
#include "core/tensor/printable.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace {

using quiver::in_quotes;
using quiver::printable;

TEST(Printable, keeps_plain_text_and_utf8) {
  EXPECT_EQ(printable("model.layers.0"), "model.layers.0");
  EXPECT_EQ(printable("\u00e9 \u4e2d \U0001F600"), "\u00e9 \u4e2d \U0001F600");
  EXPECT_EQ(in_quotes("a"), "'a'");
}

TEST(Printable, escapes_control_characters_and_broken_utf8) {
  EXPECT_EQ(printable("a\nb\x7f"), "a\\x0ab\\x7f");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(printable("\x80"), "\\x80");                    // A continuation alone.
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");           // Overlong.
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // A surrogate.
  EXPECT_EQ(printable("\xe4\xb8"), "\\xe4\\xb8");           // Cut off.
}

TEST(Printable, cuts_long_text_between_characters) {
  EXPECT_EQ(printable("abcdef", 3), "abc...");
  EXPECT_EQ(printable("abc", 3), "abc");
  EXPECT_EQ(printable("ab\u4e2d", 4), "ab...");
  EXPECT_LT(printable(std::string(1000000, 'x')).size(), 200U);
}

TEST(Printable, any_bytes_become_valid_json) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) {
    bytes += static_cast<char>(i);
    bytes += static_cast<char>(255 - i);
  }
  EXPECT_NO_THROW(nlohmann::json(printable(bytes, 10000)).dump());
}

}  // namespace
