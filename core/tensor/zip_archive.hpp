// Reading ZIP archives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quiver {

/// A file in an archive. `data` lies in the archive's bytes.
struct ZipEntry {
  std::string name;
  std::span<const std::byte> data;  ///< As stored.
  std::uint64_t size = 0;           ///< Of the contents: data.size() where they are not deflated.
  std::uint32_t checksum = 0;       ///< CRC-32 of the contents.
  bool is_deflated = false;
};

/// The entries of an archive, in the order of its directory; 64-bit sizes are understood. `label`
/// names the archive in messages. Throws Error(bad_input) for bytes that are no archive, for
/// entries that are encrypted, compressed otherwise than by Deflate, reach out of the archive or
/// into one another, for a name twice, for more than 65,536 entries, and for contents that are a
/// hundred times as large as the archive and 256 MiB. Memory is proportional to the directory.
/// [any-thread]
std::vector<ZipEntry> list_zip(std::span<const std::byte> archive, const std::string& label);

/// The contents of an entry that is deflated. Throws Error(bad_input) where they are damaged or not
/// of the size that the directory says. [any-thread]
std::vector<std::byte> inflate_entry(const ZipEntry& entry, const std::string& label);

}  // namespace quiver
