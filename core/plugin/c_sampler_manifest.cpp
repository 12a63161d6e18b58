// Reads sampler manifests, treating every byte as hostile.
#include "core/plugin/c_sampler_manifest.hpp"

#include "core/plugin/manifest_json.hpp"

#include <quiver/entry.h>
#include <quiver/error.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <utility>

namespace quiver {
namespace {

using manifest::Json;
using manifest::Object;
using manifest::refuse;

bool is_symbol(std::string_view text) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const auto is_part = [&](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '$' || c == '.';
  };
  return !text.empty() && is_letter(text.front()) && std::ranges::all_of(text, is_part);
}

bool is_library(std::string_view text) {
  const auto is_part = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '+';
  };
  return text.size() > 3 && text.front() != '.' && text.ends_with(".so") &&
         std::ranges::all_of(text, is_part);
}

constexpr std::array<std::pair<std::string_view, CType>, 7> kTypes{{{"f32", CType::f32},
                                                                    {"f64", CType::f64},
                                                                    {"i32", CType::i32},
                                                                    {"i64", CType::i64},
                                                                    {"u32", CType::u32},
                                                                    {"u64", CType::u64},
                                                                    {"size", CType::size}}};

constexpr std::array<std::pair<std::string_view, CArgumentKind>, 10> kArguments{
    {{"logits", CArgumentKind::logits},
     {"ids", CArgumentKind::ids},
     {"count", CArgumentKind::count},
     {"history", CArgumentKind::history},
     {"history_length", CArgumentKind::history_length},
     {"prompt_length", CArgumentKind::prompt_length},
     {"random", CArgumentKind::random},
     {"vocabulary_size", CArgumentKind::vocabulary_size},
     {"position", CArgumentKind::position},
     {"state", CArgumentKind::state}}};

template <class Table>
auto look_up(const Table& table, std::string_view name)
    -> std::optional<typename Table::value_type::second_type> {
  const auto found = std::ranges::find(table, name, [](const auto& entry) { return entry.first; });
  if (found == table.end()) return std::nullopt;
  return found->second;
}

template <class Table>
std::string known_names(const Table& table) {
  std::string names;
  for (const auto& entry : table) names += (names.empty() ? "" : ", ") + std::string(entry.first);
  return names;
}

/// What a parameter may be. Whole numbers of any type stay within int, as all options do.
std::pair<double, double> range_of(CType type) {
  constexpr double kMostInteger = std::numeric_limits<int>::max();
  switch (type) {
    case CType::f32:
      return {std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()};
    case CType::f64:
      return {std::numeric_limits<double>::lowest(), std::numeric_limits<double>::max()};
    case CType::i32:
    case CType::i64: return {-kMostInteger, kMostInteger};
    case CType::u32:
    case CType::u64:
    case CType::size: return {0.0, kMostInteger};
  }
  return {0.0, 0.0};
}

CParameter parse_parameter(const Json& value, const std::string& where) {
  const Object object(value, where, {"name", "type", "default", "min", "max", "summary"});
  CParameter parameter{.name = object.name("name", sizeof(quiver_descriptor::name)),
                       .summary = {},
                       .type = CType::f64,
                       .default_value = object.number("default"),
                       .minimum = object.number("min"),
                       .maximum = object.number("max")};
  if (object.has("summary")) {
    parameter.summary = object.text("summary", sizeof(quiver_descriptor::summary));
  }
  const auto type = look_up(kTypes, object.text("type", 16));
  if (!type || *type == CType::size) {
    refuse("unknown type; known are f32, f64, i32, i64, u32 and u64", object.at("type"));
  }
  parameter.type = *type;
  const auto [lowest, highest] = range_of(*type);
  const bool is_whole = *type != CType::f32 && *type != CType::f64;
  for (const auto& [key, number] :
       {std::pair{"default", parameter.default_value}, std::pair{"min", parameter.minimum},
        std::pair{"max", parameter.maximum}}) {
    if (number < lowest || number > highest) {
      refuse("beyond what a parameter of this type may be", object.at(key));
    }
    if (is_whole && number != std::floor(number)) refuse("not a whole number", object.at(key));
  }
  if (parameter.minimum > parameter.maximum) refuse("min is greater than max", where);
  if (parameter.default_value < parameter.minimum || parameter.default_value > parameter.maximum) {
    refuse("default lies outside min and max", where);
  }
  return parameter;
}

void parse_arguments(const Object& object, CSamplerSpec& spec) {
  const Json& list = object.array("arguments", kMaxManifestArguments);
  std::set<std::string> parameter_names;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string where = object.at("arguments") + "[" + std::to_string(i) + "]";
    if (list[i].is_object()) {
      spec.parameters.push_back(parse_parameter(list[i], where));
      if (!parameter_names.insert(spec.parameters.back().name).second) {
        refuse("two parameters have this name", where);
      }
      spec.arguments.push_back({CArgumentKind::parameter, spec.parameters.size() - 1});
      continue;
    }
    const auto kind = list[i].is_string()
                          ? look_up(kArguments, list[i].get_ref<const std::string&>())
                          : std::nullopt;
    if (!kind) {
      refuse("unknown argument; known are " + known_names(kArguments) + " and parameters", where);
    }
    spec.arguments.push_back({*kind, 0});
  }
}

