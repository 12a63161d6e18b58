// Measures what this machine reads and computes at most, with the given numbers of threads at once.
// Prints one line of JSON: by threads, then by pattern, billions a second of wall time and of CPU.
#include "bench/limits.hpp"
#include "bench/process_usage.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <nlohmann/json.hpp>

#include <barrier>
#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace {

using nlohmann::ordered_json;
using quiver::bench::Stopwatch;

/// More than the caches of any processor here hold.
constexpr std::size_t kBufferBytes = std::size_t{256} << 20U;
constexpr int kRepetitions = 5;

/// Memory in huge pages where the system has them: the limit should not be one of the TLB.
class Buffer {
 public:
  Buffer()
      : bytes_(::mmap(nullptr, kBufferBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0)) {
    if (bytes_ == MAP_FAILED) throw std::bad_alloc();
    ::madvise(bytes_, kBufferBytes, MADV_HUGEPAGE);
    std::fill_n(static_cast<std::byte*>(bytes_), kBufferBytes, std::byte{7});
  }
  ~Buffer() { ::munmap(bytes_, kBufferBytes); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::span<const std::byte> part(int index, int count) const {
    const std::size_t size = kBufferBytes / static_cast<std::size_t>(count);
    return {static_cast<const std::byte*>(bytes_) + static_cast<std::size_t>(index) * size, size};
  }

 private:
  void* bytes_;
};

/// The best rates of `body(thread)`, which returns what it has done, on all threads at once: from
/// the common start to the end of the last thread, and by the CPU time of all of them.
ordered_json best_rates(int threads, const std::function<double(int)>& body) {
  double best_wall = 0;
  double best_cpu = 0;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    std::vector<double> done(static_cast<std::size_t>(threads));
    std::barrier start(threads + 1);
    std::vector<std::thread> workers;
    for (int i = 0; i < threads; ++i) {
      workers.emplace_back([&, i] {
        start.arrive_and_wait();
        done[static_cast<std::size_t>(i)] = body(i);
      });
    }
    const Stopwatch watch;
    start.arrive_and_wait();
    for (std::thread& worker : workers) worker.join();
    const quiver::bench::Seconds seconds = watch.read();
    double all = 0;
    for (const double part : done) all += part;
    best_wall = std::max(best_wall, all / seconds.wall);
    best_cpu = std::max(best_cpu, all / seconds.cpu);
  }
  return {{"wall", best_wall / 1e9}, {"cpu", best_cpu / 1e9}};
}

ordered_json measure(const Buffer& buffer, int threads) {
  ordered_json rates;
  for (const auto& [name, loop] : quiver::bench::read_limits()) {
    rates[name] = best_rates(threads, [&, run = loop](int thread) {
      const std::span<const std::byte> part = buffer.part(thread, threads);
      std::uint64_t sum = run(part);
      __asm__ volatile("" : "+r"(sum));
      return static_cast<double>(part.size());
    });
  }
  for (const auto& [name, loop] : quiver::bench::arithmetic_limits()) {
    rates[name] = best_rates(threads, [run = loop](int) { return run(); });
  }
  return rates;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: bench_roofline THREADS [THREADS..]\n");
    return 2;
  }
  const Buffer buffer;
  ordered_json result;
  for (int i = 1; i < argc; ++i) {
    const int threads = std::atoi(argv[i]);
    if (threads < 1 || threads > 1024) {
      fmt::print(stderr, "bench_roofline: '{}' is not a number of threads\n", argv[i]);
      return 2;
    }
    result[std::to_string(threads)] = measure(buffer, threads);
  }
  fmt::print("{}\n", result.dump());
}
