// The codes of faults and states as text.
#include "core/plugin/plugin_fault.hpp"

#include "core/plugin/plugin_entry.hpp"

namespace quiver {
namespace {

struct FaultName {
  PluginFault fault;
  std::string_view name;
};

constexpr FaultName kFaultNames[] = {
    {PluginFault::none, ""},
    {PluginFault::not_a_file, "not-a-file"},
    {PluginFault::unreadable, "unreadable"},
    {PluginFault::not_elf, "not-elf"},
    {PluginFault::wrong_class, "wrong-class"},
    {PluginFault::wrong_machine, "wrong-machine"},
    {PluginFault::not_shared_object, "not-shared-object"},
    {PluginFault::truncated, "truncated"},
    {PluginFault::malformed_elf, "malformed-elf"},
    {PluginFault::no_descriptor, "no-descriptor"},
    {PluginFault::bad_magic, "bad-magic"},
    {PluginFault::bad_descriptor, "bad-descriptor"},
    {PluginFault::api_major, "api-major"},
    {PluginFault::api_minor, "api-minor"},
    {PluginFault::abi_stamp, "abi-stamp"},
    {PluginFault::no_entry_symbol, "no-entry-symbol"},
    {PluginFault::bad_manifest, "bad-manifest"},
    {PluginFault::untrusted_owner, "untrusted-owner"},
    {PluginFault::writable_file, "writable-file"},
    {PluginFault::writable_folder, "writable-folder"},
    {PluginFault::not_locked, "not-locked"},
    {PluginFault::changed_since_lock, "changed-since-lock"},
    {PluginFault::load_failed, "load-failed"},
    {PluginFault::crashed, "crashed"},
    {PluginFault::exited, "exited"},
    {PluginFault::wall_limit, "wall-limit"},
    {PluginFault::cpu_limit, "cpu-limit"},
    {PluginFault::memory_limit, "memory-limit"},
    {PluginFault::prints_to_stdout, "prints-to-stdout"},
    {PluginFault::bad_entry, "bad-entry"},
    {PluginFault::init_failed, "init-failed"},
    {PluginFault::missing_interface, "missing-interface"},
    {PluginFault::answers_unknown_interface, "answers-unknown-interface"},
    {PluginFault::factory_failed, "factory-failed"},
    {PluginFault::shadowed, "shadowed"},
};

}  // namespace

std::string_view fault_name(PluginFault fault) noexcept {
  for (const FaultName& entry : kFaultNames) {
    if (entry.fault == fault) return entry.name;
  }
  return "unknown";
}

std::optional<PluginFault> parse_fault(std::string_view name) noexcept {
  for (const FaultName& entry : kFaultNames) {
    if (entry.name == name) return entry.fault;
  }
  return std::nullopt;
}

std::string_view state_name(PluginState state) noexcept {
  switch (state) {
    case PluginState::unseen: return "unseen";
    case PluginState::ok: return "ok";
    case PluginState::refused: return "refused";
    case PluginState::broken: return "broken";
    case PluginState::shadowed: return "shadowed";
  }
  return "unknown";
}

}  // namespace quiver
