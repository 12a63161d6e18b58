// Walks the dynamic symbol table of a loaded library.
#include "core/plugin/elf_exports.hpp"

#include <quiver/error.hpp>

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace quiver {
namespace {

struct Tables {
  const ElfW(Sym) * symbols = nullptr;
  const char* names = nullptr;
  const std::uint32_t* gnu_hash = nullptr;
  const std::uint32_t* hash = nullptr;
};

/// Number of symbols, which ELF keeps only in the hash tables.
std::size_t symbol_count(const Tables& tables) {
  if (tables.hash != nullptr) return tables.hash[1];
  const std::uint32_t buckets = tables.gnu_hash[0];
  const std::uint32_t first = tables.gnu_hash[1];
  const std::uint32_t bloom_words = tables.gnu_hash[2];
  const std::uint32_t* bucket = tables.gnu_hash + 4 + bloom_words * (sizeof(ElfW(Addr)) / 4);
  const std::uint32_t* chain = bucket + buckets;
  const std::uint32_t last = buckets > 0 ? *std::max_element(bucket, bucket + buckets) : 0;
  if (last < first) return first;  // nothing is exported
  std::uint32_t index = last;
  // The lowest bit marks the end of a chain.
  while ((chain[index - first] & 1U) == 0) ++index;
  return index + 1;
}

bool is_linker_made(std::string_view name) {
  constexpr std::array<std::string_view, 5> kNames{"_init", "_fini", "_edata", "_end",
                                                   "__bss_start"};
  return std::ranges::find(kNames, name) != kNames.end();
}

}  // namespace

std::vector<std::string> exported_symbols(void* library) {
  link_map* map = nullptr;
  Tables tables;
  if (::dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr) {
    for (const ElfW(Dyn)* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
      // The loader has turned the offsets into addresses.
      const auto address = entry->d_un.d_ptr;
      if (entry->d_tag == DT_SYMTAB) tables.symbols = reinterpret_cast<const ElfW(Sym)*>(address);
      if (entry->d_tag == DT_STRTAB) tables.names = reinterpret_cast<const char*>(address);
      if (entry->d_tag == DT_GNU_HASH) {
        tables.gnu_hash = reinterpret_cast<const std::uint32_t*>(address);
      }
      if (entry->d_tag == DT_HASH) tables.hash = reinterpret_cast<const std::uint32_t*>(address);
    }
  }
  if (tables.symbols == nullptr || tables.names == nullptr ||
      (tables.gnu_hash == nullptr && tables.hash == nullptr)) {
    throw Error(ErrorCode::plugin, "the library has no table of symbols");
  }
  std::vector<std::string> names;
  const std::size_t count = symbol_count(tables);
  for (std::size_t i = 1; i < count; ++i) {
    const ElfW(Sym)& symbol = tables.symbols[i];
    const bool is_exported =
        symbol.st_shndx != SHN_UNDEF && ELF64_ST_BIND(symbol.st_info) != STB_LOCAL &&
        ELF64_ST_VISIBILITY(symbol.st_other) == STV_DEFAULT && symbol.st_shndx != SHN_ABS;
    const char* name = tables.names + symbol.st_name;
    if (is_exported && !is_linker_made(name)) names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace quiver
