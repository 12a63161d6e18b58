// Lists, loads and rehearses the plugins that are described by a manifest.
#include "core/plugin/manifest_plugins.hpp"

#include "core/plugin/c_sampler.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

namespace quiver {
namespace {

class ManifestLibrary final : public PluginLibrary {
 public:
  ManifestLibrary(CSamplerManifest manifest, void* library)
      : PluginLibrary(manifest.name), samplers_(std::move(manifest), library) {}

 private:
  const void* find_provider(const char* interface_id) const override {
    const SamplerFactory& factory = samplers_;
    return interface_id == SamplerFactory::kInterfaceId ? &factory : nullptr;
  }

  CSamplerLibrary samplers_;
};

CSamplerManifest read_manifest(const PluginFile& file) {
  return parse_manifest(file.read(kMaxManifestBytes), file.path().string());
}

PluginDescriptor describe(const CSamplerManifest& manifest) {
  PluginDescriptor descriptor{.name = manifest.name,
                              .version = manifest.version,
                              .license = manifest.license,
                              .summary = manifest.summary,
                              .api_major = QUIVER_API_MAJOR,
                              .api_minor = 0,
                              // No C++ object crosses, so any compiler's library will do.
                              .abi_stamp = "c",
                              .offers = {}};
  for (const CSamplerSpec& spec : manifest.samplers) {
    descriptor.offers.push_back({.kind = OfferKind::sampler,
                                 .name = spec.name,
                                 .summary = spec.summary,
                                 .model_types = {},
                                 .gguf_architectures = {}});
  }
  return descriptor;
}

}  // namespace

PluginEntry read_manifest_entry(const std::filesystem::path& file) {
  PluginEntry entry;
  entry.origin = PluginOrigin::manifest;
  entry.path = file;
  entry.files = {file};
  try {
    const CSamplerManifest manifest = read_manifest(PluginFile::open(file));
    entry.descriptor = describe(manifest);
    entry.files.push_back(file.parent_path() / manifest.library);
  } catch (const Error& error) {
    entry.descriptor.name = file.filename().string();
    entry.state = PluginState::refused;
    entry.fault = PluginFault::bad_manifest;
    entry.reason = error.what();
  }
  return entry;
}

std::vector<PluginEntry> scan_manifests(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (std::filesystem::directory_iterator item(folder, error), end; !error && item != end;
       item.increment(error)) {
    if (item->path().filename().string().ends_with(kManifestSuffix)) paths.push_back(item->path());
  }
  std::ranges::sort(paths);
  std::vector<PluginEntry> entries;
  for (const auto& path : paths) entries.push_back(read_manifest_entry(path));
  return entries;
}

std::shared_ptr<PluginLibrary> load_manifest_plugin(const PluginFile& manifest,
                                                    const PluginFile& library) {
  return std::make_shared<ManifestLibrary>(read_manifest(manifest), library.load().native());
}

void rehearse_manifest_plugin(const PluginFile& manifest, const PluginFile& library) {
  rehearse_c_samplers(CSamplerLibrary(read_manifest(manifest), library.load().native()));
}

}  // namespace quiver
