// A loaded plugin: its interfaces, and the ownership of what they make.
#pragma once

#include "core/plugin/call_plugin.hpp"
#include "core/plugin/plugin_file.hpp"

#include <quiver/entry.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace quiver {

/// A plugin that was loaded and initialized. The code itself stays for the life of the process;
/// this object is what keeps the plugin initialized, so every object that a plugin made is held
/// together with it. [any-thread]
class PluginLibrary : public std::enable_shared_from_this<PluginLibrary> {
 public:
  virtual ~PluginLibrary() = default;
  PluginLibrary(const PluginLibrary&) = delete;
  PluginLibrary& operator=(const PluginLibrary&) = delete;

  /// Name of the plugin, for messages.
  const std::string& name() const { return name_; }

  /// The plugin's implementation of an interface, e.g. get<SamplerFactory>(), or nullptr. Valid as
  /// long as this object. Throws Error(plugin) where the plugin throws.
  template <class Interface>
  const Interface* get() const {
    return static_cast<const Interface*>(provider(Interface::kInterfaceId));
  }

  /// The same by id.
  const void* provider(std::string_view interface_id) const {
    return call_plugin(name_, "asked for an interface",
                       [&] { return find_provider(std::string(interface_id).c_str()); });
  }

  /// Takes ownership of an object that this plugin made: it is deleted by the code that made it,
  /// and holds the plugin until then. Throws Error(plugin) for nullptr.
  template <class T>
  std::shared_ptr<T> hold(T* object) const {
    if (object == nullptr) {
      throw Error(ErrorCode::plugin, "plugin '" + name_ + "' made nothing", {},
                  "report it to the plugin's author");
    }
    return std::shared_ptr<T>(object,
                              [library = shared_from_this()](const T* made) { delete made; });
  }

 protected:
  explicit PluginLibrary(std::string name) : name_(std::move(name)) {}

  /// What the plugin answers for an id; may throw anything.
  virtual const void* find_provider(const char* interface_id) const = 0;

 private:
  std::string name_;
};

/// Loads an ELF plugin and checks that its entry is sane and that its descriptor is the one in the
/// file; calls nothing. Throws Error(plugin). [load-thread]
const quiver_plugin_entry& load_elf_entry(const PluginFile& file);

/// The same, and initializes it. Nothing else is checked here: see PluginRegistry::load. Throws
/// Error(plugin). [load-thread]
std::shared_ptr<PluginLibrary> load_elf_plugin(const PluginFile& file);

/// What the host gives every plugin at init. [any-thread]
const quiver_host& plugin_host_services() noexcept;

/// Which lines of plugins reach stderr: those of this level and below (see quiver_host::log); -1
/// for none. 2 at start. [any-thread]
void set_plugin_log_level(int level) noexcept;

}  // namespace quiver
