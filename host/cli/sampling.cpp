// The options that choose tokens, and the chain of samplers that they make.
#include "host/cli/sampling.hpp"

#include "core/plugin/offers.hpp"
#include "host/cli/session.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

namespace quiver::cli {
namespace {

using Samplers = std::vector<std::shared_ptr<const Sampler>>;

Samplers named_samplers(const PluginRegistry& registry, const Arguments& arguments) {
  for (const char* name : {"temp", "top-p", "top-k", "min-p", "repetition-penalty"}) {
    if (!arguments.has(name)) continue;
    throw Error(ErrorCode::usage, fmt::format("--sampler and --{} exclude each other", name),
                std::string(arguments.command().name), "name all samplers with --sampler");
  }
  Samplers samplers;
  for (const std::string& text : arguments.texts("sampler")) {
    const NamedOptions sampler = split_options(text);
    samplers.push_back(
        create_sampler(registry, sampler.name, OptionInput::from_text(sampler.options)));
  }
  return samplers;
}

}  // namespace

SamplerChain make_sampler_chain(const PluginRegistry& registry, const Arguments& arguments) {
  if (arguments.has("sampler")) return SamplerChain(named_samplers(registry, arguments));
  const double temperature = arguments.number("temp", 0, 1e9);
  const double top_p = arguments.number("top-p", 0, 1);
  const double min_p = arguments.number("min-p", 0, 1);
  const double penalty = arguments.number("repetition-penalty", 0, 1e6);
  const std::int64_t top_k = arguments.integer("top-k", 0);
  Samplers samplers;
  const auto add = [&](const char* name, const std::string& options) {
    samplers.push_back(create_sampler(registry, name, OptionInput::from_text(options)));
  };
  if (penalty != 0 && penalty != 1) {
    add("repetition-penalty", fmt::format("penalty={}", penalty));
  }
  if (temperature != 0) {
    if (top_p != 0 && top_p != 1) add("top-p", fmt::format("p={}", top_p));
    if (min_p != 0) add("min-p", fmt::format("p={}", min_p));
    if (top_k != 0) add("top-k", fmt::format("k={}", top_k));
    if (temperature != 1) add("temperature", fmt::format("t={}", temperature));
    add("draw", "");
  }
  return SamplerChain(std::move(samplers));
}

}  // namespace quiver::cli
