// Measures what this machine reads and computes at most, with the given numbers of threads at once.
// Prints one line of JSON: by threads, then by pattern, billions a second of wall time and of CPU.
// With --turns it prints a line, and then reads memory once by each pattern for each line of input.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/eval/machine_limits.hpp"

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

/// Lets programs that are compared with the read limit take turns with its measurement.
void read_in_turns(int threads) {
  quiver::ReadMeter meter(threads);
  fmt::print("ready\n");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    fmt::print("{}\n", rates_json(meter.read()).dump());
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
