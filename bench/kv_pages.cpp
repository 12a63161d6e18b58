// Speed of KV strategies on pages: scores and weighted sums, in a cache and from memory.
#include "core/eval/machine_limits.hpp"
#include "core/kernels/kernel_table.hpp"
#include "core/plugin/offers.hpp"
#include "core/plugin/rehearsal.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

namespace {

using quiver::KvShape;
using quiver::KvStrategy;

constexpr int kTokens = KvStrategy::kTokens;
constexpr int kPagesTogether = 8;  ///< As attention hands them over.

std::vector<float> random_floats(std::size_t count) {
  std::mt19937 generator(7);
  std::normal_distribution<float> values(0, 1);
  std::vector<float> result(count);
  for (float& value : result) value = values(generator);
  return result;
}

/// Pages of one key-value head, full of random tokens.
class Pages {
 public:
  Pages(const KvStrategy& strategy, const KvShape& shape, std::size_t count)
      : page_bytes_((strategy.page_bytes(shape) + 63) / 64 * 64),
        bytes_(static_cast<std::byte*>(std::aligned_alloc(64, page_bytes_ * count)), std::free) {
    if (bytes_ == nullptr) throw std::bad_alloc();
    const auto width = static_cast<std::size_t>(shape.kv_heads * shape.head_dim);
    const std::vector<float> tokens = random_floats(kTokens * width);
    for (int slot = 0; slot < kTokens; ++slot) {
      const std::span<const float> token(tokens.data() + static_cast<std::size_t>(slot) * width,
                                         width);
      strategy.write(shape, bytes_.get(), slot, token, token);
    }
    for (std::size_t i = 1; i < count; ++i) {
      std::copy_n(bytes_.get(), page_bytes_, bytes_.get() + i * page_bytes_);
    }
  }

  std::byte* page(std::size_t index) { return bytes_.get() + index * page_bytes_; }
  /// kPagesTogether pages.
  std::array<const std::byte*, kPagesTogether> from(std::size_t index) const {
    std::array<const std::byte*, kPagesTogether> result{};
    for (std::size_t i = 0; i < kPagesTogether; ++i) {
      result[i] = bytes_.get() + (index + i) * page_bytes_;
    }
    return result;
  }
  std::size_t page_bytes() const { return page_bytes_; }

