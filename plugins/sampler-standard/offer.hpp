// How the files of this plugin hand their samplers to its factory.
#pragma once

#include <quiver/sampler.hpp>

#include <memory>
#include <span>
#include <string_view>

namespace quiver::samplers {

/// One sampler of this plugin.
struct SamplerOffer {
  std::string_view name;
  std::span<const OptionSpec> options;
  std::unique_ptr<Sampler> (*create)(const Options& options);
};

/// create() of a sampler that takes its options in its constructor.
template <class Type>
std::unique_ptr<Sampler> make_sampler(const Options& options) {
  return std::make_unique<Type>(options);
}

std::span<const SamplerOffer> filter_offers();
std::span<const SamplerOffer> penalty_offers();
std::span<const SamplerOffer> dry_offers();
std::span<const SamplerOffer> chooser_offers();

/// The largest whole number that an integer option can take.
constexpr double kLargestInteger = 2147483647;

}  // namespace quiver::samplers
