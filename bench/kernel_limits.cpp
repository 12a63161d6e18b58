// Measures the machine's limits for the kernels' benchmarks.
#include "bench/kernel_limits.hpp"

#include <algorithm>
#include <random>
#include <span>

#include "bench/limits.hpp"
#include "bench/process_usage.hpp"

namespace quiver::bench {
namespace {

/// The best rate of several runs of `body`, which returns what it has done.
template <class Body>
double best_rate(const Body& body) {
  double best = 0;
  for (int repetition = 0; repetition < 7; ++repetition) {
    const Stopwatch watch;
    const double done = body();
    best = std::max(best, done / watch.read().cpu);
  }
  return best / 1e9;
}

/// The loops that stand for a table's instructions; a VNNI loop serves codes of 4 and 8 bits, and
/// 16-bit activations as two planes of 8 bits.
std::string_view instructions_of(std::string_view kind, std::string_view table) {
  if (kind != "fma") return table;
  return table.starts_with("avx512") ? "avx512" : table.starts_with("avx2") ? "avx2" : table;
}

}  // namespace

MachineLimits::MachineLimits() {
  constexpr std::size_t kBytes = std::size_t{256} << 20U;
  const AlignedBytes memory = allocate_aligned(kBytes);
  std::fill_n(memory.get(), kBytes, std::byte{7});
  for (const ReadLimit& limit : read_limits()) {
    rates_.emplace_back(limit.name, best_rate([&] {
                          std::uint64_t sum = limit.loop({memory.get(), kBytes});
                          benchmark::DoNotOptimize(sum);
                          return static_cast<double>(kBytes);
                        }));
  }
  for (const ArithmeticLimit& limit : arithmetic_limits()) {
    rates_.emplace_back(limit.name, best_rate(limit.loop));
  }
}

double MachineLimits::read() const {
  double best = 0;
  for (const auto& [name, rate] : rates_) {
    if (name.starts_with("read")) best = std::max(best, rate);
  }
  return best;
}

double MachineLimits::arithmetic(std::string_view kind, std::string_view table) const {
  const std::string isa(instructions_of(kind, table));
  for (const auto& [name, rate] : rates_) {
    if (name == std::string(kind) + " " + isa) return rate;
    if (kind != "fma" && name == "int8 or int4 dot " + isa) {
      return kind == "int16 dot" ? rate / 2 : rate;
    }
  }
  return 0;
}

std::vector<float> random_floats(std::size_t count) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> values(-1, 1);
  std::vector<float> result(count);
  for (float& value : result) value = values(generator);
  return result;
}

}  // namespace quiver::bench