std::size_t uses(const CSamplerSpec& spec, CArgumentKind kind) {
  return static_cast<std::size_t>(std::ranges::count(spec.arguments, kind, &CArgument::kind));
}

/// Refuses signatures under which a function could not know how far it may read.
void check_signature(const CSamplerSpec& spec, const std::string& where) {
  for (const auto& [name, kind] : kArguments) {
    if (kind != CArgumentKind::random && uses(spec, kind) > 1) {
      refuse("the argument '" + std::string(name) + "' is given twice", where);
    }
  }
  const bool has_logits = uses(spec, CArgumentKind::logits) > 0;
  const bool has_ids = uses(spec, CArgumentKind::ids) > 0;
  if (!has_logits && !has_ids) refuse("neither 'logits' nor 'ids' is among the arguments", where);
  if (uses(spec, CArgumentKind::count) == 0) refuse("the argument 'count' is missing", where);
  if (uses(spec, CArgumentKind::history) != uses(spec, CArgumentKind::history_length)) {
    refuse("'history' and 'history_length' belong together", where);
  }
  if ((uses(spec, CArgumentKind::state) > 0) != (spec.state_bytes > 0)) {
    refuse("the argument 'state' and the key 'state_bytes' belong together", where);
  }
}

CSamplerSpec parse_sampler(const Json& value, const std::string& where) {
  const Object object(
      value, where,
      {"name", "summary", "symbol", "result", "result_type", "state_bytes", "arguments"});
  CSamplerSpec spec{.name = object.name("name", sizeof(quiver_descriptor::name)),
                    .summary = object.text("summary", sizeof(quiver_offer::summary)),
                    .symbol = object.text("symbol", 256),
                    .result = CResultKind::none,
                    .result_type = CType::size,
                    .state_bytes = 0,
                    .arguments = {},
                    .parameters = {}};
  if (!is_symbol(spec.symbol)) refuse("not the name of a C symbol", object.at("symbol"));
  const std::string result = object.text("result", 16);
  if (result == "count") {
    spec.result = CResultKind::count;
  } else if (result == "token") {
    spec.result = CResultKind::token;
    spec.result_type = CType::i32;
  } else if (result != "void") {
    refuse("unknown result; known are void, count and token", object.at("result"));
  }
  if (object.has("result_type")) {
    const auto type = look_up(kTypes, object.text("result_type", 16));
    if (!type || *type == CType::f32 || *type == CType::f64 || spec.result == CResultKind::none) {
      refuse("a count or token may be i32, i64, u32, u64 or size", object.at("result_type"));
    }
    spec.result_type = *type;
  }
  if (object.has("state_bytes")) {
    const double bytes = object.number("state_bytes");
    if (bytes < 1 || bytes > static_cast<double>(kMaxSamplerState) || bytes != std::floor(bytes)) {
      refuse("not a whole number from 1 to " + std::to_string(kMaxSamplerState),
             object.at("state_bytes"));
    }
    spec.state_bytes = static_cast<std::size_t>(bytes);
  }
  parse_arguments(object, spec);
  check_signature(spec, object.at("arguments"));
  return spec;
}

}  // namespace

CSamplerManifest parse_manifest(std::string_view text, const std::string& where) {
  const Json root = manifest::parse_json(text, kMaxManifestBytes, where);
  const Object object(
      root, where,
      {"quiver_sampler", "name", "version", "license", "summary", "library", "samplers"});
  if (object.number("quiver_sampler") != 1) {
    throw Error(ErrorCode::plugin,
                "the manifest is written in another form than 1, which this host reads",
                object.at("quiver_sampler"), "set it to 1, or use a host that knows the form");
  }
  CSamplerManifest manifest{.name = object.name("name", sizeof(quiver_descriptor::name)),
                            .version = object.text("version", sizeof(quiver_descriptor::version)),
                            .license = object.text("license", sizeof(quiver_descriptor::license)),
                            .summary = object.text("summary", sizeof(quiver_descriptor::summary)),
                            .library = object.text("library", 256),
                            .samplers = {}};
  if (!is_library(manifest.library)) {
    refuse("not a plain file name that ends in .so", object.at("library"));
  }
  const Json& samplers = object.array("samplers", kMaxManifestSamplers);
  std::set<std::string> names;
  for (std::size_t i = 0; i < samplers.size(); ++i) {
    const std::string at = object.at("samplers") + "[" + std::to_string(i) + "]";
    manifest.samplers.push_back(parse_sampler(samplers[i], at));
    if (!names.insert(manifest.samplers.back().name).second) {
      refuse("two samplers have this name", at);
    }
  }
  return manifest;
}

}  // namespace quiver
