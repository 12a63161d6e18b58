// What a C++ plugin includes to describe and export itself.
#pragma once

#include <quiver/entry.h>

#include <string_view>

namespace quiver {

/// The host that loaded this plugin, or nullptr before init. One per shared object. [any-thread]
inline const quiver_host*& plugin_host() noexcept {
  static const quiver_host* host = nullptr;
  return host;
}

/// Hands out `provider` when `id` asks for exactly its interface; otherwise nullptr. `Interface` is
/// the published class, e.g. quiver::SamplerFactory: the pointer that crosses must be to exactly
/// that base. [any-thread]
template <class Interface>
const void* provide(std::string_view id, const Interface& provider) noexcept {
  return id == Interface::kInterfaceId ? static_cast<const void*>(&provider) : nullptr;
}

}  // namespace quiver

/// Describes and exports a plugin. `get` is a function `const void* get(std::string_view id)` that
/// answers with provide(); the texts and offers are those of QUIVER_DESCRIPTOR.
#define QUIVER_PLUGIN(get, plugin_name, plugin_version, plugin_license, plugin_summary, ...)    \
  QUIVER_DESCRIPTOR(quiver_descriptor_, plugin_name, plugin_version, plugin_license,            \
                    plugin_summary, __VA_ARGS__);                                               \
  extern "C" QUIVER_EXPORT const quiver_plugin_entry quiver_plugin;                             \
  const quiver_plugin_entry quiver_plugin = {sizeof(quiver_plugin_entry), &quiver_descriptor_,  \
                                             [](const quiver_host* host) -> int {               \
                                               ::quiver::plugin_host() = host;                  \
                                               return 0;                                        \
                                             },                                                 \
                                             [] {},                                             \
                                             [](const char* id) -> const void* {                \
                                               return id != nullptr ? get(std::string_view(id)) \
                                                                    : nullptr;                  \
                                             }}
