// What the commands about plugins tell: as JSON for scripts, as text for people.
#include "host/cli/plugins_report.hpp"

#include "core/plugin/offers.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace quiver::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string kinds_of(const PluginEntry& entry) {
  std::vector<std::string_view> kinds;
  for (const PluginOffer& offer : entry.descriptor.offers) {
    const std::string_view kind = kind_name(offer.kind);
    if (std::ranges::find(kinds, kind) == kinds.end()) kinds.push_back(kind);
  }
  return kinds.empty() ? "unknown" : fmt::format("{}", fmt::join(kinds, ", "));
}

Json offer_json(const PluginOffer& offer) {
  return {{"kind", kind_name(offer.kind)},
          {"name", offer.name},
          {"summary", offer.summary},
          {"model_types", offer.model_types},
          {"gguf_architectures", offer.gguf_architectures}};
}

Json entry_json(const PluginEntry& entry) {
  const PluginDescriptor& descriptor = entry.descriptor;
  Json offers = Json::array();
  for (const PluginOffer& offer : descriptor.offers) offers.push_back(offer_json(offer));
  return {{"name", descriptor.name},
          {"version", descriptor.version},
          {"kind", descriptor.offers.empty() ? "unknown" : kind_name(descriptor.offers[0].kind)},
          {"path", entry.path.string()},
          {"state", state_name(entry.state)},
          {"reason", entry.reason},
          {"reason_code", fault_name(entry.fault)},
          {"license", descriptor.license},
          {"summary", descriptor.summary},
          {"offers", std::move(offers)}};
}

/// The text in the colour of a state: good, doubtful, bad.
std::string painted(std::string text, int level, bool is_coloured) {
  if (!is_coloured) return text;
  constexpr const char* kColours[] = {"\x1b[32m", "\x1b[33m", "\x1b[31m"};
  return std::string(kColours[level]) + std::move(text) + "\x1b[0m";
}

int level_of(PluginState state) {
  switch (state) {
    case PluginState::ok: return 0;
    case PluginState::shadowed:
    case PluginState::unseen: return 1;
    default: return 2;
  }
}

const char* type_name(OptionKind kind) {
  switch (kind) {
    case OptionKind::number: return "number";
    case OptionKind::integer: return "integer";
    case OptionKind::flag: return "flag";
    case OptionKind::text: return "text";
  }
  return "unknown";
}

Json number_json(OptionKind kind, double number) {
  if (!std::isfinite(number)) return nullptr;
  if (kind == OptionKind::flag) return number != 0;
  if (kind == OptionKind::integer) return std::llround(number);
  return number;
}

Json option_json(const PluginInspection::Option& option) {
  const OptionSpec& spec = option.spec;
  Json json = {{"offer", option.offer}, {"name", spec.name}, {"type", type_name(spec.kind)}};
  if (spec.kind == OptionKind::text) {
    json["default"] = spec.default_text != nullptr ? Json(spec.default_text) : Json(nullptr);
  } else {
    json["default"] = number_json(spec.kind, spec.default_value);
  }
  const bool has_range = spec.kind == OptionKind::number || spec.kind == OptionKind::integer;
  json["minimum"] = has_range ? number_json(spec.kind, spec.minimum) : Json(nullptr);
  json["maximum"] = has_range ? number_json(spec.kind, spec.maximum) : Json(nullptr);
  json["summary"] = spec.summary;
  return json;
}

Json locked_json(const LockedPlugin& plugin) {
  return {{"name", plugin.name}, {"path", plugin.path.string()}, {"sha256", plugin.sha256}};
}

void add_line(std::string& text, std::string_view title, std::string_view value) {
  if (!value.empty()) text += fmt::format("{:<9} {}\n", title, value);
}

}  // namespace

std::vector<PluginEntry> of_kind(std::vector<PluginEntry> entries, std::optional<OfferKind> kind) {
  if (kind) {
    std::erase_if(entries, [&](const PluginEntry& entry) {
      return std::ranges::find(entry.descriptor.offers, *kind, &PluginOffer::kind) ==
             entry.descriptor.offers.end();
    });
  }
  return entries;
}

Json plugins_list_json(std::span<const PluginEntry> entries) {
  Json plugins = Json::array();
  for (const PluginEntry& entry : entries) plugins.push_back(entry_json(entry));
  return {{"plugins", std::move(plugins)}};
}

std::string plugins_list_text(std::span<const PluginEntry> entries, bool is_coloured) {
  if (entries.empty()) return "no plugins found\n";
  constexpr std::string_view kStateTitle = "shadowed";  // as wide as the widest state
  std::size_t name_width = 4;
  std::size_t version_width = 7;
  std::size_t kind_width = 4;
  for (const PluginEntry& entry : entries) {
    name_width = std::max(name_width, entry.descriptor.name.size());
    version_width = std::max(version_width, entry.descriptor.version.size());
    kind_width = std::max(kind_width, kinds_of(entry).size());
  }
  std::string text =
      fmt::format("{:<{}}  {:<{}}  {:<{}}  {:<{}}  {}\n", "state", kStateTitle.size(), "name",
                  name_width, "version", version_width, "kind", kind_width, "offers");
  for (const PluginEntry& entry : entries) {
    std::vector<std::string_view> names;
    for (const PluginOffer& offer : entry.descriptor.offers) names.push_back(offer.name);
    const std::string state = fmt::format("{:<{}}", state_name(entry.state), kStateTitle.size());
    text += fmt::format("{}  {:<{}}  {:<{}}  {:<{}}  {}\n",
                        painted(state, level_of(entry.state), is_coloured), entry.descriptor.name,
                        name_width, entry.descriptor.version, version_width, kinds_of(entry),
                        kind_width, fmt::join(names, ", "));
    if (entry.state != PluginState::ok) text += fmt::format("          {}\n", entry.path.string());
    if (!entry.reason.empty()) text += fmt::format("          {}\n", entry.reason);
  }
  return text;
}

