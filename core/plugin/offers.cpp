// From a name that a user wrote to the thing that a plugin makes.
#include "core/plugin/offers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <quiver/bare_weights.hpp>
#include <vector>

namespace quiver {
namespace {

using IsWanted = std::function<bool(const PluginOffer&)>;

std::string list_of(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, ", "));
}

/// What of a kind is installed, as a user would write it.
std::string installed(const PluginRegistry& registry, OfferKind kind, bool lists_gguf) {
  std::vector<std::string> names;
  for (const PluginEntry& plugin : registry.candidates()) {
    if (plugin.state == PluginState::refused || plugin.state == PluginState::broken) continue;
    for (const PluginOffer& offer : plugin.descriptor.offers) {
      if (offer.kind != kind) continue;
      const auto& words = lists_gguf ? offer.gguf_architectures : offer.model_types;
      const std::string name = kind != OfferKind::architecture
                                   ? offer.name
                                   : fmt::format("{} ({})", offer.name, list_of(words));
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names.empty() ? "none is installed" : "installed are " + list_of(names);
}

/// The plugin that would serve if nothing were wrong with it.
std::string unusable(const PluginRegistry& registry, const IsWanted& is_wanted) {
  for (const PluginEntry& plugin : registry.candidates()) {
    if (plugin.state != PluginState::refused && plugin.state != PluginState::broken) continue;
    const auto& offers = plugin.descriptor.offers;
    if (std::any_of(offers.begin(), offers.end(), is_wanted)) {
      return fmt::format("{} offers it, but is {}: {}", plugin.path.string(),
                         state_name(plugin.state), plugin.reason);
    }
  }
  return {};
}

[[noreturn]] void throw_missing(const PluginRegistry& registry, OfferKind kind,
                                const std::string& what, const IsWanted& is_wanted,
                                bool lists_gguf = false) {
  const std::string culprit = unusable(registry, is_wanted);
  throw Error(
      ErrorCode::plugin, what, {},
      fmt::format("{}; {}", installed(registry, kind, lists_gguf),
                  !culprit.empty() ? culprit
                                   : "install a plugin that offers it, or name its folder with "
                                     "--plugin-path"));
}

FoundOffer find_named(const PluginRegistry& registry, OfferKind kind, std::string_view name) {
  if (auto found = registry.find_offer(kind, name)) return *std::move(found);
  throw_missing(registry, kind,
                fmt::format("there is no {} '{}'", kind_noun(kind), one_line(name, 80)),
                [&](const PluginOffer& offer) { return offer.kind == kind && offer.name == name; });
}

/// The interface behind an offer; the pointer keeps the plugin.
template <class Interface>
std::shared_ptr<const Interface> require(const std::shared_ptr<PluginLibrary>& plugin) {
  const auto* const provider = plugin->get<Interface>();
  if (provider == nullptr) {
    throw Error(
        ErrorCode::plugin,
        fmt::format("plugin '{}' does not provide {}", plugin->name(), Interface::kInterfaceId), {},
        "report it to the plugin's author");
  }
  return {plugin, provider};
}

/// Makes what a factory offers.
template <class Factory>
auto create(const PluginRegistry& registry, OfferKind kind, std::string_view name,
            const OptionInput& input) {
  const FoundOffer found = find_named(registry, kind, name);
  const std::shared_ptr<PluginLibrary> plugin = registry.load(found.plugin);
  const auto factory = require<Factory>(plugin);
  const std::string subject = fmt::format("{} '{}'", kind_noun(kind), name);
  const PluginOptions options = input.read(subject, offer_options(*plugin, found.offer));
  return plugin->hold(call_plugin(plugin->name(), "asked for " + subject,
                                  [&] { return factory->create(name, options); }));
}

FoundArchitecture load_architecture(const PluginRegistry& registry, const FoundOffer& found) {
  std::shared_ptr<PluginLibrary> plugin = registry.load(found.plugin);
  auto architecture = require<Architecture>(plugin);
  return {std::move(architecture), std::move(plugin), found.offer.name};
}

}  // namespace

std::shared_ptr<const Sampler> create_sampler(const PluginRegistry& registry, std::string_view name,
                                              const OptionInput& options) {
  return create<SamplerFactory>(registry, OfferKind::sampler, name, options);
}

std::shared_ptr<const CanvasSampler> create_canvas_sampler(const PluginRegistry& registry,
                                                           std::string_view name,
                                                           const OptionInput& options) {
  return create<CanvasSamplerFactory>(registry, OfferKind::canvas_sampler, name, options);
}

std::shared_ptr<const KvStrategy> create_kv_strategy(const PluginRegistry& registry,
                                                     std::string_view name,
                                                     const OptionInput& options) {
  return create<KvStrategyFactory>(registry, OfferKind::kv_strategy, name, options);
}

std::shared_ptr<const QuantScheme> quant_scheme(const PluginRegistry& registry,
                                                std::string_view name) {
  const FoundOffer found = find_named(registry, OfferKind::quant_scheme, name);
  const std::shared_ptr<PluginLibrary> plugin = registry.load(found.plugin);
  auto scheme = require<QuantScheme>(plugin);
  const bool is_meant =
      call_plugin(plugin->name(), "asked for its name", [&] { return scheme->name() == name; });
  if (!is_meant) {
    throw Error(ErrorCode::plugin,
                fmt::format("plugin '{}' offers the quantization scheme '{}', but provides another",
                            plugin->name(), name),
                {}, "report it to the plugin's author");
  }
  return scheme;
}

FoundArchitecture find_architecture(const PluginRegistry& registry, std::string_view model_type) {
  if (const auto found = registry.find_architecture(model_type)) {
    return load_architecture(registry, *found);
  }
  throw_missing(registry, OfferKind::architecture,
                fmt::format("no architecture runs the model_type '{}'", one_line(model_type, 80)),
                [&](const PluginOffer& offer) {
                  return std::ranges::find(offer.model_types, model_type) !=
                         offer.model_types.end();
                });
}

FoundArchitecture find_gguf_architecture(const PluginRegistry& registry,
                                         std::string_view gguf_architecture) {
  if (const auto found = registry.find_gguf_architecture(gguf_architecture)) {
    return load_architecture(registry, *found);
  }
  throw_missing(
      registry, OfferKind::architecture,
      fmt::format("no architecture imports GGUF files of the architecture '{}'",
                  one_line(gguf_architecture, 80)),
      [&](const PluginOffer& offer) {
        return std::ranges::find(offer.gguf_architectures, gguf_architecture) !=
               offer.gguf_architectures.end();
      },
      true);
}

std::string recognize_weights(const PluginRegistry& registry,
                              std::span<const std::string_view> names) {
  for (const PluginEntry& plugin : registry.candidates()) {
    if (plugin.state == PluginState::shadowed) continue;
    for (const PluginOffer& offer : plugin.descriptor.offers) {
      if (offer.kind != OfferKind::architecture) continue;
      // A plugin that is refused has been told of; it must not keep others from being asked.
      try {
        const FoundArchitecture found = load_architecture(registry, {plugin, offer});
        const void* known = found.architecture->extension(BareWeights::kInterfaceId);
        if (known == nullptr) continue;
        const char* model_type = call_plugin(
            found.plugin->name(), "shown the names of weights",
            [&] { return static_cast<const BareWeights*>(known)->recognize(offer.name, names); });
        if (model_type != nullptr) return model_type;
      } catch (const Error&) {
        continue;
      }
    }
  }
  return {};
}

std::span<const OptionSpec> offer_options(const PluginLibrary& plugin, const PluginOffer& offer) {
  const auto ask = [&](const auto* factory) -> std::span<const OptionSpec> {
    if (factory == nullptr) {
      throw Error(
          ErrorCode::plugin,
          fmt::format("plugin '{}' does not provide {}", plugin.name(), interface_id(offer.kind)),
          {}, "report it to the plugin's author");
    }
    return call_plugin(plugin.name(), "asked for options",
                       [&] { return factory->options(offer.name); });
  };
  switch (offer.kind) {
    case OfferKind::sampler: return ask(plugin.get<SamplerFactory>());
    case OfferKind::canvas_sampler: return ask(plugin.get<CanvasSamplerFactory>());
    case OfferKind::kv_strategy: return ask(plugin.get<KvStrategyFactory>());
    default: return {};
  }
}

}  // namespace quiver
