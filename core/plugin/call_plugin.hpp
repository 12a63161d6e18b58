// The guard around every call into a plugin.
#pragma once

#include <quiver/error.hpp>

#include <string_view>
#include <utility>

namespace quiver {

/// Turns the exception in flight, thrown by `plugin` while it was `action`, into one of the host's
/// own: an Error keeps its code and texts, lack of memory becomes Error(resources), anything else
/// Error(plugin) that names the plugin. Called inside a catch block. [any-thread]
[[noreturn]] void rethrow_plugin_exception(std::string_view plugin, std::string_view action);

/// Calls `function`, which calls into `plugin`, and gives back its result. Whatever the plugin
/// throws arrives as an Error that was made here, so no exception object of the plugin is kept.
/// `action` completes "failed when ", e.g. "asked for sampler 'top_p'". [any-thread]
template <class Function>
decltype(auto) call_plugin(std::string_view plugin, std::string_view action, Function&& function) {
  try {
    return std::forward<Function>(function)();
  } catch (...) {
    rethrow_plugin_exception(plugin, action);
  }
}

}  // namespace quiver
