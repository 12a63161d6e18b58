// Where the model that a user named lies.
#include "host/cli/model_location.hpp"

#include "core/model/json_file.hpp"
#include "core/plugin/search_path.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <system_error>

namespace quiver::cli {
namespace {

namespace fs = std::filesystem;

/// A plain file name: no slash, no leading dot, nothing a shell or a terminal would mind.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 96 && name.front() != '.' &&
         std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

/// The snapshot that refs/main names; without that file the only snapshot there is.
fs::path find_snapshot(const fs::path& repository) {
  constexpr std::size_t kLongestReference = 200;
  std::error_code error;
  if (fs::is_regular_file(repository / "refs" / "main", error)) {
    std::string revision = read_small_file(repository / "refs" / "main", kLongestReference);
    while (!revision.empty() && (revision.back() == '\n' || revision.back() == ' ')) {
      revision.pop_back();
    }
    const fs::path snapshot = repository / "snapshots" / revision;
    return is_plain_name(revision) && fs::is_directory(snapshot, error) ? snapshot : fs::path();
  }
  fs::path only;
  for (const auto& entry : fs::directory_iterator(repository / "snapshots", error)) {
    if (!entry.is_directory(error)) continue;
    if (!only.empty()) return {};
    only = entry.path();
  }
  return only;
}

}  // namespace

fs::path hub_cache() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value != nullptr ? value : "");
  };
  if (const fs::path cache = variable("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const fs::path home = variable("HF_HOME"); !home.empty()) return home / "hub";
  const fs::path cache = user_folder("XDG_CACHE_HOME", ".cache");
  return cache.empty() ? cache : cache / "huggingface" / "hub";
}

fs::path find_model(const std::string& model) {
  std::error_code error;
  if (!model.empty() && fs::exists(model, error)) return model;
  const std::size_t slash = model.find('/');
  const std::string owner = model.substr(0, slash);
  const std::string name = slash == std::string::npos ? "" : model.substr(slash + 1);
  if (!is_plain_name(owner) || !is_plain_name(name)) {
    throw Error(ErrorCode::bad_input, "there is no such file or folder", model,
                "give a folder with config.json and safetensors files, or owner/name");
  }
  const fs::path cache = hub_cache();
  const fs::path snapshot = find_snapshot(cache / ("models--" + owner + "--" + name));
  if (snapshot.empty()) {
    throw Error(ErrorCode::bad_input,
                "there is neither such a folder nor such a model in the cache " + cache.string(),
                model, "check the name, or download the model first");
  }
  return snapshot;
}

fs::path find_model_folder(const std::string& model) {
  const fs::path path = find_model(model);
  if (!fs::is_directory(path)) {
    throw Error(ErrorCode::bad_input, "a model is a folder, and this is a file", path.string(),
                "give the folder with config.json and safetensors files");
  }
  return path;
}

bool has_weights(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return false;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (name == "model.safetensors.index.json") return true;
    if (name.ends_with(".safetensors") || name.ends_with(".npz")) return true;
  }
  return false;
}

}  // namespace quiver::cli