PluginInspection inspect_plugin(const PluginRegistry& registry, const std::string& name_or_file) {
  auto entry = registry.find_plugin(name_or_file);
  if (!entry) {
    std::vector<std::string> names;
    for (const PluginEntry& known : registry.candidates()) names.push_back(known.descriptor.name);
    throw Error(
        ErrorCode::plugin, fmt::format("there is no plugin '{}'", one_line(name_or_file, 200)),
        "plugins inspect",
        names.empty() ? "none is installed" : fmt::format("found are {}", fmt::join(names, ", ")));
  }
  PluginInspection inspection;
  inspection.entry = *std::move(entry);
  if (inspection.entry.state != PluginState::ok) return inspection;
  inspection.library = registry.load(inspection.entry);
  for (const PluginOffer& offer : inspection.entry.descriptor.offers) {
    for (const OptionSpec& spec : offer_options(*inspection.library, offer)) {
      inspection.options.push_back({offer.name, spec});
    }
  }
  return inspection;
}

Json plugin_inspection_json(const PluginInspection& inspection) {
  const PluginDescriptor& descriptor = inspection.entry.descriptor;
  Json json = entry_json(inspection.entry);
  json["api"] = fmt::format("{}.{}", descriptor.api_major, descriptor.api_minor);
  json["abi"] = descriptor.abi_stamp;
  json["options"] = Json::array();
  for (const auto& option : inspection.options) json["options"].push_back(option_json(option));
  return json;
}

std::string plugin_inspection_text(const PluginInspection& inspection, bool is_coloured) {
  const PluginEntry& entry = inspection.entry;
  const PluginDescriptor& descriptor = entry.descriptor;
  std::string text;
  add_line(text, "name", descriptor.name);
  add_line(text, "version", descriptor.version);
  add_line(text, "license", descriptor.license);
  add_line(text, "summary", descriptor.summary);
  add_line(text, "path", entry.path.string());
  add_line(text, "state",
           painted(std::string(state_name(entry.state)), level_of(entry.state), is_coloured));
  add_line(text, "reason", entry.reason);
  if (!descriptor.abi_stamp.empty()) {
    add_line(text, "built for",
             fmt::format("API {}.{}, ABI \"{}\"", descriptor.api_major, descriptor.api_minor,
                         descriptor.abi_stamp));
  }
  for (const PluginOffer& offer : descriptor.offers) {
    text += fmt::format("\n{} {}\n", kind_noun(offer.kind), offer.name);
    if (!offer.summary.empty()) text += fmt::format("  {}\n", offer.summary);
    if (!offer.model_types.empty()) {
      text += fmt::format("  model types: {}\n", fmt::join(offer.model_types, ", "));
    }
    if (!offer.gguf_architectures.empty()) {
      text += fmt::format("  imports GGUF: {}\n", fmt::join(offer.gguf_architectures, ", "));
    }
    for (const auto& option : inspection.options) {
      if (option.offer != offer.name) continue;
      text += fmt::format("  {:<20} {} ({})\n", option.spec.name, option.spec.summary,
                          describe_option(option.spec));
    }
  }
  return text;
}

Json plugins_lock_json(const std::filesystem::path& lock_file,
                       std::span<const LockedPlugin> plugins) {
  Json list = Json::array();
  for (const LockedPlugin& plugin : plugins) list.push_back(locked_json(plugin));
  return {{"lock_file", lock_file.string()}, {"plugins", std::move(list)}};
}

Json plugins_verify_json(std::span<const VerifiedPlugin> plugins) {
  Json list = Json::array();
  std::size_t passed = 0;
  for (const VerifiedPlugin& verified : plugins) {
    passed += verified.state == LockedState::same ? 1 : 0;
    list.push_back(locked_json(verified.plugin));
    list.back()["state"] = locked_state_name(verified.state);
  }
  return {{"passed", passed}, {"failed", plugins.size() - passed}, {"plugins", std::move(list)}};
}

std::string plugins_verify_text(std::span<const VerifiedPlugin> plugins, bool is_coloured) {
  std::string text;
  for (const VerifiedPlugin& verified : plugins) {
    const std::string state = fmt::format("{:<8}", locked_state_name(verified.state));
    text += fmt::format(
        "{} {} ({})\n", painted(state, verified.state == LockedState::same ? 0 : 2, is_coloured),
        one_line(verified.plugin.name, 80), one_line(verified.plugin.path.string()));
  }
  return text.empty() ? "no plugins are locked\n" : text;
}

}  // namespace quiver::cli
