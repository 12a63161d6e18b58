// What rehearsals showed, kept between runs.
#include "core/plugin/verdict_cache.hpp"

#include "core/model/json_file.hpp"
#include "core/plugin/private_file.hpp"
#include "core/plugin/sha256.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace quiver {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;
constexpr std::size_t kMaxFileBytes = 4U << 20U;
constexpr std::size_t kMaxRecords = 1024;  ///< Of one build.
constexpr std::size_t kMaxBuilds = 4;  ///< Programs that share the cache, and their last builds.

// A machine that was too busy is no lasting fault of a plugin; one that hangs costs its limit again
// only once in a while.
constexpr std::int64_t kTimeoutLasts_s = 600;

std::int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// What decides, besides the file itself, whether the loader finds everything a plugin needs.
std::string loader_state() {
  struct stat status {};
  const char* const path = ::secure_getenv("LD_LIBRARY_PATH");
  const bool has_cache = ::stat("/etc/ld.so.cache", &status) == 0;
  return fmt::format("{}.{} {}", has_cache ? status.st_mtim.tv_sec : 0,
                     has_cache ? status.st_mtim.tv_nsec : 0, path != nullptr ? path : "");
}

/// Holds a lock on a folder while a file in it is read, changed and written back. Without the lock
/// (some network file systems have none) a verdict of another process may get lost, no more.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder)
      : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (descriptor_ >= 0) ::flock(descriptor_, LOCK_EX);
  }
  ~FolderLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace

/// Reads and writes the JSON form.
struct VerdictFormat {
  using Record = VerdictCache::Record;
  using Records = VerdictCache::Records;

  static Json write_record(const std::string& path, const Record& record) {
    Json identities = Json::array();
    for (const FileIdentity& id : record.known.identities) {
      identities.push_back({id.device, id.inode, id.size, id.mtime_ns, id.ctime_ns});
    }
    Json json = {{"path", path}, {"files", identities}, {"sha256", record.known.sha256}};
    const Verdict& verdict = record.known.verdict;
    if (!verdict.is_ok()) {
      json["fault"] = fault_name(verdict.fault);
      json["reason"] = verdict.reason;
      if (verdict.signal != 0) json["signal"] = verdict.signal;
      if (!record.loader.empty()) json["loader"] = record.loader;
      if (record.expires_s != 0) json["expires"] = record.expires_s;
    }
    return json;
  }

  /// Throws nlohmann's exceptions for anything unexpected.
  static std::pair<std::string, Record> read_record(const Json& json) {
    Record record;
    for (const Json& id : json.at("files")) {
      record.known.identities.push_back(
          {id.at(0).get<std::uint64_t>(), id.at(1).get<std::uint64_t>(),
           id.at(2).get<std::uint64_t>(), id.at(3).get<std::int64_t>(),
           id.at(4).get<std::int64_t>()});
    }
    record.known.sha256 = json.at("sha256").get<std::string>();
    if (json.contains("fault")) {
      Verdict& verdict = record.known.verdict;
      // A fault that only another version knows: the plugin is looked at again.
      verdict.fault = parse_fault(json.at("fault").get<std::string>()).value();
      verdict.reason = one_line(json.value("reason", ""), 1000);
      verdict.signal = json.value("signal", 0);
      record.loader = json.value("loader", "");
      record.expires_s = json.value("expires", std::int64_t{0});
    }
    return {json.at("path").get<std::string>(), std::move(record)};
  }

