// quiver plugins: list, inspect, check, new, lock, verify.
#include "core/plugin/check.hpp"
#include "core/plugin/lock_plugins.hpp"
#include "core/plugin/new_project.hpp"
#include "core/tensor/printable.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/plugins_report.hpp"
#include "host/cli/session.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>

namespace quiver::cli {
namespace {

constexpr std::string_view kKinds = "architecture|sampler|canvas-sampler|quant|kv";

constexpr OptionRow kListOptions[] = {{.name = "kind",
                                       .value = "KIND",
                                       .choices = kKinds,
                                       .help = "Only plugins that offer something of this kind"}};
constexpr OptionGroup kListGroups[] = {{"Options", kListOptions}};
constexpr Example kListExamples[] = {
    {"plugins list --kind sampler", "Every plugin that offers samplers"}};

constexpr PositionalRow kInspectPositionals[] = {
    {.name = "PLUGIN", .help = "Name of a plugin, or its file", .completes = Completes::file}};

constexpr PositionalRow kCheckPositionals[] = {
    {.name = "FILE",
     .help = "A plugin's shared object, or a sampler's manifest",
     .completes = Completes::file}};
constexpr OptionRow kCheckOptions[] = {{.name = "only",
                                        .value = "GLOB",
                                        .default_value = "*",
                                        .help = "Run only checks of these names"},
                                       {.name = "config",
                                        .value = "FILE",
                                        .help = "A config.json for the checks of architectures",
                                        .completes = Completes::file}};
constexpr OptionGroup kCheckGroups[] = {{"Options", kCheckOptions}};
constexpr Example kCheckExamples[] = {
    {"plugins check ./my-sampler.so --only '*deterministic*'", "Some of the checks"}};

constexpr PositionalRow kNewPositionals[] = {
    {.name = "DIR", .help = "Folder to make", .completes = Completes::folder}};
constexpr OptionRow kNewOptions[] = {
    {.name = "kind",
     .value = "KIND",
     .choices = kKinds,
     .default_value = "sampler",
     .help = "What the plugin is to offer"},
    {.name = "name",
     .value = "NAME",
     .help = "Name of the plugin; that of the folder where not given"},
    {.name = "language",
     .value = "LANGUAGE",
     .choices = "cpp|c",
     .default_value = "cpp",
     .help = "Language of the source; c is for samplers"}};
constexpr OptionGroup kNewGroups[] = {{"Options", kNewOptions}};
constexpr Example kNewExamples[] = {
    {"plugins new my-sampler --kind sampler", "A project that builds against the installed SDK"}};

/// A plugin was not what it should be.
constexpr int kFailed = static_cast<int>(ErrorCode::plugin);

int run_list(const Arguments& arguments) {
  const auto registry = open_registry(arguments);
  const auto kind = arguments.has("kind") ? parse_kind(arguments.text("kind")) : std::nullopt;
  const auto entries = of_kind(registry->entries(), kind);
  if (arguments.flag("json")) {
    print_json(plugins_list_json(entries));
  } else {
    print(plugins_list_text(entries, is_stdout_terminal()));
  }
  return 0;
}

int run_inspect(const Arguments& arguments) {
  const auto registry = open_registry(arguments);
  const PluginInspection inspection = inspect_plugin(*registry, arguments.text("PLUGIN"));
  if (arguments.flag("json")) {
    print_json(plugin_inspection_json(inspection));
  } else {
    print(plugin_inspection_text(inspection, is_stdout_terminal()));
  }
  return 0;
}

int run_lock(const Arguments& arguments) {
  const auto registry = open_registry(arguments);
  const auto plugins = lock_plugins(*registry);
  const std::filesystem::path& file = registry->options().lock_file;
  if (arguments.flag("json")) {
    print_json(plugins_lock_json(file, plugins));
  } else {
    print(fmt::format("{} plugins pinned in {}\n", plugins.size(), printable(file.string(), 4096)));
  }
  return 0;
}

int run_verify(const Arguments& arguments) {
  const auto registry = open_registry(arguments);
  const auto plugins = verify_plugins(*registry);
  if (arguments.flag("json")) {
    print_json(plugins_verify_json(plugins));
  } else {
    print(plugins_verify_text(plugins, is_stdout_terminal()));
  }
  const bool is_good = std::ranges::all_of(
      plugins, [](const VerifiedPlugin& one) { return one.state == LockedState::same; });
  return is_good ? 0 : kFailed;
}

int run_check(const Arguments& arguments) {
  CheckOptions options;
  options.only = arguments.text("only");
  options.config = arguments.path("config");
  if (arguments.has("threads")) options.jobs = static_cast<int>(arguments.integer("threads", 1));
  const CheckReport report = run_checks(arguments.path("FILE"), options);
  if (arguments.flag("json")) {
    print_json(check_report_json(report));
  } else {
    print(check_report_text(report, is_stdout_terminal()));
  }
  return report.count(CheckStatus::failed) == 0 ? 0 : kFailed;
}

int run_new(const Arguments& arguments) {
  const std::filesystem::path folder = arguments.path("DIR");
  NewProject project;
  project.kind = *parse_kind(arguments.text("kind"));
  const std::filesystem::path named = folder.has_filename() ? folder : folder.parent_path();
  project.name = arguments.has("name") ? arguments.text("name") : named.filename().string();
  project.language = arguments.text("language") == "c" ? ProjectLanguage::c : ProjectLanguage::cpp;
  const auto files = write_new_project(folder, project);
  nlohmann::ordered_json names = nlohmann::ordered_json::array();
  std::string text;
  for (const auto& file : files) {
    names.push_back(file.string());
    text += printable(file.string(), 4096) + "\n";
  }
  if (arguments.flag("json")) {
    print_json({{"name", project.name}, {"kind", arguments.text("kind")}, {"files", names}});
  } else {
    print(text);
  }
  return 0;
}

constexpr Command kListCommand = {
    .name = "plugins list",
    .summary = "Lists every plugin found, with the reason where one is not used",
    .description = "A file that was never seen before is rehearsed once, in a process of its own.",
    .groups = kListGroups,
    .examples = kListExamples,
    .run = run_list};
constexpr Command kInspectCommand = {.name = "plugins inspect",
                                     .summary = "Tells everything about one plugin",
                                     .positionals = kInspectPositionals,
                                     .run = run_inspect};
constexpr Command kCheckCommand = {
    .name = "plugins check",
    .summary = "Validates a plugin: a line a test, each in its own process",
    .description =
        "Exit status 4 tells that a check failed. --threads says how many run at a time.",
    .positionals = kCheckPositionals,
    .groups = kCheckGroups,
    .examples = kCheckExamples,
    .run = run_check};
constexpr Command kNewCommand = {.name = "plugins new",
                                 .summary = "Writes the project of a new plugin",
                                 .positionals = kNewPositionals,
                                 .groups = kNewGroups,
                                 .examples = kNewExamples,
                                 .run = run_new};
constexpr Command kLockCommand = {
    .name = "plugins lock",
    .summary = "Pins the plugins that are good today by their SHA-256 sums",
    .description = "From then on nothing else loads. Removing the lock file ends that.",
    .run = run_lock};
constexpr Command kVerifyCommand = {
    .name = "plugins verify",
    .summary = "Tells whether the pinned plugins are still what they were",
    .description = "Exit status 4 tells that one changed or is missing.",
    .run = run_verify};

}  // namespace

const Command& plugins_list_command() {
  return kListCommand;
}
const Command& plugins_inspect_command() {
  return kInspectCommand;
}
const Command& plugins_check_command() {
  return kCheckCommand;
}
const Command& plugins_new_command() {
  return kNewCommand;
}
const Command& plugins_lock_command() {
  return kLockCommand;
}
const Command& plugins_verify_command() {
  return kVerifyCommand;
}

}  // namespace quiver::cli
