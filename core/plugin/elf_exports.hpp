// The symbols that a loaded library exports.
#pragma once

#include <string>
#include <vector>

namespace quiver {

/// Names of all symbols that a library opened by dlopen defines for others, without the few that
/// linkers add (_init, _end, ..). The loader has vouched for its tables. Throws Error(plugin) where
/// it has none. [any-thread]
std::vector<std::string> exported_symbols(void* library);

}  // namespace quiver
