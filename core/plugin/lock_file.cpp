// The list of plugins that a user pinned: with it, nothing else loads.
#include "core/plugin/lock_file.hpp"

#include "core/model/json_file.hpp"
#include "core/plugin/file_trust.hpp"
#include "core/plugin/private_file.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/stat.h>

namespace quiver {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;
constexpr std::size_t kMaxFileBytes = 4U << 20U;

bool is_sha256(const std::string& text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

/// The plugins in a lock file; throws nlohmann's exceptions and others for another form.
std::vector<LockedPlugin> parse(const std::filesystem::path& file) {
  const Json json = read_json_file(file, kMaxFileBytes);
  if (json.at("quiver_lock").get<int>() != kFormat) throw std::invalid_argument("format");
  std::vector<LockedPlugin> plugins;
  for (const Json& entry : json.at("plugins")) {
    plugins.push_back({entry.at("name").get<std::string>(), entry.at("path").get<std::string>(),
                       entry.at("sha256").get<std::string>()});
    if (!is_sha256(plugins.back().sha256)) throw std::invalid_argument("sha256");
  }
  return plugins;
}

}  // namespace

LockFile LockFile::read(const std::filesystem::path& file) {
  LockFile lock;
  lock.file_ = file;
  struct stat status {};
  if (file.empty()) return lock;
  if (::lstat(file.c_str(), &status) != 0 && (errno == ENOENT || errno == ENOTDIR)) return lock;
  // From here on anything unexpected must not open the door that a lock file closes.
  lock.exists_ = true;
  if (::stat(file.c_str(), &status) != 0) {
    lock.problem_ =
        fmt::format("the lock file {} cannot be examined: {}", file.string(), std::strerror(errno));
    return lock;
  }
  if (const Refusal refusal = FileTrust().check_file(status, file)) {
    lock.problem_ = refusal.reason;
    return lock;
  }
  try {
    lock.plugins_ = parse(file);
  } catch (const std::exception&) {
    lock.problem_ = fmt::format(
        "the lock file {} cannot be read or is malformed: run quiver "
        "plugins lock again",
        file.string());
  }
  return lock;
}

void LockFile::write(const std::filesystem::path& file, const std::vector<LockedPlugin>& plugins) {
  Json entries = Json::array();
  for (const LockedPlugin& plugin : plugins) {
    entries.push_back(
        {{"name", plugin.name}, {"path", plugin.path.string()}, {"sha256", plugin.sha256}});
  }
  const Json json = {{"quiver_lock", kFormat}, {"plugins", std::move(entries)}};
  write_private_file(file, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

Refusal LockFile::check(std::string_view name, const std::filesystem::path& path,
                        std::string_view sha256) const {
  if (!exists_) return {};
  if (!problem_.empty()) return {PluginFault::not_locked, problem_};
  const LockedPlugin* same_path = nullptr;
  const LockedPlugin* same_name = nullptr;
  for (const LockedPlugin& plugin : plugins_) {
    if (plugin.name == name && plugin.sha256 == sha256) return {};
    if (plugin.path == path) same_path = &plugin;
    if (plugin.name == name) same_name = &plugin;
  }
  if (same_path != nullptr) {
    return {PluginFault::changed_since_lock,
            "changed since it was locked: if that was you, run quiver plugins lock again"};
  }
  if (same_name != nullptr) {
    return {PluginFault::not_locked,
            fmt::format("not in the lock file {}, which has '{}' as {}: if it is to replace that "
                        "one, run quiver plugins lock again",
                        file_.string(), name, same_name->path.string())};
  }
  return {PluginFault::not_locked,
          fmt::format("not in the lock file {}: if it may load, run quiver plugins lock again",
                      file_.string())};
}

}  // namespace quiver
