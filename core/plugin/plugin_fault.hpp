// Why a plugin is not used.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quiver {

/// The reasons, as codes that scripts can rely on; people read the sentence that goes with one.
enum class PluginFault : std::uint8_t {
  none,
  // The file is refused before anything of it runs.
  not_a_file,
  unreadable,
  not_elf,
  wrong_class,
  wrong_machine,
  not_shared_object,
  truncated,
  malformed_elf,
  no_descriptor,
  bad_magic,
  bad_descriptor,
  api_major,
  api_minor,
  abi_stamp,
  no_entry_symbol,
  bad_manifest,
  untrusted_owner,
  writable_file,
  writable_folder,
  not_locked,
  changed_since_lock,
  // It did not survive its rehearsal.
  load_failed,
  crashed,
  exited,
  wall_limit,
  cpu_limit,
  memory_limit,
  prints_to_stdout,
  bad_entry,
  init_failed,
  missing_interface,
  answers_unknown_interface,
  factory_failed,
  // Another plugin came first.
  shadowed,
};

/// The code as text, e.g. "wrong-machine"; empty for none. [any-thread]
std::string_view fault_name(PluginFault fault) noexcept;

/// Undoes fault_name(). [any-thread]
std::optional<PluginFault> parse_fault(std::string_view name) noexcept;

/// A code with its sentence, which names both sides and the remedy where there is one.
struct Refusal {
  PluginFault fault = PluginFault::none;
  std::string reason;

  explicit operator bool() const { return fault != PluginFault::none; }
};

}  // namespace quiver
