// The report of a conversion as one web page that needs nothing else.
#include "core/quantize/report_page.hpp"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/model/role_name.hpp"
#include "core/quantize/report_template.hpp"

namespace quiver {
namespace {

using Json = nlohmann::json;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json number(const std::optional<double>& value) {
  return value ? number(*value) : Json(nullptr);
}

/// What follows the number of the block in a name, the whole name where it has none.
std::string module_name(const ConvertedLayer& layer) {
  const std::string number = "." + std::to_string(layer.block) + ".";
  const std::size_t at = layer.block < 0 ? std::string::npos : layer.name.find(number);
  return at == std::string::npos ? layer.name : layer.name.substr(at + number.size());
}

std::uint64_t bytes_of(const ConvertedLayer& layer) {
  const auto parameters = static_cast<std::uint64_t>(layer.rows * layer.columns);
  const auto bits = static_cast<std::uint64_t>(layer.format.bits);
  const auto group = static_cast<std::uint64_t>(layer.format.group_size);
  constexpr std::uint64_t kScaleAndBias = 4;
  return parameters * bits / 8 + (group == 0 ? 0 : parameters / group * kScaleAndBias);
}

Json layer_record(const ReportData& data, std::size_t index) {
  const ConvertedLayer& layer = data.conversion.layers[index];
  Json kl = Json::object();
  for (const auto& [bits, value] : layer.kl) kl[std::to_string(bits)] = number(value);
  return {{"name", layer.name},
          {"module", module_name(layer)},
          {"role", role_name(layer.role)},
          {"block", layer.block},
          {"rows", layer.rows},
          {"columns", layer.columns},
          {"bits", layer.format.bits},
          {"kept", layer.format.bits == kKeepBits},
          {"group_size", layer.format.group_size},
          {"bytes", index < data.layer_bytes.size() ? data.layer_bytes[index] : bytes_of(layer)},
          {"kl", kl}};
}

void append_escaped(std::string& page, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '&': page += "&amp;"; break;
      case '<': page += "&lt;"; break;
      case '>': page += "&gt;"; break;
      case '"': page += "&quot;"; break;
      default: page += c;
    }
  }
}

/// JSON in which nothing can end the element around it or open a comment.
void append_json(std::string& page, const Json& json) {
  for (const char c : json.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    switch (c) {
      case '&': page += "\\u0026"; break;
      case '<': page += "\\u003c"; break;
      case '>': page += "\\u003e"; break;
      default: page += c;
    }
  }
}

}  // namespace

Json report_record(const ReportData& data) {
  const Conversion& conversion = data.conversion;
  Json layers = Json::array();
  for (std::size_t i = 0; i < conversion.layers.size(); ++i) {
    layers.push_back(layer_record(data, i));
  }
  Json rivals = Json::array();
  for (const ReportRival& rival : data.rivals) {
    rivals.push_back({{"label", rival.label},
                      {"bytes", rival.bytes},
                      {"bpw", number(rival.bpw)},
                      {"kl", number(rival.kl)},
                      {"perplexity", number(rival.perplexity)}});
  }
  const bool is_measured = conversion.reference != "structural_rules";
  return {{"model", data.model},
          {"output", data.output},
          {"made_by", data.made_by},
          {"reference", conversion.reference},
          {"source_bytes", conversion.source_bytes},
          {"bytes", conversion.bytes},
          {"target_bpw", number(data.target_bpw)},
          {"bpw_true", number(conversion.bpw_true)},
          {"bpw_linear", number(conversion.bpw_linear)},
          {"kl_unit", data.kl_unit},
          {"kl_measured", is_measured ? number(conversion.kl_measured) : Json(nullptr)},
          {"kl_predicted", is_measured ? number(conversion.kl_predicted) : Json(nullptr)},
          {"swaps_tried", conversion.swaps_tried},
          {"swaps_kept", conversion.swaps_kept},
          {"source_perplexity", number(data.source_perplexity)},
          {"perplexity", number(data.perplexity)},
          {"seconds", number(data.seconds)},
          {"warnings", conversion.warnings},
          {"rivals", rivals},
          {"layers", layers}};
}

std::string report_page(const ReportData& data) {
  std::string_view rest = report_html();
  std::string page;
  const auto copy_to = [&](std::string_view mark) {
    const std::size_t at = rest.find(mark);
    page += rest.substr(0, at);
    rest.remove_prefix(at + mark.size());
  };
  copy_to("{{title}}");
  // Bytes that are no UTF-8 are replaced as in the data.
  const std::string title =
      Json::parse(Json(data.model).dump(-1, ' ', false, Json::error_handler_t::replace));
  append_escaped(page, title);
  copy_to("{{style}}");
  page += report_css();
  copy_to("{{data}}");
  append_json(page, report_record(data));
  copy_to("{{code}}");
  page += report_js();
  page += rest;
  return page;
}

}  // namespace quiver
