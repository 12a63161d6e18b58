// Loads a plugin that was built beside the tests, straight through the SDK's entry.
#pragma once

#include <dlfcn.h>

#include <quiver/entry.h>
#include <quiver/architecture.hpp>
#include <quiver/kv_strategy.hpp>
#include <quiver/quant_scheme.hpp>
#include <stdexcept>
#include <string>

namespace quiver::test {

inline const quiver_plugin_entry& plugin_entry(const std::string& name) {
  const std::string path = std::string(QUIVER_BUILD_DIR) + "/lib/quiver/plugins/" + name + ".so";
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(::dlerror());
  const auto* entry =
      static_cast<const quiver_plugin_entry*>(::dlsym(library, QUIVER_ENTRY_SYMBOL));
  if (entry == nullptr) throw std::runtime_error(path + " has no entry");
  static const quiver_host host{sizeof(quiver_host), QUIVER_API_MAJOR, QUIVER_API_MINOR,
                                [](int, const char*) {},
                                [](const char*) -> const void* { return nullptr; }};
  if (entry->init(&host) != 0) throw std::runtime_error(path + " refuses to start");
  return *entry;
}

/// The plugin's provider of an interface; the library stays loaded for good.
template <class Interface>
const Interface& load_plugin(const std::string& name) {
  const void* provider = plugin_entry(name).get(std::string(Interface::kInterfaceId).c_str());
  if (provider == nullptr) throw std::runtime_error(name + " does not provide the interface");
  return *static_cast<const Interface*>(provider);
}

/// A pointer that owns nothing, for objects that live as long as their library.
template <class T>
std::shared_ptr<const T> borrowed(const T& object) {
  return std::shared_ptr<const T>(std::shared_ptr<const T>(), &object);
}

}  // namespace quiver::test
