// The options that choose tokens, and the chain of samplers that they make.
#pragma once

#include "core/decode/sampler_chain.hpp"
#include "core/plugin/registry.hpp"
#include "host/cli/arguments.hpp"

#include <cstdint>
#include <limits>

namespace quiver::cli {

inline constexpr OptionRow kSamplingOptions[] = {
    {.name = "temp",
     .value = "X",
     .default_value = "0",
     .help = "Temperature; 0 takes the likeliest token and no filter acts"},
    {.name = "top-p",
     .value = "X",
     .default_value = "1",
     .help = "Keep the likeliest tokens up to this probability mass; 1 keeps all"},
    {.name = "top-k",
     .value = "N",
     .default_value = "0",
     .help = "Keep the N likeliest tokens; 0 keeps all"},
    {.name = "min-p",
     .value = "X",
     .default_value = "0",
     .help = "Drop tokens below this fraction of the likeliest one's probability; 0 drops none"},
    {.name = "repetition-penalty",
     .value = "X",
     .default_value = "1",
     .help = "Scale down tokens that occurred lately; 1 changes nothing"},
    {.name = "seed", .value = "N", .default_value = "0", .help = "Seed of the random numbers"},
    {.name = "sampler",
     .value = "NAME[:K=V,..]",
     .help =
         "Sampler with its options, instead of those above, in the order given; without one that "
         "chooses, such as draw, the likeliest token is taken",
     .is_repeatable = true},
};

/// The chain of --sampler, or the one that the other options ask for: repetition penalty, then
/// (unless the temperature is 0) top-p, min-p, top-k, temperature and a draw. Only plugins of
/// samplers that act are loaded. Throws Error(usage) and Error(plugin). [load-thread]
SamplerChain make_sampler_chain(const PluginRegistry& registry, const Arguments& arguments);

/// --seed.
inline std::uint64_t seed(const Arguments& arguments) {
  return static_cast<std::uint64_t>(
      arguments.integer("seed", 0, std::numeric_limits<std::int64_t>::max()));
}

}  // namespace quiver::cli
