// What the checks of all kinds share: noise, choices of options, threads, comparing bits.
#pragma once

#include "core/plugin/check_plan.hpp"
#include "core/plugin/options.hpp"

#include <quiver/options.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// Numbers that look random, evenly spread over [-1, 1), and are the same at every run.
std::vector<float> check_noise(std::size_t count, std::uint64_t seed);

/// Values for some options, the others at their defaults, and a few words on them.
struct OptionChoice {
  std::string label;
  nlohmann::json values = nullptr;
};

/// The defaults, and each numeric option at some values inside its range, the others at default:
/// what makes an offer do something.
std::vector<OptionChoice> lively_options(std::span<const OptionSpec> specs);

/// Each option at the ends of its range, all at their ends, and texts that make no sense.
std::vector<OptionChoice> extreme_options(std::span<const OptionSpec> specs);

/// Fails where the specs are malformed: names, ranges, defaults, repetition.
void require_sane_options(std::span<const OptionSpec> specs);

/// Runs `work(thread)` for thread 0 .. count - 1, all at once; passes on the first exception.
void run_in_threads(int count, const std::function<void(int thread)>& work);

/// The provider of an interface; fails where there is none.
template <class Interface>
const Interface& provider_of(const PluginLibrary& library) {
  const auto* provider = library.get<Interface>();
  require(provider != nullptr, "has no " + std::string(Interface::kInterfaceId));
  return *provider;
}

/// Whether two arrays hold the same bits (which tells 0 from -0 and compares NaNs).
template <class T>
bool has_same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}
template <class T>
bool has_same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return has_same_bits(std::span<const T>(a), std::span<const T>(b));
}

/// Makes an instance of an offer, or nullptr where the plugin refuses the options with an Error.
/// Other exceptions, and nullptr from the plugin, fail the check.
template <class Product, class Factory>
std::shared_ptr<const Product> try_create(const PluginLibrary& library, const std::string& offer,
                                          const OptionChoice& choice) {
  const auto& factory = provider_of<Factory>(library);
  const PluginOptions options =
      PluginOptions::from_json("'" + offer + "'", factory.options(offer), choice.values);
  try {
    const Product* made = factory.create(offer, options);
    require(made != nullptr, "makes nothing with " + choice.label);
    return library.hold(made);
  } catch (const Error&) {
    return nullptr;
  }
}

/// The same, where refusing fails the check too.
template <class Product, class Factory>
std::shared_ptr<const Product> create_default(const PluginLibrary& library,
                                              const std::string& offer) {
  const auto made = try_create<Product, Factory>(library, offer, {"default options"});
  require(made != nullptr, "refuses its own default options");
  return made;
}

/// What a factory does with names that the plugin does not offer: an Error or nothing, for both
/// questions. Anything else fails the check.
template <class Factory>
void require_refuses_unknown_offer(const Factory& factory) {
  for (const char* name : {"", "no-such-offer", "\xFF"}) {
    try {
      const auto specs = factory.options(name);
      const auto* made = factory.create(name, PluginOptions("an unknown offer", specs));
      require(made == nullptr, "makes something for the unknown offer '" + std::string(name) + "'");
    } catch (const Error&) {
      continue;  // the best answer
    }
  }
}

}  // namespace quiver
