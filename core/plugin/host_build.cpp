// What tells one build of the host from another.
#include "core/plugin/plugin_file.hpp"
#include "core/plugin/verdict_cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include <elf.h>
#include <link.h>
#include <sys/stat.h>

namespace quiver {
namespace {

/// The build id in a note segment, as hexadecimal digits; empty where there is none.
std::string build_id_in(const char* notes, std::size_t size) {
  constexpr std::string_view kOwner("GNU\0", 4);
  while (size >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) note;
    std::memcpy(&note, notes, sizeof note);
    const std::size_t name_size = (std::size_t{note.n_namesz} + 3) & ~std::size_t{3};
    const std::size_t body_size = (std::size_t{note.n_descsz} + 3) & ~std::size_t{3};
    const std::size_t note_size = sizeof note + name_size + body_size;
    if (note_size > size) break;
    const char* const name = notes + sizeof note;
    if (note.n_type == NT_GNU_BUILD_ID && std::string_view(name, note.n_namesz) == kOwner) {
      std::string digits;
      for (const char byte : std::string_view(name + name_size, note.n_descsz)) {
        digits += fmt::format("{:02x}", static_cast<unsigned char>(byte));
      }
      return digits;
    }
    notes += note_size;
    size -= note_size;
  }
  return {};
}

/// Looks at the program, which comes first, and at the object that holds this code.
struct Search {
  std::string ids;
  bool is_first = true;
};

int visit_object(dl_phdr_info* object, std::size_t /*size*/, void* context) {
  auto& search = *static_cast<Search*>(context);
  const auto here = reinterpret_cast<ElfW(Addr)>(&visit_object);
  bool is_wanted = search.is_first;
  search.is_first = false;
  std::string id;
  for (const ElfW(Phdr) & segment : std::span(object->dlpi_phdr, object->dlpi_phnum)) {
    const ElfW(Addr) begin = object->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && here >= begin && here - begin < segment.p_memsz) {
      is_wanted = true;
    } else if (segment.p_type == PT_NOTE && id.empty()) {
      id = build_id_in(reinterpret_cast<const char*>(begin), segment.p_memsz);
    }
  }
  if (is_wanted) search.ids += id + ".";
  return 0;
}

}  // namespace

std::string host_build_id() {
  static const std::string known = [] {
    Search search;
    ::dl_iterate_phdr(&visit_object, &search);
    const bool is_complete = search.ids.find_first_not_of('.') != std::string::npos &&
                             !search.ids.starts_with('.') &&
                             search.ids.find("..") == std::string::npos;
    if (is_complete) return search.ids;
    struct stat status {};
    if (::stat("/proc/self/exe", &status) != 0) return std::string("unknown");
    return fmt::format("{}-{}-{}-{}.{}", status.st_dev, status.st_ino, status.st_size,
                       status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  }();
  return known;
}

}  // namespace quiver
