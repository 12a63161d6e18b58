// The few parts of an ELF file that tell whether it is a plugin, read without trusting any of it.
#pragma once

#include "core/plugin/byte_source.hpp"
#include "core/plugin/plugin_fault.hpp"

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quiver {

/// A section's bytes.
struct ElfSection {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// An ELF shared object for this machine, 64 bits, little-endian. Reads only headers and tables,
/// each up to a fixed size, so a hostile file costs little time and memory.
class ElfFile {
 public:
  /// `source` must outlive this object.
  explicit ElfFile(const ByteSource& source) : source_(source) {}

  /// Reads headers and section names; afterwards the other functions may be called.
  Refusal open();

  /// Finds the only section of that name.
  Refusal find_section(std::string_view name, ElfSection& section) const;

  /// Checks that the file exports a data object `name` of at least `size` bytes.
  Refusal check_exported_object(std::string_view name, std::uint64_t size) const;

 private:
  Refusal check_identification();
  Refusal read_sections();
  Refusal check_segments() const;
  bool is_inside(std::uint64_t offset, std::uint64_t size) const;
  std::string_view section_name(const Elf64_Shdr& section) const;

  const ByteSource& source_;
  Elf64_Ehdr header_{};
  std::vector<Elf64_Shdr> sections_;
  std::vector<char> names_;
};

}  // namespace quiver
