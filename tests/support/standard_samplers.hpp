// The standard samplers for tests, and texts written with them.
#pragma once

#include <map>
#include <memory>
#include <quiver/sampler.hpp>
#include <span>
#include <string>

#include "core/decode/decoder.hpp"
#include "core/decode/generator.hpp"
#include "tests/support/load_plugin.hpp"

namespace quiver::test {

/// Numbers by name.
class NumberOptions : public Options {
 public:
  explicit NumberOptions(std::map<std::string, double, std::less<>> values)
      : values_(std::move(values)) {}
  double number(std::string_view name) const override { return values_.find(name)->second; }
  std::string_view text(std::string_view) const override { return {}; }

 private:
  std::map<std::string, double, std::less<>> values_;
};

inline std::shared_ptr<const Sampler> standard_sampler(
    const std::string& name, std::map<std::string, double, std::less<>> options) {
  return std::shared_ptr<const Sampler>(
      load_plugin<SamplerFactory>("sampler-standard").create(name, NumberOptions(options)));
}

/// The repetition penalty over the newest `window` tokens (0 = all), or nothing where it is 1.
inline SamplerChain penalized(double penalty, int window = 0) {
  if (penalty == 1) return SamplerChain();
  return SamplerChain(
      {standard_sampler("repetition-penalty", {{"penalty", penalty}, {"window", double(window)}})});
}

/// One text behind a fresh prompt.
inline Generation write(Engine& engine, std::span<const std::int32_t> prompt,
                        const SamplerChain& samplers, const GenerationOptions& options) {
  Sequence sequence = make_sequence(engine, options.decode);
  return generate(engine, sequence, prompt, samplers, options);
}

}  // namespace quiver::test
