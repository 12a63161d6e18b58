// Samplers written in any language: functions that a manifest describes and libffi calls.
#pragma once

#include "core/plugin/c_sampler_manifest.hpp"

#include <quiver/sampler.hpp>

#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace quiver {

struct BoundSampler;

/// The functions of one manifest, offered as any plugin offers its samplers. The samplers that
/// create() makes keep what they need of this object, which may be destroyed before them.
/// [any-thread]
///
/// What a function leaves behind is checked after each call, because nothing else can tell whether
/// it kept its side of the signature: 1 to `count` candidates remain, each id is one of those it
/// was given and stands there once, no logit is NaN or +infinity and one is above -infinity, a
/// chosen token is one of the candidates. Otherwise the call throws Error(plugin) naming the
/// sampler.
class CSamplerLibrary final : public SamplerFactory {
 public:
  /// Looks up every symbol of `manifest` in a library that was opened by dlopen and is never
  /// closed. Throws Error(plugin) naming a missing symbol. [load-thread]
  CSamplerLibrary(CSamplerManifest manifest, void* library);

  const CSamplerManifest& manifest() const { return *manifest_; }

  /// Throws Error(usage) for a name that the manifest does not offer.
  std::span<const OptionSpec> options(std::string_view offer) const override;
  Sampler* create(std::string_view offer, const Options& options) const override;

 private:
  const std::shared_ptr<const BoundSampler>& find(std::string_view offer) const;

  std::shared_ptr<const CSamplerManifest> manifest_;
  std::vector<std::shared_ptr<const BoundSampler>> samplers_;
};

/// For a child process: calls every function once, with default parameters and eight candidates
/// between guard pages. Throws Error(plugin) where a check fails; a function that crashes takes the
/// process with it. [one-call-at-a-time]
void rehearse_c_samplers(const CSamplerLibrary& library);

}  // namespace quiver
