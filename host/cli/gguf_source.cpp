// GGUF files as the source of a command that works on model folders.
#include "host/cli/gguf_source.hpp"

#include "core/plugin/offers.hpp"
#include "host/cli/console.hpp"

namespace quiver::cli {
namespace {

std::filesystem::path beside(std::filesystem::path out) {
  if (!out.has_filename()) out = out.parent_path();
  out += ".source";
  return out;
}

}  // namespace

GgufArchitectureSource gguf_architectures(const PluginRegistry& registry) {
  return [&registry](std::string_view name) -> ArchitectureOffer {
    FoundArchitecture found = find_gguf_architecture(registry, name);
    return {std::move(found.architecture), std::move(found.offer), found.plugin->name()};
  };
}

UnpackedGguf::UnpackedGguf(const std::filesystem::path& gguf, const std::filesystem::path& out,
                           const PluginRegistry& registry, const ImportProgress& progress)
    : place_(beside(out), false) {
  const ImportReport report =
      import_gguf(gguf, folder(), {}, gguf_architectures(registry), progress);
  for (const std::string& warning : report.warnings) warn(warning);
}

}  // namespace quiver::cli
