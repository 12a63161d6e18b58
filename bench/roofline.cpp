// Measures what this machine reads and computes at most, with the given numbers of threads at once.
// Prints one line of JSON: by threads, then by pattern, billions a second of wall time and of CPU.
#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "core/eval/machine_limits.hpp"

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: bench_roofline THREADS [THREADS..]\n");
    return 2;
  }
  nlohmann::ordered_json result;
  for (int i = 1; i < argc; ++i) {
    const int threads = std::atoi(argv[i]);
    if (threads < 1 || threads > quiver::kMostMeasuredThreads) {
      fmt::print(stderr, "bench_roofline: '{}' is not a number of threads\n", argv[i]);
      return 2;
    }
    for (const quiver::MachineRate& rate : quiver::measure_machine(threads)) {
      result[std::to_string(threads)][rate.name] = {{"wall", rate.wall / 1e9},
                                                    {"cpu", rate.cpu / 1e9}};
    }
  }
  fmt::print("{}\n", result.dump());
}
