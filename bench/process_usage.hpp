// What a measured program needs: clocks of this process, its memory, and prompts from a seed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "core/eval/stopwatch.hpp"

namespace quiver::bench {

using quiver::Seconds;
using quiver::Stopwatch;

/// Timings of the same work, run by run. [one-call-at-a-time]
struct Series {
  std::vector<double> wall;
  std::vector<double> cpu;

  void add(const Stopwatch& watch) {
    const Seconds seconds = watch.read();
    wall.push_back(seconds.wall);
    cpu.push_back(seconds.cpu);
  }
};

/// The median of at least one value; of an even number, the upper one of the middle. [any-thread]
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Resident memory of this process in bytes, mapped files included.
struct Memory {
  std::size_t peak = 0;
  std::size_t now = 0;
};

/// As /proc/self/status tells it; zeros where there is none. [any-thread]
inline Memory memory() {
  Memory result;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string name;
    std::size_t kibibytes = 0;
    words >> name >> kibibytes;
    if (name == "VmHWM:") result.peak = kibibytes << 10U;
    if (name == "VmRSS:") result.now = kibibytes << 10U;
  }
  return result;
}

/// SplitMix64, a public-domain generator that fits into five lines of any language: the peers'
/// drivers make the same prompts with it. [one-call-at-a-time]
class RandomBits {
 public:
  explicit RandomBits(std::uint64_t seed) : state_(seed) {}

  std::uint64_t operator()() {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t bits = state_;
    bits = (bits ^ (bits >> 30U)) * 0xbf58476d1ce4e5b9U;
    bits = (bits ^ (bits >> 27U)) * 0x94d049bb133111ebU;
    return bits ^ (bits >> 31U);
  }

 private:
  std::uint64_t state_;
};

}  // namespace quiver::bench
