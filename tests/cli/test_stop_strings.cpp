// Stop strings are found across pieces and never shown in part.
#include "host/cli/stop_strings.hpp"

#include <quiver/error.hpp>

#include <gtest/gtest.h>

namespace quiver::cli {
namespace {

/// Feeds a text in pieces of `size` bytes; gives all that was shown.
std::string shown(const std::vector<std::string>& stops, const std::string& text,
                  std::size_t size) {
  StopStrings filter(stops);
  std::string result;
  for (std::size_t at = 0; at < text.size(); at += size)
    result += filter.feed(text.substr(at, size));
  return filter.is_found() ? result : result + filter.finish();
}

TEST(StopStrings, the_text_ends_before_the_stop_however_it_arrives) {
  for (std::size_t size = 1; size < 20; ++size) {
    EXPECT_EQ(shown({"END"}, "one ENtwo ENDthree", size), "one ENtwo ") << size;
    EXPECT_EQ(shown({"\n\n", "###"}, "a\nb ## c\n\nd", size), "a\nb ## c") << size;
    EXPECT_EQ(shown({"aab"}, "aaaaab", size), "aaa") << size;
    EXPECT_EQ(shown({}, "anything", size), "anything") << size;
  }
}

TEST(StopStrings, what_turns_out_not_to_be_a_stop_is_shown_in_the_end) {
  for (std::size_t size = 1; size < 8; ++size) {
    EXPECT_EQ(shown({"END"}, "the EN", size), "the EN") << size;
  }
}

TEST(StopStrings, only_what_may_begin_a_stop_is_held_back) {
  StopStrings filter({"END"});
  EXPECT_EQ(filter.feed("aE"), "a");
  EXPECT_EQ(filter.feed("N"), "");
  EXPECT_EQ(filter.feed("x"), "ENx");
  EXPECT_FALSE(filter.is_found());
}

TEST(StopStrings, the_stop_that_is_complete_first_decides) {
  for (std::size_t size = 1; size < 6; ++size) {
    EXPECT_EQ(shown({"abcd", "bc"}, "xabcd", size == 5 ? 1 : size).substr(0, 2), "xa") << size;
  }
}

TEST(StopStrings, nothing_comes_out_behind_a_stop) {
  StopStrings filter({"."});
  EXPECT_EQ(filter.feed("a.b"), "a");
  EXPECT_TRUE(filter.is_found());
  EXPECT_EQ(filter.feed("c"), "");
}

TEST(StopStrings, an_empty_one_is_refused) {
  EXPECT_THROW(StopStrings({"a", ""}), Error);
}

}  // namespace
}  // namespace quiver::cli
