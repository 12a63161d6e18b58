// Reading mixes of calibration text, good and malformed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <quiver/error.hpp>

#include "core/quantize/calibration.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

using testing::HasSubstr;

std::string refusal(const std::string& jsonl) {
  try {
    parse_calibration_rows(jsonl, "mix.jsonl");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "nothing was refused";
}

TEST(CalibrationRows, texts_and_conversations_are_read_with_their_domains) {
  const auto rows = parse_calibration_rows(
      "\xEF\xBB\xBF{\"domain\":\"prose\",\"text\":\"Once.\"}\r\n\n"
      "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"tools\":[{\"b\":1,\"a\":2}]}\n"
      "{\"text\":\"no domain\",\"tools\":null}",
      "mix.jsonl");
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].domain, "prose");
  EXPECT_EQ(rows[0].text, "Once.");
  EXPECT_FALSE(rows[0].is_chat());
  EXPECT_EQ(rows[1].domain, "chat");
  EXPECT_EQ(rows[1].messages_json, R"([{"role":"user","content":"Hi"}])");
  EXPECT_EQ(rows[1].tools_json, R"([{"b":1,"a":2}])") << "keys keep their order";
  EXPECT_EQ(rows[1].where, "mix.jsonl:3");
  EXPECT_EQ(rows[2].domain, "text");
}

TEST(CalibrationRows, a_malformed_line_is_named) {
  const std::string good = "{\"text\":\"a\"}\n";
  EXPECT_THAT(refusal(good + "{\"text\":"), HasSubstr("(mix.jsonl:2)"));
  EXPECT_THAT(refusal(good + "{\"text\":"), HasSubstr("not JSON"));
  EXPECT_THAT(refusal(good + "\n[1]"), HasSubstr("not a JSON object (mix.jsonl:3)"));
  EXPECT_THAT(refusal("{\"text\":\"\xff\"}"), HasSubstr("not UTF-8 (mix.jsonl:1)"));
  EXPECT_THAT(refusal("{\"domain\":\"a\"}"), HasSubstr("neither"));
  EXPECT_THAT(refusal("{\"text\":\"a\",\"messages\":[]}"), HasSubstr("both"));
  EXPECT_THAT(refusal("{\"text\":7}"), HasSubstr("\"text\""));
  EXPECT_THAT(refusal("{\"text\":\"a\",\"domain\":7}"), HasSubstr("\"domain\""));
  EXPECT_THAT(refusal("{\"messages\":[]}"), HasSubstr("\"messages\""));
  EXPECT_THAT(refusal("{\"messages\":[{\"content\":\"a\"}]}"), HasSubstr("\"role\""));
  EXPECT_THAT(refusal("{\"messages\":[{\"role\":\"user\"}]}"), HasSubstr("\"content\""));
  EXPECT_THAT(refusal("{\"text\":\"a\",\"tools\":[]}"), HasSubstr("\"tools\""));
  EXPECT_THAT(refusal("{\"text\":\"a\",\"tools\":{}}"), HasSubstr("\"tools\""));
  EXPECT_THAT(refusal(" \n\n"), HasSubstr("no rows"));
}

TEST(CalibrationRows, rows_and_nesting_have_limits) {
  EXPECT_THAT(refusal("{\"text\":\"" + std::string((8U << 20U) + 1, 'a') + "\"}"),
              HasSubstr("larger than 8 MiB"));
  EXPECT_THAT(refusal("{\"messages\":" + std::string(100000, '[')), HasSubstr("(mix.jsonl:1)"));
}

TEST(CalibrationRows, files_are_read_and_missing_ones_named) {
  const TemporaryFolder folder;
  const auto path = folder.write("mix.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
  const auto rows = read_calibration_rows(path);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[1].where, path.string() + ":2");
  EXPECT_THROW(read_calibration_rows(folder.path() / "other.jsonl"), Error);
  EXPECT_THROW(read_calibration_rows(folder.path()), Error);
}

}  // namespace
}  // namespace quiver::test
