// A plugin's file, opened once: what was checked and hashed is what is read and loaded.
#pragma once

#include "core/plugin/plugin_fault.hpp"

#ifndef BOOST_DLL_USE_STD_FS
#define BOOST_DLL_USE_STD_FS
#endif
#include <boost/dll/shared_library.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace quiver {

/// What tells one state of a file from another without reading it. Writing to a file changes its
/// ctime, which no program can set back.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;

  bool operator==(const FileIdentity&) const = default;
};

/// An open file. Copies share the descriptor. [any-thread]
class PluginFile {
 public:
  /// Opens a regular file for reading. Throws Error(plugin) where that fails.
  static PluginFile open(const std::filesystem::path& path);

  /// Takes over a descriptor that was inherited. Throws Error(plugin) where it is no regular file.
  static PluginFile adopt(int descriptor, const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const FileIdentity& identity() const { return identity_; }
  int descriptor() const;

  /// SHA-256 of the content as 64 hexadecimal digits; computed at each call.
  std::string sha256() const;

  /// The whole content. Throws Error(plugin) for more than `limit_bytes`.
  std::string read(std::size_t limit_bytes) const;

  /// A path that leads to this very file, whatever happens to its name, as long as the descriptor
  /// is open. Whoever hands it to the loader calls keep_open() first: the loader takes two
  /// libraries of one path for the same, and descriptors are numbered anew.
  std::string load_path() const;

  /// Keeps the descriptor open for the life of the process.
  void keep_open() const;

  /// Opens it as a library, RTLD_NOW | RTLD_LOCAL, never to be closed: the second call, for this or
  /// any other PluginFile of the same file, gives the same library. Throws Error(plugin) with the
  /// loader's words. [load-thread]
  const boost::dll::shared_library& load() const;

 private:
  struct Handle;

  PluginFile(std::shared_ptr<const Handle> handle, std::filesystem::path path,
             const FileIdentity& identity);

  std::shared_ptr<const Handle> handle_;
  std::filesystem::path path_;
  FileIdentity identity_;
};

}  // namespace quiver