 private:
  std::size_t page_bytes_;
  std::unique_ptr<std::byte, decltype(&std::free)> bytes_;
};

enum class Part { scores, sums, both };

/// What is measured, of `tokens` tokens of one head.
struct Work {
  std::shared_ptr<const KvStrategy> strategy;
  Part part = Part::both;
  int head_dim = 0;
  int queries = 0;
  int tokens = 0;
};

void measure(benchmark::State& state, const Work& work, double flops) {
  const KvShape shape{1, work.head_dim};
  const auto count = static_cast<std::size_t>(work.tokens / kTokens);
  const Pages pages(*work.strategy, shape, count);
  std::vector<float> queries = random_floats(static_cast<std::size_t>(work.queries) *
                                             static_cast<std::size_t>(work.head_dim));
  work.strategy->transform_queries(shape, queries.data(), work.queries);
  std::vector<float> weights =
      random_floats(static_cast<std::size_t>(work.queries * kTokens * kPagesTogether));
  for (auto _ : state) {
    for (std::size_t i = 0; i < count; i += kPagesTogether) {
      const std::array<const std::byte*, kPagesTogether> some = pages.from(i);
      const KvStrategy::Slots slots{some, 0, 0, kTokens * kPagesTogether};
      if (work.part != Part::sums) {
        work.strategy->scores(shape, slots, queries.data(), work.queries, weights.data());
      }
      if (work.part != Part::scores) {
        const std::size_t next = i + kPagesTogether;
        work.strategy->accumulate(shape, slots, weights.data(), work.queries, queries.data(),
                                  next < count ? pages.from(next)[0] : nullptr);
      }
    }
    benchmark::ClobberMemory();
  }
  const int parts = work.part == Part::both ? 2 : 1;
  const auto tokens = static_cast<double>(state.iterations()) * static_cast<double>(work.tokens);
  const double operations = 2.0 * parts * tokens * work.head_dim * work.queries;
  using benchmark::Counter;
  state.counters["GFLOP/s"] = Counter(operations / 1e9, Counter::kIsRate);
  state.counters["percent"] = Counter(100 * operations / flops, Counter::kIsRate);
  // Keys and values are about half of a page each.
  state.counters["GB/s"] =
      Counter(tokens / kTokens * static_cast<double>(pages.page_bytes()) * parts / 2 / 1e9,
              Counter::kIsRate);
  state.counters["Mtok/s"] = Counter(tokens / 1e6, Counter::kIsRate);
}

/// One token after the other into the slots of a page.
void write_tokens(benchmark::State& state, const KvStrategy& strategy, int head_dim) {
  const KvShape shape{1, head_dim};
  Pages pages(strategy, shape, 1);
  const std::vector<float> token = random_floats(static_cast<std::size_t>(head_dim));
  std::byte* page = pages.page(0);
  int slot = 0;
  for (auto _ : state) {
    strategy.write(shape, page, slot, token, token);
    slot = (slot + 1) % kTokens;
    benchmark::ClobberMemory();
  }
}

void add(const quiver::PluginRegistry& registry, const std::string& name,
         const std::string& options, double flops) {
  const std::shared_ptr<const KvStrategy> strategy =
      quiver::create_kv_strategy(registry, name, quiver::OptionInput::from_text(options));
  const std::string label = options.empty() ? name : name + ":" + options;
  for (const int head_dim : {64, 128, 256}) {
    for (const auto& [part, part_name] :
         {std::pair(Part::scores, "scores"), {Part::sums, "sums"}, {Part::both, "both"}}) {
      for (const int queries : {1, 3, 4, 8, 32}) {
        // 4096 tokens of one head fit a cache in most forms; 2^18 of them none of usual size.
        for (const int tokens : {4096, 1 << 18}) {
          if (tokens > 4096 && (queries > 4 || part != Part::both)) continue;
          const Work work{strategy, part, head_dim, queries, tokens};
          benchmark::RegisterBenchmark(
              fmt::format("{}/{}/head:{}/queries:{}/tokens:{}", part_name, label, head_dim, queries,
                          tokens)
                  .c_str(),
              [work, flops](benchmark::State& state) { measure(state, work, flops); });
        }
      }
    }
    benchmark::RegisterBenchmark(fmt::format("write/{}/head:{}", label, head_dim).c_str(),
                                 [strategy, head_dim](benchmark::State& state) {
                                   write_tokens(state, *strategy, head_dim);
                                 });
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (quiver::is_rehearsal_call(argc, argv)) return quiver::rehearsal_main(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const std::vector<quiver::MachineRate> rates = quiver::measure_machine(1);
  double flops = 0;
  for (const quiver::KernelTable* table : quiver::available_kernels()) {
    flops = std::max(flops, quiver::arithmetic_limit(rates, "fma", table->name).cpu);
  }
  fmt::print(
      "One thread of this machine reads {:.1f} GB/s from memory and does {:.1f} GFLOP/s in\n"
      "multiply-adds, of which 'percent' is. QUIVER_ISA chooses the loops.\n\n",
      quiver::read_limit(rates).cpu / 1e9, flops / 1e9);
  quiver::RegistryOptions options;
  options.search_path.folders = {{std::filesystem::path(QUIVER_BUILD_DIR) / "lib/quiver/plugins",
                                  quiver::FolderSource::option,
                                  {}}};
  const quiver::PluginRegistry registry(options);
  for (const char* name : {"f32", "f16", "bf16"}) add(registry, name, "", flops);
  for (const char* bits : {"bits=8", "bits=4"}) add(registry, "affine", bits, flops);
  for (const char* bits : {"bits=4", "bits=3", "bits=2", "bits=1"}) {
    add(registry, "turboquant", bits, flops);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
