// Opens a built plugin the way a host does, and makes options for what it offers.
#pragma once

#include <dlfcn.h>

#include <map>
#include <quiver/options.hpp>
#include <quiver/plugin.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

namespace quiver::test {

/// The entry of the plugin at `path`, opened and initialized; stays open. Throws
/// std::runtime_error.
inline const quiver_plugin_entry& open_plugin(const char* path) {
  static const quiver_host host = {sizeof(quiver_host), QUIVER_API_MAJOR, QUIVER_API_MINOR,
                                   [](int, const char*) {},
                                   [](const char*) -> const void* { return nullptr; }};
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  const auto* entry = static_cast<const quiver_plugin_entry*>(dlsym(library, QUIVER_ENTRY_SYMBOL));
  if (entry == nullptr || entry->init(&host) != 0) {
    throw std::runtime_error(std::string(path) + " has no working entry");
  }
  return *entry;
}

/// The plugin's implementation of an interface. Throws std::runtime_error where it has none.
template <class Interface>
const Interface& open_interface(const char* path) {
  const void* found = open_plugin(path).get(std::string(Interface::kInterfaceId).c_str());
  if (found == nullptr) throw std::runtime_error(std::string(path) + " lacks the interface");
  return *static_cast<const Interface*>(found);
}

using Numbers = std::map<std::string, double, std::less<>>;
using Texts = std::map<std::string, std::string, std::less<>>;

/// Given values, and defaults for the rest. Throws std::runtime_error for names without a spec and
/// for numbers out of range, so that a test cannot ask for what a host would refuse.
class ChosenOptions final : public Options {
 public:
  ChosenOptions(std::span<const OptionSpec> specs, const Numbers& numbers,
                const Texts& texts = {}) {
    for (const OptionSpec& spec : specs) {
      numbers_[spec.name] = spec.default_value;
      if (spec.kind == OptionKind::text) texts_[spec.name] = spec.default_text;
    }
    for (const auto& [name, value] : numbers) {
      for (const OptionSpec& spec : specs) {
        if (name == spec.name && (value < spec.minimum || value > spec.maximum)) {
          throw std::runtime_error(name + " is out of range");
        }
      }
      numbers_.at(name) = value;
    }
    for (const auto& [name, value] : texts) texts_.at(name) = value;
  }

  double number(std::string_view name) const override { return numbers_.find(name)->second; }
  std::string_view text(std::string_view name) const override { return texts_.find(name)->second; }

 private:
  Numbers numbers_;
  Texts texts_;
};

}  // namespace quiver::test
