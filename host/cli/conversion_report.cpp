// The result of a conversion for people and for programs.
#include "host/cli/conversion_report.hpp"

#include "core/model/role_name.hpp"
#include "core/tensor/printable.hpp"
#include "host/cli/model_report.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace quiver::cli {
namespace {

/// Nothing where no text was scored: a family may want none fed as text.
std::string perplexity_text(const char* label, double perplexity) {
  return std::isfinite(perplexity) ? fmt::format("{}{:.3f}", label, perplexity) : "";
}

}  // namespace

nlohmann::ordered_json conversion_json(const Conversion& conversion, double seconds) {
  nlohmann::ordered_json json;
  json["layers"] = nlohmann::ordered_json::array();
  for (const ConvertedLayer& layer : conversion.layers) {
    nlohmann::ordered_json row = {{"name", layer.name},
                                  {"bits", layer.format.bits},
                                  {"group_size", layer.format.group_size},
                                  {"role", role_name(layer.role)},
                                  {"block", layer.block},
                                  {"kl", nlohmann::ordered_json::object()}};
    for (const auto& [bits, kl] : layer.kl) row["kl"][std::to_string(bits)] = kl;
    json["layers"].push_back(std::move(row));
  }
  json["reference"] = conversion.reference;
  json["bpw_true"] = conversion.bpw_true;
  json["bpw_linear"] = conversion.bpw_linear;
  json["bytes"] = conversion.bytes;
  json["source_bytes"] = conversion.source_bytes;
  json["sidecar_bytes"] = conversion.sidecar_bytes;
  json["kl_predicted"] = conversion.kl_predicted;
  json["kl_measured"] = conversion.kl_measured;
  json["perplexity"] = conversion.perplexity;
  if (!conversion.uniform.empty()) {
    json["source_perplexity"] = conversion.source_perplexity;
    json["uniform"] = nlohmann::ordered_json::array();
    for (const ModelScore& score : conversion.uniform) {
      json["uniform"].push_back({{"bits", score.bits},
                                 {"bytes", score.bytes},
                                 {"bpw_true", score.bpw_true},
                                 {"kl", score.kl},
                                 {"perplexity", score.perplexity}});
    }
    json["uniform_kl_at_bytes"] = uniform_kl_at(conversion.uniform, conversion.bytes);
  }
  json["swaps"] = {{"tried", conversion.swaps_tried}, {"kept", conversion.swaps_kept}};
  json["seconds"] = seconds;
  return json;
}

std::string conversion_table(const Conversion& conversion, const std::vector<int>& widths) {
  std::size_t width = 5;
  for (const ConvertedLayer& layer : conversion.layers) {
    width = std::max(width, layer.name.size());
  }
  std::string text = fmt::format("{:<{}}  {:<13}  {:>13}", "layer", width, "role", "shape");
  for (const int bits : widths) text += fmt::format("  {:>9}", fmt::format("KL at {}", bits));
  text += "  bits\n";
  for (const ConvertedLayer& layer : conversion.layers) {
    text += fmt::format("{:<{}}  {:<13}  {:>13}", printable(layer.name), width,
                        role_name(layer.role), fmt::format("{} x {}", layer.rows, layer.columns));
    for (const int bits : widths) {
      const auto found = layer.kl.find(bits);
      text += found == layer.kl.end() ? fmt::format("  {:>9}", "-")
                                      : fmt::format("  {:>9.2e}", found->second);
    }
    text +=
        layer.format.bits == kKeepBits ? "  kept\n" : fmt::format("  {:>4}\n", layer.format.bits);
  }
  return text;
}

std::string conversion_summary(const Conversion& conversion, const std::string& output,
                               double seconds, std::string_view kl_unit) {
  std::string text =
      fmt::format("\n{}: {} of {}, {:.3f} bits a weight ({:.3f} of codes in the layers)\n",
                  printable(output, 4096), bytes_text(conversion.bytes),
                  bytes_text(conversion.source_bytes), conversion.bpw_true, conversion.bpw_linear);
  if (conversion.sidecar_bytes != 0) {
    text += fmt::format("beside it, not counted: {} of parts that only drafting runs\n",
                        bytes_text(conversion.sidecar_bytes));
  }
  if (conversion.kl_measured != 0) {
    text +=
        fmt::format("KL against {}: {:.3e}{}, {:.3e} by the sum of the layers\n",
                    conversion.reference == "uniform_4bit" ? "a 4-bit copy" : "the full weights",
                    conversion.kl_measured, kl_unit, conversion.kl_predicted);
  }
  for (const ModelScore& score : conversion.uniform) {
    text += fmt::format("all at {} bits: {}, {:.3f} bits a weight, KL {:.3e}{}\n", score.bits,
                        bytes_text(score.bytes), score.bpw_true, score.kl,
                        perplexity_text(", perplexity ", score.perplexity));
  }
  if (!conversion.uniform.empty()) {
    text +=
        fmt::format("this result: KL {:.2f} of a uniform one of its size{}{}\n",
                    conversion.kl_measured / uniform_kl_at(conversion.uniform, conversion.bytes),
                    perplexity_text(", perplexity ", conversion.perplexity),
                    perplexity_text(", source ", conversion.source_perplexity));
  }
  if (conversion.swaps_tried > 0) {
    text +=
        fmt::format("{} swaps measured, {} kept\n", conversion.swaps_tried, conversion.swaps_kept);
  }
  return text + fmt::format("{:.0f} s\n", seconds);
}

}  // namespace quiver::cli
