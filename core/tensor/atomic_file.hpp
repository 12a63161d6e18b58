// A file that appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace quiver {

/// Writes a file beside its final place (PATH.<process>-<n>.tmp) and, on commit(), flushes it to
/// the disk, renames it over PATH and flushes the folder: readers see the old file or the whole new
/// one, also after a power cut. Without a commit() the temporary file is removed on destruction.
///
/// A final place that is a symbolic link is replaced, not followed. Failures throw Error with the
/// path and the system's reason (ErrorCode::resources for a full disk). [one-call-at-a-time]
class AtomicFile {
 public:
  /// Creates the temporary file; the folder has to exist. New files get what the process's umask
  /// leaves of `permissions`.
  explicit AtomicFile(std::filesystem::path path, unsigned permissions = 0666);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  /// Appends bytes; they may stay in a buffer until commit().
  void write(std::span<const std::byte> bytes);

  /// Number of bytes written so far.
  std::uint64_t written() const noexcept { return written_; }

  /// Puts the file into its place. REQUIRES: called at most once, and no write() after it.
  void commit();

  /// The final place.
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  void flush();
  void write_through(std::span<const std::byte> bytes);

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
  std::vector<std::byte> buffer_;
  std::uint64_t written_ = 0;
};

/// Writes `bytes` as the whole content of the file at `path`, as AtomicFile does. [any-thread]
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes,
                unsigned permissions = 0666);

}  // namespace quiver
