// Fills the templates of a new plugin's project.
#include "core/plugin/new_project.hpp"

#include "core/plugin/project_templates.hpp"

#include <quiver/entry.h>
#include <quiver/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>
#include <system_error>
#include <utility>

namespace quiver {
namespace {

/// A file of a project: the template it comes from, and its name.
struct ProjectFile {
  std::string source;
  std::string target;
};

using Fields = std::vector<std::pair<std::string_view, std::string>>;

std::string_view text_of(std::string_view name) {
  const auto templates = project_templates();
  const auto found = std::ranges::find(templates, name, &ProjectTemplate::name);
  if (found == templates.end()) {
    throw Error(ErrorCode::internal, "a template is not in the program", std::string(name));
  }
  return found->text;
}

/// Replaces every "@KEY@" in one pass, so that what is filled in is not looked at again.
std::string fill(std::string_view text, const Fields& fields) {
  std::string filled;
  while (!text.empty()) {
    const std::size_t at = text.find('@');
    filled += text.substr(0, at);
    if (at == std::string_view::npos) break;
    text.remove_prefix(at);
    const auto match = std::ranges::find_if(
        fields, [&](const auto& entry) { return text.starts_with(entry.first); });
    filled += match != fields.end() ? std::string_view(match->second) : text.substr(0, 1);
    text.remove_prefix(match != fields.end() ? match->first.size() : 1);
  }
  return filled;
}

void check_name(const std::string& name) {
  constexpr std::array<std::string_view, 8> kTargets{
      "all",     "clean", "edit_cache", "help", "install", "list_install_components",
      "package", "test"};
  const bool is_letter_first = !name.empty() && name.front() >= 'a' && name.front() <= 'z';
  if (!is_plugin_name(name) || !is_letter_first) {
    throw Error(ErrorCode::usage, fmt::format("'{}' cannot be a plugin's name", one_line(name, 60)),
                "--name",
                "use 1 to 31 lower case letters, digits, '-', '_' and '.', a letter first");
  }
  if (std::ranges::find(kTargets, name) != kTargets.end()) {
    throw Error(ErrorCode::usage, fmt::format("'{}' is a word of CMake's own", name), "--name",
                "choose another name");
  }
}

void prepare_folder(const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder, error)) {
    if (!std::filesystem::is_directory(folder, error)) {
      throw Error(ErrorCode::usage, "not a folder", folder.string(), "name a new one");
    }
    if (!std::filesystem::is_empty(folder, error) || error) {
      throw Error(ErrorCode::usage, "the folder is not empty", folder.string(), "name a new one");
    }
    return;
  }
  if (!std::filesystem::create_directories(folder, error)) {
    throw Error(ErrorCode::resources, "the folder cannot be made: " + error.message(),
                folder.string());
  }
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream stream(path, std::ios::binary);
  stream << text;
  stream.close();
  if (!stream) {
    throw Error(ErrorCode::resources,
                fmt::format("the file cannot be written: {}", std::strerror(errno)), path.string(),
                "check the space and the permissions");
  }
}

std::vector<ProjectFile> files_of(const NewProject& project) {
  const std::string& name = project.name;
  if (project.language == ProjectLanguage::c) {
    return {{"c/CMakeLists.txt", "CMakeLists.txt"},
            {"c/README.md", "README.md"},
            {"c/sampler.c", name + ".c"},
            {"c/sampler.json", name + ".sampler.json"}};
  }
  std::vector<ProjectFile> files{
      {"cpp/CMakeLists.txt", "CMakeLists.txt"},
      {"cpp/README.md", "README.md"},
      {fmt::format("cpp/{}.cpp", kind_name(project.kind)), name + ".cpp"}};
  if (project.kind == OfferKind::architecture) files.push_back({"cpp/config.json", "config.json"});
  return files;
}

std::string_view header_of(OfferKind kind) {
  switch (kind) {
    case OfferKind::architecture: return "architecture.hpp";
    case OfferKind::sampler: return "sampler.hpp";
    case OfferKind::canvas_sampler: return "canvas_sampler.hpp";
    case OfferKind::quant_scheme: return "quant_scheme.hpp";
    case OfferKind::kv_strategy: return "kv_strategy.hpp";
  }
  return "plugin.hpp";
}

Fields fields_of(const NewProject& project) {
  std::string model_type = project.name;
  for (char& c : model_type) c = c == '-' || c == '.' ? '_' : c;
  const bool is_architecture = project.kind == OfferKind::architecture;
  const std::string_view noun = kind_noun(project.kind);
  return {{"@NAME@", project.name},
          {"@MODEL_TYPE@", model_type},
          {"@API_VERSION@", fmt::format("{}.{}", QUIVER_API_MAJOR, QUIVER_API_MINOR)},
          {"@HEADER@", std::string(header_of(project.kind))},
          {"@KIND_PHRASE@", fmt::format("{} {}", is_architecture ? "an" : "a", noun)},
          {"@CHECK_ARGUMENTS@",
           is_architecture ? " --config ${CMAKE_CURRENT_SOURCE_DIR}/config.json" : ""}};
}

}  // namespace

std::vector<std::filesystem::path> write_new_project(const std::filesystem::path& folder,
                                                     const NewProject& project) {
  check_name(project.name);
  if (project.language == ProjectLanguage::c && project.kind != OfferKind::sampler) {
    throw Error(ErrorCode::usage, "only samplers can be written in C", "--language",
                "use --language cpp");
  }
  prepare_folder(folder);
  const Fields fields = fields_of(project);
  std::vector<std::filesystem::path> written;
  for (const auto& [source, target] : files_of(project)) {
    written.push_back(folder / target);
    write_file(written.back(), fill(text_of(source), fields));
  }
  return written;
}

}  // namespace quiver
