// Strategies for keys and values under test: instruction sets, guarded pages, random tokens.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <quiver/kv_strategy.hpp>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plugin_under_test.hpp"

namespace quiver::test {

constexpr int kTokens = KvStrategy::kTokens;

/// The loops that plugins are built with; a machine without some runs the widest it has.
inline constexpr const char* kIsas[] = {"generic", "avx2", "avx512", "avx512vnni"};

/// QUIVER_ISA while it lives.
class IsaScope {
 public:
  explicit IsaScope(const char* isa) {
    if (const char* old = getenv("QUIVER_ISA")) old_ = old;
    setenv("QUIVER_ISA", isa, 1);
  }
  ~IsaScope() {
    if (old_.empty()) unsetenv("QUIVER_ISA");
    if (!old_.empty()) setenv("QUIVER_ISA", old_.c_str(), 1);
  }
  IsaScope(const IsaScope&) = delete;
  IsaScope& operator=(const IsaScope&) = delete;

 private:
  std::string old_;
};

/// A strategy and its options.
struct KvConfig {
  const char* plugin;
  const char* offer;
  Numbers numbers = {};
  Texts texts = {};

  std::string label() const {
    std::string text = offer;
    for (const auto& [name, value] : numbers) {
      text += " " + name + "=" + std::to_string(static_cast<int>(value));
    }
    for (const auto& [name, value] : texts) text.append(" ").append(value);
    return text;
  }
};

inline std::shared_ptr<const KvStrategy> make_kv(const KvConfig& config,
                                                 const char* isa = "avx512vnni") {
  const IsaScope scope(isa);
  const auto& factory = open_interface<KvStrategyFactory>(config.plugin);
  const ChosenOptions options(factory.options(config.offer), config.numbers, config.texts);
  return std::shared_ptr<const KvStrategy>(factory.create(config.offer, options));
}

inline std::vector<float> random_floats(std::size_t count, std::uint32_t seed,
                                        float deviation = 2) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// The nearest number of `digits` significant bits whose last bit is not below 2^lowest, ties to
/// even; by scaling to whole numbers.
inline double rounded_to(double value, int digits, int lowest) {
  if (value == 0 || !std::isfinite(value)) return value;
  const int exponent = std::max(std::ilogb(value) - digits + 1, lowest);
  return std::ldexp(std::nearbyint(std::ldexp(value, -exponent)), exponent);
}
inline double rounded_f16(double value) {
  const double result = rounded_to(value, 11, -24);
  return std::abs(result) > 65504 ? std::copysign(INFINITY, result) : result;
}

/// A page with room for checks on both sides.
class GuardedPage {
 public:
  explicit GuardedPage(std::size_t size) : bytes_(size + 3 * kGuard, std::byte{0xA5}), size_(size) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data()) + kGuard;
    offset_ = kGuard + (64 - address % 64) % 64;
  }
  std::byte* data() { return bytes_.data() + offset_; }
  std::span<std::byte> bytes() { return {data(), size_}; }
  std::size_t size() const { return size_; }
  /// Slots of this page alone.
  KvStrategy::Slots slots(int head, int first, int last) {
    only_[0] = data();
    return {only_, head, first, last};
  }
  bool is_guarded() const {
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      const bool is_inside = i >= offset_ && i < offset_ + size_;
      if (!is_inside && bytes_[i] != std::byte{0xA5}) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kGuard = 64;
  std::vector<std::byte> bytes_;
  std::size_t size_;
  std::size_t offset_;
  std::array<const std::byte*, 1> only_{};
};

/// A full page of tokens, and what was written: [token, head, dim].
struct FilledPage {
  KvShape shape;
  std::shared_ptr<const KvStrategy> strategy;
  GuardedPage page;
  std::vector<float> keys, values;

  FilledPage(std::shared_ptr<const KvStrategy> by, const KvShape& s, std::uint32_t seed = 5)
      : FilledPage(std::move(by), s, random_tokens(s, seed), random_tokens(s, seed + 1)) {}

