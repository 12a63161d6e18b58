// The guard around every call into a plugin.
#include "core/plugin/call_plugin.hpp"

#include "core/plugin/plugin_descriptor.hpp"

#include <fmt/format.h>

#include <exception>
#include <new>

namespace quiver {

void rethrow_plugin_exception(std::string_view plugin, std::string_view action) {
  try {
    throw;
  } catch (const Error& error) {
    // Made anew, because the object in flight is the plugin's.
    throw Error(error.code(), one_line(error.message()), one_line(error.where()),
                one_line(error.hint()));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::resources,
                fmt::format("plugin '{}' ran out of memory when {}", plugin, action), {},
                "use a smaller model or a shorter context");
  } catch (const std::exception& exception) {
    throw Error(
        ErrorCode::plugin,
        fmt::format("plugin '{}' failed when {}: {}", plugin, action, one_line(exception.what())),
        {}, "report it to the plugin's author");
  } catch (...) {
    throw Error(ErrorCode::plugin,
                fmt::format("plugin '{}' failed when {}: it threw what is no std::exception",
                            plugin, action),
                {}, "report it to the plugin's author");
  }
}

}  // namespace quiver
