// Models and engines for tests, with the plugins that were built beside them.
#pragma once

#include <filesystem>
#include <memory>
#include <quiver/options.hpp>
#include <string>
#include <vector>

#include "core/decode/engine.hpp"
#include "tests/support/load_plugin.hpp"

namespace quiver::test {

/// No options, for strategies that have none.
class NoOptions : public Options {
 public:
  double number(std::string_view) const override { return 0; }
  std::string_view text(std::string_view) const override { return {}; }
};

inline ArchitectureOffer llama_architecture(std::string_view) {
  return {borrowed(load_plugin<Architecture>("arch-llama")), "llama", "arch-llama"};
}

inline std::shared_ptr<const QuantScheme> affine_scheme(std::string_view) {
  return borrowed(load_plugin<QuantScheme>("quant-affine"));
}

inline std::shared_ptr<const KvStrategy> float_kv(const std::string& type = "f32") {
  return std::shared_ptr<const KvStrategy>(
      load_plugin<KvStrategyFactory>("kv-float").create(type, NoOptions()));
}

inline std::filesystem::path shared(const std::string& path) {
  return std::filesystem::path(QUIVER_SHARED_DIR) / path;
}

inline std::shared_ptr<const LoadedModel> load_model(const std::filesystem::path& folder) {
  return LoadedModel::load(folder, llama_architecture, affine_scheme);
}

/// An engine with its threads.
struct TestEngine {
  ThreadPool threads;
  Engine engine;
  explicit TestEngine(std::shared_ptr<const LoadedModel> model, int thread_count = 2,
                      const std::string& kv = "f32",
                      const ComputeOptions& compute = {ComputeMode::exact})
      : threads(thread_count), engine(std::move(model), float_kv(kv), threads, compute) {}
};

}  // namespace quiver::test
