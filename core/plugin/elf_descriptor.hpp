// A plugin's descriptor, read from its file without loading it.
#pragma once

#include "core/plugin/byte_source.hpp"
#include "core/plugin/plugin_descriptor.hpp"
#include "core/plugin/plugin_fault.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace quiver {

/// What reading gave. A plugin that is refused for its version may still have a descriptor, for
/// lists.
struct DescriptorReading {
  std::optional<PluginDescriptor> descriptor;
  Refusal refusal;
};

/// The API and ABI that a plugin must fit.
struct HostApi {
  std::uint16_t api_major;
  std::uint16_t api_minor;
  std::string abi_stamp;
};

/// The API and ABI of this build. [any-thread]
HostApi host_api();

/// Whether a plugin may talk to a host: same major, a minor that is not newer, the same stamp. The
/// reason names both sides and the remedy. [any-thread]
Refusal check_compatibility(const PluginDescriptor& descriptor, const HostApi& host);

/// The bytes of the descriptor's section, at most 128 KiB, as they lie in the file and, once it is
/// loaded, in memory. [any-thread]
Refusal read_descriptor_section(const ByteSource& source, std::vector<std::byte>& record);

/// Reads the descriptor and checks everything that can be checked without loading: an ELF shared
/// object for this machine and of full length; a well-formed descriptor that is compatible with
/// `host`; the entry symbol exported. Any bytes are safe to read; time and memory are bounded.
/// Never throws for what the bytes say. [any-thread]
DescriptorReading read_descriptor(const ByteSource& source, const HostApi& host);
DescriptorReading read_descriptor(std::span<const std::byte> bytes, const HostApi& host);

}  // namespace quiver
