// A loaded plugin: its interfaces, and the ownership of what they make.
#include "core/plugin/plugin_library.hpp"

#include "core/plugin/byte_source.hpp"
#include "core/plugin/elf_descriptor.hpp"
#include "core/plugin/plugin_descriptor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <vector>

namespace quiver {
namespace {

std::atomic<int> log_level{2};

void write_log(int level, const char* message) {
  if (message == nullptr || level < 0 || level > log_level.load(std::memory_order_relaxed)) return;
  constexpr const char* kLevels[] = {"error: ", "warning: ", ""};
  const std::string line =
      fmt::format("quiver: plugin: {}{}\n", kLevels[std::min(level, 2)], one_line(message, 2000));
  std::fputs(line.c_str(), stderr);
}

/// This host has no optional services so far; plugins must work without any of them.
const void* find_service(const char* /*service_id*/) {
  return nullptr;
}

Error bad_entry(const PluginFile& file, std::string what) {
  return {ErrorCode::plugin, std::move(what), file.path().string(),
          "write the plugin with the macro QUIVER_PLUGIN"};
}

/// init and deinit are [load-thread]: one at a time in the whole process.
std::mutex& init_mutex() {
  static auto* const mutex = new std::mutex;
  return *mutex;
}

class ElfPlugin final : public PluginLibrary {
 public:
  explicit ElfPlugin(const quiver_plugin_entry& entry)
      : PluginLibrary(
            std::string(entry.descriptor->name,
                        ::strnlen(entry.descriptor->name, sizeof entry.descriptor->name))),
        entry_(entry) {
    const std::lock_guard lock(init_mutex());
    const int result =
        call_plugin(name(), "initialized", [&] { return entry_.init(&plugin_host_services()); });
    if (result != 0) {
      throw Error(ErrorCode::plugin,
                  fmt::format("plugin '{}' refuses to work: its init returned {}", name(), result),
                  {}, "read its documentation");
    }
  }

  ~ElfPlugin() override {
    const std::lock_guard lock(init_mutex());
    try {
      entry_.deinit();
    } catch (...) {
      write_log(1, ("plugin '" + name() + "' threw an exception from deinit").c_str());
    }
  }

 protected:
  const void* find_provider(const char* interface_id) const override {
    return entry_.get(interface_id);
  }

 private:
  const quiver_plugin_entry& entry_;
};

}  // namespace

const quiver_host& plugin_host_services() noexcept {
  static const quiver_host host = {sizeof(quiver_host), QUIVER_API_MAJOR, QUIVER_API_MINOR,
                                   &write_log, &find_service};
  return host;
}

void set_plugin_log_level(int level) noexcept {
  log_level.store(level);
}

const quiver_plugin_entry& load_elf_entry(const PluginFile& file) {
  std::vector<std::byte> record;
  if (Refusal refusal =
          read_descriptor_section(FileBytes(file.descriptor(), file.identity().size), record)) {
    throw bad_entry(file, refusal.reason);
  }
  const boost::dll::shared_library& library = file.load();
  if (!library.has(QUIVER_ENTRY_SYMBOL)) {
    throw bad_entry(file, "the plugin exports no symbol " QUIVER_ENTRY_SYMBOL);
  }
  const auto& entry = library.get<const quiver_plugin_entry>(QUIVER_ENTRY_SYMBOL);
  if (entry.size < sizeof(quiver_plugin_entry) || entry.descriptor == nullptr ||
      entry.init == nullptr || entry.deinit == nullptr || entry.get == nullptr) {
    throw bad_entry(file, "the plugin's entry is incomplete");
  }
  // What was judged from the file must be what the code believes to be.
  if (record.size() < sizeof(quiver_descriptor) ||
      std::memcmp(entry.descriptor, record.data(), sizeof(quiver_descriptor)) != 0) {
    throw bad_entry(file,
                    "the plugin's entry leads to another descriptor than the one in its file");
  }
  return entry;
}

std::shared_ptr<PluginLibrary> load_elf_plugin(const PluginFile& file) {
  return std::make_shared<ElfPlugin>(load_elf_entry(file));
}

}  // namespace quiver
