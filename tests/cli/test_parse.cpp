// Reading command lines against tables.
#include "host/cli/parse.hpp"

#include "host/cli/commands.hpp"
#include "host/cli/progress.hpp"

#include <quiver/error.hpp>

#include <gtest/gtest.h>

#include <algorithm>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {
    {.name = "FIRST", .help = ""},
    {.name = "REST", .help = "", .is_required = false, .is_repeatable = true}};
constexpr OptionRow kOptions[] = {
    {.name = "number", .short_name = 'n', .value = "N", .default_value = "7", .help = ""},
    {.name = "text", .value = "TEXT", .help = ""},
    {.name = "many", .value = "X", .help = "", .is_repeatable = true},
    {.name = "flag", .help = ""}};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Command kCommand = {
    .name = "test", .summary = "", .positionals = kPositionals, .groups = kGroups};

Arguments parse(const std::vector<std::string>& words) {
  return parse_arguments(kCommand, words);
}

TEST(Parse, values_are_taken_in_every_form) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"a", "--number", "3"},
                                                {"--number=3", "a"},
                                                {"-n", "3", "a"},
                                                {"-n3", "a"}}) {
    EXPECT_EQ(parse(words).integer("number", 0), 3);
    EXPECT_EQ(parse(words).text("FIRST"), "a");
  }
}

TEST(Parse, defaults_hold_where_nothing_was_given) {
  const Arguments arguments = parse({"a"});
  EXPECT_EQ(arguments.integer("number", 0), 7);
  EXPECT_FALSE(arguments.has("number"));
  EXPECT_EQ(arguments.text("text"), "");
  EXPECT_FALSE(arguments.flag("flag"));
}

TEST(Parse, repeatable_ones_keep_their_order) {
  const Arguments arguments = parse({"a", "--many", "1", "b", "--many", "2", "c"});
  EXPECT_EQ(arguments.texts("many"), (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(arguments.texts("REST"), (std::vector<std::string>{"b", "c"}));
}

TEST(Parse, values_may_be_empty_or_look_like_negative_numbers) {
  EXPECT_TRUE(parse({"a", "--text", ""}).has("text"));
  EXPECT_EQ(parse({"a", "--text", "-5"}).text("text"), "-5");
  EXPECT_EQ(parse({"a", "--text", "two words"}).text("text"), "two words");
}

TEST(Parse, nothing_is_abbreviated) {
  EXPECT_THROW(parse({"a", "--num", "3"}), Error);
  EXPECT_THROW(parse({"a", "--fla"}), Error);
}

TEST(Parse, numbers_are_read_whole_and_within_their_range) {
  for (const char* text : {"3x", "", " 3", "1e3", "0x10", "99999999999999999999"}) {
    EXPECT_THROW(parse({"a", "--text", text}).integer("text", 0), Error) << text;
  }
  EXPECT_THROW(parse({"a", "--text", "4"}).integer("text", 5), Error);
  EXPECT_THROW(parse({"a", "--text", "inf"}).number("text", 0, 1e300), Error);
  EXPECT_EQ(parse({"a", "--text", "1e-3"}).number("text", 0, 1), 1e-3);
}

TEST(Parse, ids_are_separated_by_commas_or_blanks) {
  EXPECT_EQ(parse({"a", "--text", "1, 2 3,4"}).ids("text"),
            (std::vector<std::int32_t>{1, 2, 3, 4}));
  EXPECT_THROW(parse({"a", "--text", "1,2147483648"}).ids("text"), Error);
}

TEST(Parse, a_name_that_no_table_has_is_our_own_fault) {
  try {
    parse({"a"}).text("nonesuch");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::internal);
  }
}

TEST(Nearest, finds_slips_and_leaves_strangers_alone) {
  const std::vector<std::string> names = {"generate", "chat", "perplexity", "info"};
  EXPECT_EQ(nearest("genrate", names), "generate");
  EXPECT_EQ(nearest("chta", names), "chat");
  EXPECT_EQ(nearest("perplexitiy", names), "perplexity");
  EXPECT_EQ(nearest("convert", names), "");
  EXPECT_EQ(nearest(std::string(10'000, 'a'), names), "");
}

TEST(Commands, names_are_unique_and_every_row_has_help) {
  std::vector<std::string_view> names;
  for (const Command* command : commands()) {
    EXPECT_EQ(std::ranges::count(names, command->name), 0) << command->name;
    names.push_back(command->name);
    EXPECT_NE(command->run, nullptr);
    std::vector<std::string_view> options;
    for_each_option(*command, [&](const OptionRow& row) {
      EXPECT_EQ(std::ranges::count(options, row.name), 0) << command->name << " --" << row.name;
      options.push_back(row.name);
      EXPECT_FALSE(row.help.empty() || row.help.ends_with('.'))
          << command->name << " --" << row.name;
      EXPECT_TRUE(row.choices.empty() || row.default_value.empty() ||
                  row.choices.find(row.default_value) != std::string_view::npos);
    });
  }
}

TEST(Progress, tells_rate_and_time_left) {
  EXPECT_EQ(progress_text("scoring", 0, 100, "tokens", 1), "scoring 0/100 tokens");
  EXPECT_EQ(progress_text("scoring", 50, 100, "tokens", 2),
            "scoring 50/100 tokens, 25 a second, 2 s left");
  EXPECT_EQ(progress_text("scoring", 100, 100, "MB", 50), "scoring 100/100 MB, 2.0 a second");
}

}  // namespace
}  // namespace quiver::cli
