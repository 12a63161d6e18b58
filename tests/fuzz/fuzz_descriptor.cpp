// Fuzzes the reader of plugin descriptors, which sees every file of a plugin folder.
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/plugin/elf_descriptor.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > (1U << 20U)) return 0;
  static const quiver::HostApi host = quiver::host_api();
  quiver::read_descriptor(std::as_bytes(std::span(data, size)), host);
  return 0;
}
