// The page that reports a conversion: what is inside, and that no name breaks out of it.
#include "core/quantize/report_page.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/quantize/quantized_folder.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

using testing::HasSubstr;
using testing::Not;

ConvertedLayer layer(std::string name, Role role, int block, int bits, WidthDivergences kl) {
  return {std::move(name), role, block, 128, 64, {bits, bits == kKeepBits ? 0 : 64}, 0,
          std::move(kl)};
}

/// A conversion of a few layers, some kept, some not measured.
ReportData some_report() {
  ReportData data;
  data.model = "owner/model";
  data.output = "out/model-4.5";
  data.made_by = "Quiver 1.2.3";
  data.target_bpw = 4.5;
  data.seconds = 12.5;
  Conversion& conversion = data.conversion;
  conversion.reference = "bf16";
  conversion.bytes = 30000;
  conversion.source_bytes = 100000;
  conversion.bpw_true = 4.49;
  conversion.bpw_linear = 4.25;
  conversion.kl_measured = 0.0123;
  conversion.kl_predicted = 0.0117;
  conversion.warnings = {"a warning"};
  conversion.layers = {
      layer("model.embed", Role::embedding, -1, 8, {{4, 0.01}, {8, 0.0001}}),
      layer("model.layers.0.attn.q", Role::attention, 0, 4, {{4, 0.002}, {8, 2e-5}}),
      layer("model.layers.0.mlp.up", Role::mlp, 0, kKeepBits, {{4, 0.5}, {8, 0.003}}),
      layer("model.layers.1.attn.q", Role::attention, 1, 8, {})};
  data.rivals = {{"uniform 4 bits", 25000, 4.5, 0.03, 12.5},
                 {"uniform 8 bits", 50000, 8.5, {}, {}}};
  data.perplexity = 11.75;
  return data;
}

/// What the page has in its element of data.
nlohmann::json data_in(const std::string& page) {
  const std::string mark = R"(<script type="application/json" id="data">)";
  const std::size_t first = page.find(mark) + mark.size();
  return nlohmann::json::parse(page.substr(first, page.find("</script>", first) - first));
}

/// Runs the check that parses the page as HTML; Python is one of the packages of the tests.
void expect_sound_page(const ReportData& data) {
  TemporaryFolder folder;
  const auto page = folder.write("page.html", report_page(data));
  // Written and read once, so that what is no UTF-8 is replaced on both sides.
  const auto json = folder.write(
      "data.json",
      report_record(data).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  const std::string command = std::string("python3 " QUIVER_SOURCE_DIR) +
                              "/tests/quantize/test_report_page.py " + page.string() + " " +
                              json.string() + " 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST(ReportPage, the_record_tells_the_conversion) {
  const nlohmann::json record = report_record(some_report());
  EXPECT_EQ(record.at("model"), "owner/model");
  EXPECT_EQ(record.at("bytes"), 30000);
  EXPECT_EQ(record.at("source_bytes"), 100000);
  EXPECT_EQ(record.at("bpw_true"), 4.49);
  EXPECT_EQ(record.at("target_bpw"), 4.5);
  EXPECT_EQ(record.at("kl_measured"), 0.0123);
  EXPECT_EQ(record.at("perplexity"), 11.75);
  EXPECT_TRUE(record.at("source_perplexity").is_null());
  EXPECT_EQ(record.at("warnings"), nlohmann::json::array({"a warning"}));
  EXPECT_EQ(record.at("rivals")[0].at("kl"), 0.03);
  EXPECT_TRUE(record.at("rivals")[1].at("kl").is_null());
  const auto& layers = record.at("layers");
  ASSERT_EQ(layers.size(), 4U);
  EXPECT_EQ(layers[0].at("module"), "model.embed");
  EXPECT_EQ(layers[1].at("module"), "attn.q");
  EXPECT_EQ(layers[1].at("role"), "attention");
  EXPECT_EQ(layers[1].at("kl").at("8"), 2e-5);
  EXPECT_EQ(layers[1].at("bytes"), 128 * 64 / 2 + 128 * 4);
  EXPECT_EQ(layers[2].at("kept"), true);
  EXPECT_EQ(layers[2].at("bytes"), 128 * 64 * 2);
  EXPECT_EQ(layers[3].at("kl"), nlohmann::json::object());
}

TEST(ReportPage, bytes_of_layers_are_taken_where_they_are_known) {
  ReportData data = some_report();
  data.layer_bytes = {1, 2, 3, 4};
  EXPECT_EQ(report_record(data).at("layers")[2].at("bytes"), 3);
}

TEST(ReportPage, nothing_was_measured_where_rules_chose) {
  ReportData data = some_report();
  data.conversion.reference = "structural_rules";
  EXPECT_TRUE(report_record(data).at("kl_measured").is_null());
  EXPECT_TRUE(report_record(data).at("kl_predicted").is_null());
  expect_sound_page(data);
}

TEST(ReportPage, is_sound_html_with_the_data_inside) {
  const ReportData data = some_report();
  EXPECT_EQ(data_in(report_page(data)), report_record(data));
  expect_sound_page(data);
}

TEST(ReportPage, asks_for_nothing_from_outside) {
  EXPECT_THAT(report_page(some_report()), Not(HasSubstr("http")));
}

TEST(ReportPage, no_mark_of_the_template_is_left_or_taken_from_the_data) {
  ReportData data = some_report();
  EXPECT_THAT(report_page(data), Not(HasSubstr("{{")));
  data.model = "{{data}}";
  data.output = "{{code}}";
  EXPECT_EQ(data_in(report_page(data)), report_record(data));
}

TEST(ReportPage, names_cannot_break_out) {
  ReportData data = some_report();
  data.model = "</title><script>alert(1)</script>&lt;\"'";
  data.conversion.layers[1].name = "model.layers.0.</script><script>alert(2)</script><!--<script>";
  data.conversion.warnings = {"<img src=x onerror=alert(3)>", "]]>\xE2\x80\xA8 line"};
  data.rivals[0].label = "<b>bold</b>";
  const std::string page = report_page(data);
  EXPECT_EQ(data_in(page), report_record(data));
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  expect_sound_page(data);
}

TEST(ReportPage, bytes_that_are_no_text_and_numbers_that_are_none_are_replaced) {
  ReportData data = some_report();
  data.model = "bad \xFF name";
  data.conversion.layers[0].name = "layer \xC3";
  data.conversion.layers[0].kl[4] = std::numeric_limits<double>::quiet_NaN();
  data.conversion.kl_measured = std::numeric_limits<double>::infinity();
  const nlohmann::json inside = data_in(report_page(data));
  EXPECT_EQ(inside.at("model"), "bad \xEF\xBF\xBD name");
  EXPECT_TRUE(inside.at("layers")[0].at("kl").at("4").is_null());
  EXPECT_TRUE(inside.at("kl_measured").is_null());
  expect_sound_page(data);
}

TEST(ReportPage, a_conversion_of_no_layers_is_a_page_too) {
  ReportData data;
  data.conversion.reference = "structural_rules";
  expect_sound_page(data);
}

}  // namespace
}  // namespace quiver::test