  /// The list of builds in a file, newest first; empty for anything but a sound file.
  static Json read_builds(const std::filesystem::path& file) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0 || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0 ||
        (status.st_uid != 0 && status.st_uid != ::geteuid())) {
      return Json::array();
    }
    Json json;
    try {
      json = read_json_file(file, kMaxFileBytes);
    } catch (const Error&) {  // a damaged file is an empty one
    }
    const bool is_sound = json.is_object() && json.contains("quiver_verdicts") &&
                          json["quiver_verdicts"] == kFormat && json.contains("builds") &&
                          json["builds"].is_array();
    return is_sound ? json["builds"] : Json::array();
  }

  static bool is_build(const Json& build, const std::string& id) {
    return build.is_object() && build.contains("build") && build["build"] == id;
  }

  static Records read(const std::filesystem::path& file, const std::string& build_id) {
    Records records;
    for (const Json& build : read_builds(file)) {
      if (!is_build(build, build_id) || !build.contains("verdicts")) continue;
      for (const Json& json : build["verdicts"]) {
        try {
          records.insert(read_record(json));
        } catch (const std::exception&) {  // a damaged record is no record
        }
      }
    }
    return records;
  }

  static void write(const std::filesystem::path& file, const std::string& build_id,
                    const Records& records) {
    Json builds = Json::array();
    Json verdicts = Json::array();
    for (const auto& [path, record] : records) {
      if (verdicts.size() < kMaxRecords) verdicts.push_back(write_record(path, record));
    }
    builds.push_back({{"build", build_id}, {"verdicts", std::move(verdicts)}});
    for (const Json& build : read_builds(file)) {
      if (builds.size() < kMaxBuilds && !is_build(build, build_id)) builds.push_back(build);
    }
    const Json json = {{"quiver_verdicts", kFormat}, {"builds", std::move(builds)}};
    write_private_file(file, json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }
};

VerdictCache::VerdictCache(std::filesystem::path file, std::string host_build)
    : file_(std::move(file)), host_build_(std::move(host_build)) {
  if (file_.empty()) return;
  records_ = VerdictFormat::read(file_, host_build_);
  std::erase_if(records_, [loader = loader_state(), now = now_s()](const auto& entry) {
    const Record& record = entry.second;
    return (!record.loader.empty() && record.loader != loader) ||
           (record.expires_s != 0 && record.expires_s <= now);
  });
}

const KnownVerdict* VerdictCache::find(const std::filesystem::path& path,
                                       const std::vector<FileIdentity>& identities) const {
  const auto found = records_.find(path.string());
  const bool is_same = found != records_.end() && found->second.known.identities == identities;
  return is_same ? &found->second.known : nullptr;
}

const KnownVerdict* VerdictCache::find(std::string_view sha256) const {
  const auto found = std::find_if(records_.begin(), records_.end(), [&](const auto& entry) {
    return entry.second.known.sha256 == sha256;
  });
  return found != records_.end() ? &found->second.known : nullptr;
}

void VerdictCache::put(const std::filesystem::path& path, KnownVerdict verdict) {
  Record record;
  record.known = std::move(verdict);
  if (record.known.verdict.fault == PluginFault::load_failed) record.loader = loader_state();
  if (record.known.verdict.fault == PluginFault::wall_limit) {
    record.expires_s = now_s() + kTimeoutLasts_s;
  }
  records_[path.string()] = record;
  added_[path.string()] = std::move(record);
}

void VerdictCache::forget_broken() {
  std::erase_if(records_, [](const auto& entry) { return !entry.second.known.verdict.is_ok(); });
}

void VerdictCache::save() {
  if (file_.empty() || added_.empty()) return;
  try {
    const FolderLock lock(file_.parent_path());
    Records records = VerdictFormat::read(file_, host_build_);
    for (const auto& [path, record] : std::exchange(added_, {})) records[path] = record;
    if (records.size() > kMaxRecords) {
      // Files that are gone make room first.
      std::erase_if(records, [](const auto& entry) {
        std::error_code error;
        return !std::filesystem::exists(entry.first, error);
      });
    }
    VerdictFormat::write(file_, host_build_, records);
  } catch (const Error&) {  // then the next run rehearses again
  }
}

std::string plugin_sha256(std::span<const PluginFile> files) {
  if (files.size() == 1) return files.front().sha256();
  std::string sums;
  for (const PluginFile& file : files) sums += file.sha256();
  return sha256_hex(sums);
}

}  // namespace quiver
