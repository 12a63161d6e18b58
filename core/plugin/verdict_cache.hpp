// What rehearsals showed, kept between runs.
#pragma once

#include "core/plugin/plugin_file.hpp"
#include "core/plugin/rehearsal.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// A verdict and the files it is about.
struct KnownVerdict {
  std::vector<FileIdentity> identities;  ///< Of PluginEntry::files, in that order.
  std::string sha256;                    ///< Of the plugin, see plugin_sha256().
  Verdict verdict;
};

/// Verdicts by path and by content, for one build of the host: those of another build do not count.
/// A verdict that may owe something to the moment is forgotten when the moment passes: failing to
/// load, when the loader's configuration changes; running out of time, after some minutes. The file
/// may be lost, damaged or written by several processes at once: the worst that happens is another
/// rehearsal. [one-call-at-a-time]
class VerdictCache {
 public:
  /// Reads `file` (empty = remember nothing between runs). `host_build` is host_build_id().
  VerdictCache(std::filesystem::path file, std::string host_build);

  /// The verdict about the plugin at a path, where its files look as they did then.
  const KnownVerdict* find(const std::filesystem::path& path,
                           const std::vector<FileIdentity>& identities) const;

  /// The verdict about a content, wherever it lay.
  const KnownVerdict* find(std::string_view sha256) const;

  /// Replaces what is known about the plugin at a path.
  void put(const std::filesystem::path& path, KnownVerdict verdict);

  /// Forgets the verdicts that are not good.
  void forget_broken();

  /// Writes what put() added, merged with what other processes wrote meanwhile. Failing to write is
  /// no error.
  void save();

 private:
  struct Record {
    KnownVerdict known;
    std::string loader;          ///< loader_state() of a load that failed; empty otherwise.
    std::int64_t expires_s = 0;  ///< Seconds since 1970; 0 = never.
  };
  using Records = std::map<std::string, Record>;  ///< By path.

  friend struct VerdictFormat;

  std::filesystem::path file_;
  std::string host_build_;
  Records records_;
  Records added_;
};

/// What tells this build of the host from another: the build ids of the running program and of the
/// library with this code, or the identity of the program's file. [any-thread]
std::string host_build_id();

/// SHA-256 of a plugin: of its file, or of its files' sums where there are several. [any-thread]
std::string plugin_sha256(std::span<const PluginFile> files);

}  // namespace quiver
