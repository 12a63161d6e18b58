// Reads recorded sensitivity tables.
#include "core/quantize/sensitivity_table.hpp"

#include "core/model/json_file.hpp"
#include "core/model/role_name.hpp"
#include "core/quantize/layer_names.hpp"
#include "core/tensor/printable.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace quiver {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLargestFile = std::size_t{64} << 20U;
constexpr const char* kHint =
    R"(write {"layers": [{"name": .., "parameters": .., "kl": {"4": .., "8": ..}}]})";

[[noreturn]] void refuse(const std::string& what, const std::string& where) {
  throw Error(ErrorCode::bad_input, what, where, kHint);
}

/// The value under the first of the names that is there, or nullptr.
const Json* find(const Json& object, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto found = object.find(name);
    if (found != object.end()) return &*found;
  }
  return nullptr;
}

std::uint64_t read_size(const Json& value, const char* key, const std::string& where) {
  if (!value.is_number_unsigned()) {
    refuse(fmt::format("'{}' is not a whole number of zero or more", key), where);
  }
  return value.get<std::uint64_t>();
}

int read_small(const Json& value, const char* key, int least, const std::string& where) {
  constexpr int kMost = 1 << 20;
  if (!value.is_number_integer() || value < least || value > kMost) {
    refuse(fmt::format("'{}' is not a whole number from {} to {}", key, least, kMost), where);
  }
  return value.get<int>();
}

int read_width(const std::string& text, const std::string& where) {
  int bits = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, bits);
  if (error != std::errc() || stop != end || bits < 1 || bits > 32) {
    refuse(in_quotes(text) + " is not a width in bits", where);
  }
  return bits;
}

/// Calls visit(bits, value) for every member of {"4": .., "8": ..}.
template <class Visit>
void for_each_width(const Json& object, const char* key, const std::string& where,
                    const Visit& visit) {
  if (!object.is_object()) refuse(fmt::format("'{}' is not an object of widths", key), where);
  for (const auto& [bits, value] : object.items()) visit(read_width(bits, where), value);
}

SensitivityLayer read_layer(const Json& entry, std::size_t index, const std::string& origin) {
  const std::string place = fmt::format("{}, entry {}", origin, index);
  if (!entry.is_object()) refuse("a layer is not an object", place);
  SensitivityLayer layer;
  const Json* name = find(entry, {"name", "layer_name"});
  if (name == nullptr || !name->is_string() || name->get_ref<const std::string&>().empty()) {
    refuse("a layer has no name", place);
  }
  layer.name = name->get<std::string>();
  const std::string where = fmt::format("{}, {}", origin, printable(layer.name));
  const Json* parameters = find(entry, {"parameters", "param_count"});
  if (parameters == nullptr) refuse("'parameters' is missing", where);
  layer.parameters = read_size(*parameters, "parameters", where);
  const Json* kl = find(entry, {"kl", "sensitivities"});
  if (kl == nullptr) refuse("'kl' is missing", where);
  for_each_width(*kl, "kl", where, [&](int bits, const Json& value) {
    if (value.is_null()) return;
    if (!value.is_number()) refuse(fmt::format("the KL at {} bits is not a number", bits), where);
    layer.kl[bits] = value.get<double>();
  });
  if (const Json* bytes = find(entry, {"bytes"})) {
    for_each_width(*bytes, "bytes", where, [&](int bits, const Json& value) {
      layer.bytes[bits] = read_size(value, "bytes", where);
    });
  }
  layer.block = block_in_name(layer.name);
  if (const Json* block = find(entry, {"block"})) {
    layer.block = read_small(*block, "block", -1, where);
  }
  if (const Json* group = find(entry, {"group_size"})) {
    layer.group_size = read_small(*group, "group_size", 1, where);
  }
  if (const Json* role = find(entry, {"role"})) {
    const auto known = role->is_string() ? role_of(role->get<std::string>()) : std::nullopt;
    if (!known) refuse("'role' is not one that layers have", where);
    layer.role = *known;
  }
  return layer;
}

