// The few parts of an ELF file that tell whether it is a plugin, read without trusting any of it.
#include "core/plugin/elf_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>

#include <unistd.h>

namespace quiver {
namespace {

static_assert(std::endian::native == std::endian::little, "ELF headers are read as they lie");

// Tables larger than these do not occur in plugins, and are not read: linkers write some dozen
// sections and a few hundred segments at most; the symbol limit is that of very large C++
// libraries.
constexpr std::size_t kMaxSections = 4096;
constexpr std::size_t kMaxSegments = 1024;
constexpr std::uint64_t kMaxNameBytes = 1U << 20U;
constexpr std::uint64_t kMaxSymbols = 1U << 18U;
constexpr std::uint64_t kMaxSymbolNameBytes = 32U << 20U;

#if defined(__x86_64__)
constexpr std::uint16_t kHostMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr std::uint16_t kHostMachine = EM_AARCH64;
#else
#error "Which ELF machine is this? Add it here."
#endif

std::string machine_name(std::uint16_t machine) {
  switch (machine) {
    case EM_X86_64: return "x86-64";
    case EM_AARCH64: return "aarch64";
    case EM_386: return "i386";
    case EM_ARM: return "arm";
    case EM_RISCV: return "riscv";
    case EM_PPC64: return "ppc64";
    case EM_S390: return "s390";
    default: return fmt::format("machine {}", machine);
  }
}

template <class T>
std::span<std::byte> bytes_of(T& object) {
  return std::as_writable_bytes(std::span(&object, 1));
}

Refusal truncated(std::string_view what, std::uint64_t offset, std::uint64_t length,
                  std::uint64_t size) {
  const std::uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
  return {PluginFault::truncated,
          fmt::format("the file is truncated: its {} would end at byte {}, the file at {}: copy it "
                      "again",
                      what, end, size)};
}

Refusal malformed(std::string what) {
  return {PluginFault::malformed_elf, "malformed ELF file: " + std::move(what)};
}

}  // namespace

bool FileBytes::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  if (offset > size_ || bytes.size() > size_ - offset) return false;
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::pread(descriptor_, bytes.data() + done, bytes.size() - done,
                                  static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    done += static_cast<std::size_t>(count);
  }
  return true;
}

bool ElfFile::is_inside(std::uint64_t offset, std::uint64_t size) const {
  return offset <= source_.size() && size <= source_.size() - offset;
}

Refusal ElfFile::open() {
  if (Refusal refusal = check_identification()) return refusal;
  if (Refusal refusal = check_segments()) return refusal;
  return read_sections();
}

Refusal ElfFile::check_identification() {
  unsigned char identification[EI_NIDENT] = {};
  const std::uint64_t size = source_.size();
  if (size == 0) return {PluginFault::not_elf, "the file is empty"};
  const std::size_t available = std::min<std::uint64_t>(size, EI_NIDENT);
  if (!source_.read(0, std::as_writable_bytes(std::span(identification).first(available)))) {
    return {PluginFault::unreadable, "the file cannot be read"};
  }
  if (std::memcmp(identification, ELFMAG, std::min<std::size_t>(available, SELFMAG)) != 0) {
    return {PluginFault::not_elf, "not an ELF file: a plugin is a shared object"};
  }
  if (size < sizeof header_) return truncated("header", 0, sizeof header_, size);
  if (identification[EI_CLASS] == ELFCLASS32) {
    return {PluginFault::wrong_class,
            "a 32-bit ELF file, this host is 64-bit: build it for " + machine_name(kHostMachine)};
  }
  if (identification[EI_CLASS] != ELFCLASS64) return malformed("unknown class");
  if (identification[EI_DATA] == ELFDATA2MSB) {
    return {PluginFault::wrong_machine, "built for a big-endian machine, this host is " +
                                            machine_name(kHostMachine) + ": build it for that"};
  }
  if (identification[EI_DATA] != ELFDATA2LSB) return malformed("unknown byte order");
  if (!source_.read(0, bytes_of(header_))) {
    return {PluginFault::unreadable, "the file cannot be read"};
  }
  if (header_.e_machine != kHostMachine) {
    return {PluginFault::wrong_machine,
            fmt::format("built for {}, this host is {}: build it for that",
                        machine_name(header_.e_machine), machine_name(kHostMachine))};
  }
  if (identification[EI_VERSION] != EV_CURRENT || header_.e_version != EV_CURRENT) {
    return malformed("unknown version");
  }
  if (header_.e_type != ET_DYN) {
    return {PluginFault::not_shared_object,
            "an ELF file, but no shared object: link it with -shared"};
  }
  return {};
}

Refusal ElfFile::check_segments() const {
  if (header_.e_phnum == 0) return malformed("no segments");
  if (header_.e_phentsize != sizeof(Elf64_Phdr) || header_.e_phnum > kMaxSegments) {
    return malformed("absurd segment table");
  }
  std::vector<Elf64_Phdr> segments(header_.e_phnum);
  const std::uint64_t table_size = segments.size() * sizeof(Elf64_Phdr);
  if (!is_inside(header_.e_phoff, table_size)) {
    return truncated("segment table", header_.e_phoff, table_size, source_.size());
  }
  if (!source_.read(header_.e_phoff, std::as_writable_bytes(std::span(segments)))) {
    return {PluginFault::unreadable, "the segment table cannot be read"};
  }
  // The loader maps segments without looking at the file's size; touching what is not there would
  // be a SIGBUS.
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_LOAD && !is_inside(segment.p_offset, segment.p_filesz)) {
      return truncated("code and data", segment.p_offset, segment.p_filesz, source_.size());
    }
  }
  return {};
}

