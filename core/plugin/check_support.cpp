// Noise, option choices and threads for the checks.
#include "core/plugin/check_support.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

namespace quiver {
namespace {

bool is_numeric(const OptionSpec& spec) {
  return spec.kind != OptionKind::text;
}

std::string label_of(const OptionSpec& spec, double value) {
  std::string digits = std::to_string(value);
  if (std::fabs(value) > 1e9) digits = value > 0 ? "its greatest" : "its least";
  return std::string(spec.name) + "=" + digits;
}

/// How far from zero a value is tried where the range is wider.
double furthest(const OptionSpec& spec) {
  return spec.kind == OptionKind::number ? 1e30 : 2147483647.0;
}

/// Values inside the range, most of them near the default, where an option means something.
std::vector<double> inner_values(const OptionSpec& spec) {
  const double low = std::max(spec.minimum, -1e6);
  const double high = std::min(spec.maximum, 1e6);
  std::set<double> values;
  for (double value : {(spec.default_value + low) / 2, (spec.default_value + high) / 2,
                       low + (high - low) / 4, 0.5, 1.5, 3.0}) {
    if (spec.kind != OptionKind::number) value = std::round(value);
    if (value >= spec.minimum && value <= spec.maximum && value != spec.default_value) {
      values.insert(value);
    }
  }
  return {values.begin(), values.end()};
}

}  // namespace

std::vector<float> check_noise(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  std::uint64_t state = seed;
  for (float& value : values) {
    // SplitMix64: Steele, Lea and Flood, OOPSLA 2014.
    std::uint64_t z = state += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    z ^= z >> 31U;
    value = static_cast<float>(static_cast<double>(z >> 40U) * 0x1p-23 - 1.0);
  }
  return values;
}

std::vector<OptionChoice> lively_options(std::span<const OptionSpec> specs) {
  std::vector<OptionChoice> choices{{"default options"}};
  for (const OptionSpec& spec : specs) {
    if (!is_numeric(spec)) continue;
    for (const double value : inner_values(spec)) {
      choices.push_back({label_of(spec, value), {{spec.name, value}}});
    }
  }
  return choices;
}

std::vector<OptionChoice> extreme_options(std::span<const OptionSpec> specs) {
  std::vector<OptionChoice> choices;
  OptionChoice least{"all options at their least"};
  OptionChoice greatest{"all options at their greatest"};
  for (const OptionSpec& spec : specs) {
    if (!is_numeric(spec)) continue;
    const double low = std::max(spec.minimum, -furthest(spec));
    const double high = std::min(spec.maximum, furthest(spec));
    for (const double value : {low, high}) {
      choices.push_back({label_of(spec, value), {{spec.name, value}}});
    }
    least.values[spec.name] = low;
    greatest.values[spec.name] = high;
  }
  for (const OptionSpec& spec : specs) {
    if (is_numeric(spec)) continue;
    const std::string name = spec.name;
    for (const auto& [label, text] : {std::pair<std::string, std::string>{"an empty text", ""},
                                      {"a long text", std::string(5000, 'a')},
                                      {"separators only", ";;::,,==\\\\;"},
                                      {"something not ASCII", "\xC3\xA9:\xE4\xBD\xA0"},
                                      {"huge numbers", "99999999999999999999:1e999;-1:-1"}}) {
      choices.push_back({name + " as " + label, {{name, text}}});
    }
  }
  choices.push_back(std::move(least));
  choices.push_back(std::move(greatest));
  return choices;
}

void require_sane_options(std::span<const OptionSpec> specs) {
  std::set<std::string> names;
  for (const OptionSpec& spec : specs) {
    require(spec.name != nullptr, "an option has no name");
    const std::string name = spec.name;
    require(is_plugin_name(name), "'" + name + "' is not a name that users can type");
    require(names.insert(name).second, "two options are named '" + name + "'");
    require(spec.summary != nullptr && is_printable_utf8(spec.summary),
            "option '" + name + "' has no summary in one line");
    require(spec.kind <= OptionKind::text, "option '" + name + "' has an unknown kind");
    if (!is_numeric(spec)) {
      require(spec.default_text != nullptr, "text option '" + name + "' has no default text");
      continue;
    }
    require(std::isfinite(spec.default_value),
            "the default of option '" + name + "' is not a finite number");
    require(spec.minimum <= spec.default_value && spec.default_value <= spec.maximum,
            "the default of option '" + name + "' lies outside its range");
  }
}

void run_in_threads(int count, const std::function<void(int thread)>& work) {
  std::mutex mutex;
  std::exception_ptr problem;
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < count; ++thread) {
      threads.emplace_back([&, thread] {
        try {
          work(thread);
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!problem) problem = std::current_exception();
        }
      });
    }
  }
  if (problem) std::rethrow_exception(problem);
}

}  // namespace quiver
