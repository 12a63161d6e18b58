// A file's bytes, mapped into memory for reading.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace quiver {

/// A read-only mapping of a regular file. Nothing is read until it is touched, and pages that are
/// no longer needed can be handed back, so a file larger than memory can be walked through.
///
/// The mapping shows the file, not a copy: who shortens the file while it is mapped makes the pages
/// behind its new end inaccessible (SIGBUS). Programs that replace model files by renaming, as this
/// one does, never cause that. Const members: [any-thread]; moving: [one-call-at-a-time].
class MappedFile {
 public:
  /// How the bytes are going to be read; only ever a hint to the operating system.
  enum class Access { normal, sequential, random, soon };

  /// An empty mapping.
  MappedFile() noexcept = default;

  /// Maps the whole file. Symbolic links are followed. Throws Error naming the path and the
  /// system's reason; a directory, a device or a pipe is refused (bad_input) without waiting for
  /// it.
  explicit MappedFile(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  /// All bytes, starting at a page boundary; empty for an empty file. Valid until this object dies
  /// or is assigned to (moving keeps the address).
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  /// Announces how the `size` bytes from `offset` on will be read. Ranges are cut to the file.
  void advise(std::size_t offset, std::size_t size, Access access) const noexcept;

  /// Hands the memory behind the `size` bytes from `offset` on back to the system. The bytes stay
  /// readable and come from the file again when touched. Only whole pages within the range are
  /// handed back, so neighbours keep theirs.
  void release(std::size_t offset, std::size_t size) const noexcept;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace quiver
