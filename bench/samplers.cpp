// What a sampler costs per token, at the vocabulary sizes of small and of large models.
#include "core/decode/sampler_chain.hpp"
#include "core/plugin/offers.hpp"
#include "core/plugin/rehearsal.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace {

/// Logits as models give them: mostly far below a few.
std::vector<float> logits_of(std::size_t vocabulary) {
  std::mt19937 generator(11);
  std::normal_distribution<float> values(0, 3);
  std::vector<float> logits(vocabulary);
  for (float& logit : logits) logit = values(generator);
  return logits;
}

void run_chain(benchmark::State& state, const quiver::SamplerChain& chain) {
  const auto vocabulary = static_cast<std::size_t>(state.range(0));
  const std::vector<float> logits = logits_of(vocabulary);
  std::vector<std::int32_t> history(512);
  for (std::size_t i = 0; i < history.size(); ++i) {
    history[i] = static_cast<std::int32_t>(i * 7919 % vocabulary);
  }
  quiver::SamplerState sampler_state = chain.start(1);
  std::vector<float> work(vocabulary);
  for (auto _ : state) {
    // The copy is part of the time; compare with "greedy".
    std::ranges::copy(logits, work.begin());
    benchmark::DoNotOptimize(chain.next(work, history, 256, nullptr, sampler_state));
  }
}

struct Chain {
  const char* name;
  std::vector<std::pair<const char*, const char*>> samplers;
};

void add(const quiver::PluginRegistry& registry, const Chain& wanted) {
  std::vector<std::shared_ptr<const quiver::Sampler>> samplers;
  for (const auto& [name, options] : wanted.samplers) {
    samplers.push_back(
        quiver::create_sampler(registry, name, quiver::OptionInput::from_text(options)));
  }
  benchmark::RegisterBenchmark(wanted.name,
                               [chain = quiver::SamplerChain(std::move(samplers))](
                                   benchmark::State& state) { run_chain(state, chain); })
      ->ArgName("vocabulary")
      ->Arg(49152)
      ->Arg(151936)
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace

int main(int argc, char** argv) {
  if (quiver::is_rehearsal_call(argc, argv)) return quiver::rehearsal_main(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const std::filesystem::path folder =
      std::filesystem::path(QUIVER_BUILD_DIR) / "lib/quiver/plugins";
  const quiver::PluginRegistry registry(quiver::default_registry_options({&folder, 1}));
  const Chain chains[] = {
      {"greedy", {}},
      {"temperature+draw", {{"temperature", ""}, {"draw", ""}}},
      {"top-k+draw", {{"top-k", "k=40"}, {"draw", ""}}},
      {"top-p+draw", {{"top-p", "p=0.95"}, {"draw", ""}}},
      {"min-p+draw", {{"min-p", "p=0.05"}, {"draw", ""}}},
      {"typical+draw", {{"typical", ""}, {"draw", ""}}},
      {"repetition-penalty", {{"repetition-penalty", "penalty=1.1"}}},
      {"dry", {{"dry", "multiplier=0.8"}}},
      {"mirostat-v2", {{"mirostat-v2", ""}}},
  };
  for (const Chain& chain : chains) add(registry, chain);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
