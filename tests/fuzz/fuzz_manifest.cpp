// Fuzzes the reader of sampler manifests.
#include "core/plugin/c_sampler_manifest.hpp"

#include <quiver/error.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > quiver::kMaxManifestBytes + 1) return 0;
  try {
    const auto manifest = quiver::parse_manifest(
        std::string_view(reinterpret_cast<const char*>(data), size), "x.sampler.json");
    // What was accepted keeps the promises that the code behind the reader builds on.
    if (manifest.library.find('/') != std::string::npos || manifest.samplers.empty()) std::abort();
    for (const auto& spec : manifest.samplers) {
      if (spec.arguments.empty() || spec.arguments.size() > quiver::kMaxManifestArguments ||
          spec.state_bytes > quiver::kMaxSamplerState) {
        std::abort();
      }
      for (const auto& argument : spec.arguments) {
        if (argument.kind == quiver::CArgumentKind::parameter &&
            argument.parameter >= spec.parameters.size()) {
          std::abort();
        }
      }
      for (const auto& p : spec.parameters) {
        if (!(p.minimum <= p.default_value && p.default_value <= p.maximum)) std::abort();
      }
    }
  } catch (const quiver::Error& error) {
    // Refusing is right; the reason must be one line.
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