/// Width of the uniform reference that a table's "reference" names, 0 for the full weights.
int read_reference(const Json& value, const std::string& origin) {
  const std::string name = value.is_string() ? value.get<std::string>() : "";
  if (name == "uniform4" || name == "uniform_4bit") return 4;
  if (name == "bf16" || name == "structural_rules") return 0;
  refuse("'reference' is neither bf16 nor uniform4", origin);
}

}  // namespace

SensitivityTable read_sensitivity(const Json& json, const std::string& origin) {
  const Json* layers = json.is_array() ? &json : nullptr;
  SensitivityTable table;
  if (json.is_object()) {
    layers = find(json, {"layers"});
    if (const Json* fixed = find(json, {"fixed"})) {
      if (!fixed->is_object()) refuse("'fixed' is not an object", origin);
      if (const Json* bytes = find(*fixed, {"bytes"})) {
        table.fixed_bytes = read_size(*bytes, "bytes", origin);
      }
      if (const Json* parameters = find(*fixed, {"parameters"})) {
        table.fixed_parameters = read_size(*parameters, "parameters", origin);
      }
    }
    if (const Json* name = find(json, {"reference"})) {
      table.uniform_bits = read_reference(*name, origin);
    }
  }
  if (layers == nullptr || !layers->is_array()) refuse("there is no list of layers", origin);
  for (const Json& entry : *layers) {
    table.layers.push_back(read_layer(entry, table.layers.size(), origin));
  }
  return table;
}

SensitivityTable read_sensitivity_file(const std::filesystem::path& path) {
  return read_sensitivity(read_json_file(path, kLargestFile), printable(path.string()));
}

std::optional<std::uint64_t> stored_bytes(std::uint64_t parameters, int bits, int group_size) {
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 53U;
  if (parameters > kLargest) return std::nullopt;
  if (bits >= 16) return parameters * 2;
  const auto group = static_cast<std::uint64_t>(group_size);
  const std::uint64_t code_bits = parameters * static_cast<std::uint64_t>(bits);
  if (group_size <= 0 || parameters % group != 0 || code_bits % 8 != 0) return std::nullopt;
  return code_bits / 8 + parameters / group * 4;
}

AllocationProblem allocation_problem(const SensitivityTable& table, const CandidateWidths& widths) {
  AllocationProblem problem;
  problem.fixed_bytes = table.fixed_bytes;
  problem.fixed_parameters = table.fixed_parameters;
  std::vector<int> bits_list = widths.bits;
  std::ranges::sort(bits_list);
  for (const SensitivityLayer& layer : table.layers) {
    AllocationUnit unit = {layer.name, layer.role, layer.block, layer.parameters, {}};
    const int group_size = layer.group_size > 0 ? layer.group_size : widths.group_size;
    for (const int bits : bits_list) {
      const bool is_kept = bits >= 16;
      AllocationChoice choice = {.bits = bits, .group_size = is_kept ? 0 : group_size};
      const auto kl = layer.kl.find(bits);
      choice.kl = kl != layer.kl.end() ? kl->second
                  : is_kept            ? 0
                                       : std::numeric_limits<double>::quiet_NaN();
      const auto known = layer.bytes.find(bits);
      const auto bytes = known != layer.bytes.end()
                             ? known->second
                             : stored_bytes(layer.parameters, bits, group_size);
      if (!bytes) {
        throw Error(ErrorCode::bad_input,
                    fmt::format("groups of {} do not divide its {} parameters", group_size,
                                layer.parameters),
                    printable(layer.name), "give the layer's bytes, or another group size");
      }
      choice.bytes = *bytes;
      unit.choices.push_back(choice);
    }
    problem.units.push_back(std::move(unit));
  }
  return problem;
}

void set_losses(AllocationProblem& problem, const SensitivityTable& table) {
  if (table.uniform_bits == 0) return;
  for (AllocationUnit& unit : problem.units) {
    for (AllocationChoice& choice : unit.choices) {
      if (choice.bits > table.uniform_bits) choice.kl = -choice.kl;
    }
  }
}

}  // namespace quiver