  FilledPage(std::shared_ptr<const KvStrategy> by, const KvShape& s, std::vector<float> k,
             std::vector<float> v)
      : shape(s),
        strategy(std::move(by)),
        page(strategy->page_bytes(s)),
        keys(std::move(k)),
        values(std::move(v)) {
    for (int slot = 0; slot < kTokens; ++slot) {
      write(slot, std::span(keys).subspan(at(slot, 0, 0), width()),
            std::span(values).subspan(at(slot, 0, 0), width()));
    }
  }

  static std::vector<float> random_tokens(const KvShape& s, std::uint32_t seed) {
    return random_floats(static_cast<std::size_t>(s.kv_heads * s.head_dim * kTokens), seed);
  }

  std::size_t width() const { return static_cast<std::size_t>(shape.kv_heads * shape.head_dim); }
  std::size_t dims() const { return static_cast<std::size_t>(shape.head_dim); }
  std::size_t at(int slot, int head, int d) const {
    return static_cast<std::size_t>((slot * shape.kv_heads + head) * shape.head_dim + d);
  }
  void write(int slot, std::span<const float> key, std::span<const float> value) {
    strategy->write(shape, page.data(), slot, key, value);
  }

  /// Scores of queries as the host hands them over; slots outside the range stay -77.
  std::vector<float> scores(int head, int first, int last, std::span<const float> queries) {
    std::vector<float> turned(queries.begin(), queries.end());
    const int count = static_cast<int>(queries.size() / dims());
    strategy->transform_queries(shape, turned.data(), count);
    std::vector<float> result(static_cast<std::size_t>(count) * kTokens, -77.0F);
    strategy->scores(shape, page.slots(head, first, last), turned.data(), count, result.data());
    return result;
  }

  /// Sums added to `start`, before they are turned back.
  std::vector<float> raw_sums(int head, int first, int last, std::span<const float> weights,
                              float start = 0) {
    const auto count = weights.size() / kTokens;
    std::vector<float> result(count * dims(), start);
    strategy->accumulate(shape, page.slots(head, first, last), weights.data(),
                         static_cast<int>(count), result.data(), nullptr);
    return result;
  }
  std::vector<float> sums(int head, int first, int last, std::span<const float> weights) {
    std::vector<float> result = raw_sums(head, first, last, weights);
    strategy->transform_outputs(shape, result.data(), static_cast<int>(result.size() / dims()));
    return result;
  }

  /// The keys of one head as stored, [token, dim]: scores with the unit vectors.
  std::vector<float> stored_keys(int head) {
    std::vector<float> units(dims() * dims(), 0.0F);
    for (std::size_t d = 0; d < dims(); ++d) units[d * dims() + d] = 1;
    const std::vector<float> found = scores(head, 0, kTokens, units);
    std::vector<float> result(kTokens * dims());
    for (std::size_t d = 0; d < dims(); ++d) {
      for (std::size_t t = 0; t < kTokens; ++t) result[t * dims() + d] = found[d * kTokens + t];
    }
    return result;
  }

  /// The values of one head as stored, [token, dim]: sums with a weight of one for one token.
  std::vector<float> stored_values(int head) {
    std::vector<float> units(static_cast<std::size_t>(kTokens * kTokens), 0.0F);
    for (std::size_t t = 0; t < kTokens; ++t) units[t * kTokens + t] = 1;
    return sums(head, 0, kTokens, units);
  }
};

/// Mean squared error of stored numbers, as a share of the mean square of the written ones.
/// `skip` is a dimension that does not count.
inline double error_share(const FilledPage& page, std::span<const float> written,
                          std::span<const float> stored, int head, int skip = -1) {
  double errors = 0;
  double squares = 0;
  for (int slot = 0; slot < kTokens; ++slot) {
    for (int d = 0; d < page.shape.head_dim; ++d) {
      if (d == skip) continue;
      const double exact = written[page.at(slot, head, d)];
      const double found = stored[static_cast<std::size_t>(slot * page.shape.head_dim + d)];
      errors += (exact - found) * (exact - found);
      squares += exact * exact;
    }
  }
  return errors / squares;
}

}  // namespace quiver::test
