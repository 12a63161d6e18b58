// How widths are chosen: the options, and the report.
#include "host/cli/allocation_options.hpp"

#include "core/quantize/allocate_greedy.hpp"
#include "core/quantize/static_scores.hpp"
#include "core/tensor/printable.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>

namespace quiver::cli {
namespace {

constexpr std::array kWidths = {2, 3, 4, 5, 6, 8, 16};
constexpr int kLargestGroup = 1 << 16;
constexpr int kLargestFloor = 1 << 16;

/// A width that a layer can have, or nothing.
std::optional<int> width_of(std::string_view text) {
  int bits = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, bits);
  const bool is_known = std::ranges::find(kWidths, bits) != kWidths.end();
  if (error != std::errc() || stop != end || !is_known) return std::nullopt;
  return bits;
}

std::vector<int> read_widths(const std::string& text) {
  std::vector<int> widths;
  std::string_view rest = text;
  for (;;) {
    const std::size_t comma = rest.find(',');
    const auto bits = width_of(rest.substr(0, comma));
    if (!bits || std::ranges::find(widths, *bits) != widths.end()) {
      throw Error(ErrorCode::usage,
                  bits ? fmt::format("{} bits stand there twice", *bits)
                       : in_quotes(rest.substr(0, comma)) + " is not a width",
                  "--candidate-bits", "name some of 2,3,4,5,6,8,16, separated by commas");
    }
    widths.push_back(*bits);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  std::ranges::sort(widths);
  return widths;
}

AllocationPin read_pin(const std::string& text) {
  const std::size_t equals = text.rfind('=');
  const auto bits = equals == std::string::npos ? std::nullopt : width_of(text.substr(equals + 1));
  if (!bits || equals == 0) {
    throw Error(ErrorCode::usage, in_quotes(text) + " is not GLOB=BITS", "--pin",
                "write e.g. '*.lm_head=8'; bits are 2, 3, 4, 5, 6, 8 or 16");
  }
  return {text.substr(0, equals), *bits};
}

}  // namespace

AllocationRequest read_allocation_request(const Arguments& arguments) {
  constexpr int kCompatFloor = 2;
  AllocationRequest request;
  request.target_bpw = arguments.number("target-bpw", 0, 64);
  request.widths.bits = read_widths(arguments.text("candidate-bits"));
  request.widths.group_size = static_cast<int>(arguments.integer("group-size", 1, kLargestGroup));
  request.is_static = arguments.text("method") == "static";
  request.is_compat = arguments.has("compat");
  request.rules.floor_per_block =
      arguments.has("floor-per-block")
          ? static_cast<int>(arguments.integer("floor-per-block", 0, kLargestFloor))
          : (request.is_compat ? kCompatFloor : 0);
  request.rules.protect = arguments.texts("protect");
  for (const std::string& pin : arguments.texts("pin")) request.rules.pins.push_back(read_pin(pin));
  if (request.is_compat && (!request.rules.protect.empty() || !request.rules.pins.empty())) {
    throw Error(ErrorCode::usage, "the package that --compat names has neither pins nor protection",
                arguments.has("pin") ? "--pin" : "--protect", "leave out one of the two options");
  }
  return request;
}

AllocationResult allocate(const SensitivityTable& table, const AllocationRequest& request) {
  AllocationResult result{allocation_problem(table, request.widths), {}};
  if (request.is_static) {
    if (request.is_compat) {
      set_static_scores_by_name(result.problem);
    } else {
      set_static_scores(result.problem);
    }
  } else if (!request.is_compat) {
    set_losses(result.problem, table);
  }
  result.allocation =
      request.is_compat
          ? allocate_greedy(result.problem, {request.target_bpw, request.rules.floor_per_block})
          : allocate_exact(result.problem, request.rules, request.target_bpw);
  return result;
}

nlohmann::ordered_json allocation_json(const SensitivityTable& table,
                                       const AllocationRequest& request,
                                       const AllocationResult& result) {
  using Json = nlohmann::ordered_json;
  const Allocation& allocation = result.allocation;
  Json layers = Json::array();
  for (std::size_t u = 0; u < result.problem.units.size(); ++u) {
    const AllocationUnit& unit = result.problem.units[u];
    const AllocationChoice& choice = unit.choices[allocation.choices[u]];
    Json kl = Json::object();
    for (const auto& [bits, value] : table.layers[u].kl) kl[std::to_string(bits)] = value;
    layers.push_back({{"name", unit.name},
                      {"bits", choice.bits},
                      {"group_size", choice.group_size},
                      {"kl", std::move(kl)}});
  }
  Json json = {
      {"layers", std::move(layers)},         {"bpw_true", allocation.bpw_true},
      {"bpw_linear", allocation.bpw_linear}, {"bytes", allocation.bytes},
      {"target_bpw", request.target_bpw},    {"method", request.is_static ? "static" : "measured"}};
  if (!request.is_static) json["kl_predicted"] = allocation.kl;
  json["is_optimal"] = allocation.is_optimal;
  json["grain_bytes"] = allocation.grain_bytes;
  return json;
}

std::string allocation_text(const AllocationRequest& request, const AllocationResult& result) {
  const auto& units = result.problem.units;
  const Allocation& allocation = result.allocation;
  std::size_t width = 5;
  std::vector<std::string> names;
  for (const AllocationUnit& unit : units) {
    names.push_back(printable(unit.name));
    width = std::max(width, names.back().size());
  }
  std::string text = fmt::format("{:<{}}  bits  group  {:>9}\n", "layer", width,
                                 request.is_static ? "score" : "KL");
  std::map<int, std::size_t> counts;
  for (std::size_t u = 0; u < units.size(); ++u) {
    const AllocationChoice& choice = units[u].choices[allocation.choices[u]];
    text += fmt::format("{:<{}}  {:>4}  {:>5}  {:>9.3e}\n", names[u], width, choice.bits,
                        choice.group_size > 0 ? std::to_string(choice.group_size) : "-", choice.kl);
    ++counts[choice.bits];
  }
  text += '\n';
  for (const auto& [bits, count] : counts) {
    text += fmt::format("{:>2} bits  {} {}\n", bits, count, count == 1 ? "layer" : "layers");
  }
  text += fmt::format("{:.4f} true bits per weight ({} bytes), {:.4f} of codes alone",
                      allocation.bpw_true, allocation.bytes, allocation.bpw_linear);
  if (!request.is_static) text += fmt::format("; sum of KLs {:.4g}", allocation.kl);
  return text + '\n';
}

std::string allocation_warning(const AllocationRequest& request, const AllocationResult& result) {
  constexpr double kOvershoot = 0.25;
  const Allocation& allocation = result.allocation;
  if (request.is_compat && allocation.bpw_linear > request.target_bpw + kOvershoot) {
    return fmt::format(
        "{:.2f} bits per weight instead of {:g}: the floor of each block and the guard against "
        "runs need more; see --floor-per-block",
        allocation.bpw_linear, request.target_bpw);
  }
  if (!request.is_compat && !allocation.is_optimal) {
    return fmt::format(
        "sizes were told apart by {} bytes only; the least sum of KLs lies between {:.6g} and "
        "{:.6g}",
        allocation.grain_bytes, allocation.kl_bound, allocation.kl);
  }
  return {};
}

}  // namespace quiver::cli