Refusal ElfFile::read_sections() {
  if (header_.e_shnum == 0) {
    return {PluginFault::no_descriptor, "no section table, so no plugin descriptor can be found"};
  }
  if (header_.e_shentsize != sizeof(Elf64_Shdr) || header_.e_shnum > kMaxSections) {
    return malformed("absurd section table");
  }
  sections_.resize(header_.e_shnum);
  const std::uint64_t table_size = sections_.size() * sizeof(Elf64_Shdr);
  if (!is_inside(header_.e_shoff, table_size)) {
    return truncated("section table", header_.e_shoff, table_size, source_.size());
  }
  if (!source_.read(header_.e_shoff, std::as_writable_bytes(std::span(sections_)))) {
    return {PluginFault::unreadable, "the section table cannot be read"};
  }
  if (header_.e_shstrndx >= sections_.size()) return malformed("no section names");
  const Elf64_Shdr& names = sections_[header_.e_shstrndx];
  if (names.sh_type != SHT_STRTAB || names.sh_size == 0 || names.sh_size > kMaxNameBytes) {
    return malformed("absurd section names");
  }
  if (!is_inside(names.sh_offset, names.sh_size)) {
    return truncated("section names", names.sh_offset, names.sh_size, source_.size());
  }
  names_.resize(names.sh_size);
  if (!source_.read(names.sh_offset, std::as_writable_bytes(std::span(names_)))) {
    return {PluginFault::unreadable, "the section names cannot be read"};
  }
  if (names_.back() != '\0') return malformed("section names without an end");
  return {};
}

std::string_view ElfFile::section_name(const Elf64_Shdr& section) const {
  // The table ends with a zero byte, so a text that begins inside also ends inside.
  return section.sh_name < names_.size() ? std::string_view(names_.data() + section.sh_name)
                                         : std::string_view();
}

Refusal ElfFile::find_section(std::string_view name, ElfSection& section) const {
  const Elf64_Shdr* found = nullptr;
  for (const Elf64_Shdr& candidate : sections_) {
    if (section_name(candidate) != name) continue;
    if (found != nullptr) {
      return {PluginFault::bad_descriptor, fmt::format("two sections are named {}", name)};
    }
    found = &candidate;
  }
  if (found == nullptr) {
    return {PluginFault::no_descriptor,
            fmt::format("a shared object, but no plugin: it has no section {}", name)};
  }
  if (found->sh_type != SHT_PROGBITS) {
    return {PluginFault::bad_descriptor, fmt::format("section {} holds no data", name)};
  }
  if (!is_inside(found->sh_offset, found->sh_size)) {
    return truncated(name, found->sh_offset, found->sh_size, source_.size());
  }
  section = {found->sh_offset, found->sh_size};
  return {};
}

Refusal ElfFile::check_exported_object(std::string_view name, std::uint64_t size) const {
  const auto table =
      std::find_if(sections_.begin(), sections_.end(),
                   [](const Elf64_Shdr& section) { return section.sh_type == SHT_DYNSYM; });
  const Refusal missing{PluginFault::no_entry_symbol,
                        fmt::format("exports no symbol {}: use the macro QUIVER_PLUGIN, and keep "
                                    "the symbol visible when linking",
                                    name)};
  if (table == sections_.end()) return missing;
  if (table->sh_entsize != sizeof(Elf64_Sym) || table->sh_link >= sections_.size()) {
    return malformed("absurd symbol table");
  }
  const Elf64_Shdr& texts = sections_[table->sh_link];
  const std::uint64_t count = table->sh_size / sizeof(Elf64_Sym);
  if (count > kMaxSymbols || texts.sh_size == 0 || texts.sh_size > kMaxSymbolNameBytes ||
      texts.sh_type != SHT_STRTAB) {
    return malformed("absurd symbol table");
  }
  if (!is_inside(table->sh_offset, table->sh_size) || !is_inside(texts.sh_offset, texts.sh_size)) {
    return {PluginFault::truncated, "the file is truncated in its symbol table: copy it again"};
  }
  std::vector<Elf64_Sym> symbols(count);
  std::vector<char> names(texts.sh_size);
  if (!source_.read(table->sh_offset, std::as_writable_bytes(std::span(symbols))) ||
      !source_.read(texts.sh_offset, std::as_writable_bytes(std::span(names)))) {
    return {PluginFault::unreadable, "the symbol table cannot be read"};
  }
  if (names.back() != '\0') return malformed("symbol names without an end");
  for (const Elf64_Sym& symbol : symbols) {
    if (symbol.st_name >= names.size() || symbol.st_shndx == SHN_UNDEF) continue;
    if (std::string_view(names.data() + symbol.st_name) != name) continue;
    const unsigned binding = ELF64_ST_BIND(symbol.st_info);
    const unsigned visibility = ELF64_ST_VISIBILITY(symbol.st_other);
    if (binding == STB_LOCAL || visibility == STV_HIDDEN || visibility == STV_INTERNAL) continue;
    if (ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT || symbol.st_size < size) {
      return {PluginFault::no_entry_symbol,
              fmt::format("exports a symbol {}, but not as a quiver_plugin_entry of at least {} "
                          "bytes: use the macro QUIVER_PLUGIN",
                          name, size)};
    }
    return {};
  }
  return missing;
}

}  // namespace quiver
