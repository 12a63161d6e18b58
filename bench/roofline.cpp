// Measures what this machine reads and computes at most, with the given numbers of threads at once.
// Prints one line of JSON: by threads, then by pattern, billions a second of wall time and of CPU.
// With --turns it prints a line, and then for each line of input, a number of seconds, what it
// reads in so long by the fastest pattern, in GB/s.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/eval/machine_limits.hpp"
#include "core/eval/machine_loops.hpp"

namespace {

nlohmann::ordered_json rates_json(const std::vector<quiver::MachineRate>& rates) {
  nlohmann::ordered_json result;
  for (const quiver::MachineRate& rate : rates) {
    result[rate.name] = {{"wall", rate.wall / 1e9}, {"cpu", rate.cpu / 1e9}};
  }
  return result;
}

int threads_of(const char* word) {
  const int threads = std::atoi(word);
  if (threads >= 1 && threads <= quiver::kMostMeasuredThreads) return threads;
  fmt::print(stderr, "bench_roofline: '{}' is not a number of threads\n", word);
  std::exit(2);
}

/// The pattern that is fastest in most of some runs: one run may be lucky.
quiver::ReadLimit fastest_pattern(quiver::ReadMeter& meter) {
  constexpr int kRuns = 15;
  quiver::ReadLimit fastest{};
  double most = 0;
  for (const quiver::ReadLimit& pattern : quiver::read_limits()) {
    std::vector<double> rates;
    for (int i = 0; i < kRuns; ++i) rates.push_back(meter.read(pattern).wall);
    std::ranges::nth_element(rates, rates.begin() + kRuns / 2);
    if (rates[kRuns / 2] <= most) continue;
    most = rates[kRuns / 2];
    fastest = pattern;
  }
  return fastest;
}

/// Lets programs that are compared with the read limit take turns with its measurement: each line
/// says for how many seconds, as long as theirs take.
void read_in_turns(int threads) {
  quiver::ReadMeter meter(threads);
  const quiver::ReadLimit pattern = fastest_pattern(meter);
  fmt::print("ready\n");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    fmt::print("{}\n", meter.read_for(pattern, std::atof(line.c_str())).wall / 1e9);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<char*> words(argv + 1, argv + argc);
  if (words.empty() || (words[0] == std::string_view("--turns") && words.size() != 2)) {
    fmt::print(stderr, "usage: bench_roofline THREADS [THREADS..] | --turns THREADS\n");
    return 2;
  }
  if (words[0] == std::string_view("--turns")) {
    read_in_turns(threads_of(words[1]));
    return 0;
  }
  nlohmann::ordered_json result;
  for (const char* word : words) {
    result[word] = rates_json(quiver::measure_machine(threads_of(word)));
  }
  fmt::print("{}\n", result.dump());
}
