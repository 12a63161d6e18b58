// What this machine reads and computes at most, measured.
#include "core/eval/machine_limits.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <functional>
#include <quiver/error.hpp>
#include <thread>

#include "core/eval/machine_loops.hpp"
#include "core/eval/stopwatch.hpp"

namespace quiver {
namespace {

/// More than the caches of any processor here hold.
constexpr std::size_t kBufferBytes = std::size_t{256} << 20U;
constexpr int kRepetitions = 5;

/// Memory in huge pages where the system has them: the limit should not be one of the TLB.
class Buffer {
 public:
  Buffer()
      : bytes_(::mmap(nullptr, kBufferBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0)) {
    if (bytes_ == MAP_FAILED) {
      throw Error(ErrorCode::resources, "there is no memory to measure the machine with", "256 MiB",
                  "free some");
    }
    ::madvise(bytes_, kBufferBytes, MADV_HUGEPAGE);
    std::fill_n(static_cast<std::byte*>(bytes_), kBufferBytes, std::byte{7});
  }
  ~Buffer() { ::munmap(bytes_, kBufferBytes); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  /// Begins at a multiple of a cache line, as the loops want it, whatever the count.
  std::span<const std::byte> part(int index, int count) const {
    const std::size_t size = kBufferBytes / static_cast<std::size_t>(count) / 64 * 64;
    return {static_cast<const std::byte*>(bytes_) + static_cast<std::size_t>(index) * size, size};
  }

 private:
  void* bytes_;
};

/// The best rates of `body(thread)`, which returns what it has done, on all threads at once: from
/// the common start to the end of the last thread, and by the CPU time of all of them.
MachineRate best_rate(std::string name, int threads, const std::function<double(int)>& body) {
  MachineRate best{std::move(name)};
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
    const Seconds seconds = watch.read();
    double all = 0;
    for (const double part : done) all += part;
    best.wall = std::max(best.wall, all / seconds.wall);
    best.cpu = std::max(best.cpu, all / seconds.cpu);
  }
  return best;
}

/// The loops that stand for a table's instructions.
std::string_view instructions_of(std::string_view kind, std::string_view table) {
  if (kind != "fma") return table;
  return table.starts_with("avx512") ? "avx512" : table.starts_with("avx2") ? "avx2" : table;
}

}  // namespace

std::vector<MachineRate> measure_machine(int threads) {
  const Buffer buffer;
  std::vector<MachineRate> rates;
  for (const ReadLimit& limit : read_limits()) {
    rates.push_back(best_rate(limit.name, threads, [&](int thread) {
      const std::span<const std::byte> part = buffer.part(thread, threads);
      std::uint64_t sum = limit.loop(part);
      __asm__ volatile("" : "+r"(sum));
      return static_cast<double>(part.size());
    }));
  }
  for (const ArithmeticLimit& limit : arithmetic_limits()) {
    rates.push_back(best_rate(limit.name, threads, [&](int) { return limit.loop(); }));
  }
  return rates;
}

MachineRate read_limit(std::span<const MachineRate> rates) {
  MachineRate best{"read"};
  for (const MachineRate& rate : rates) {
    if (!rate.name.starts_with("read")) continue;
    best.wall = std::max(best.wall, rate.wall);
    best.cpu = std::max(best.cpu, rate.cpu);
  }
  return best;
}

MachineRate arithmetic_limit(std::span<const MachineRate> rates, std::string_view kind,
                             std::string_view table) {
  const std::string isa(instructions_of(kind, table));
  for (const MachineRate& rate : rates) {
    if (rate.name == std::string(kind) + " " + isa) return rate;
    if (kind == "fma" || rate.name != "int8 or int4 dot " + isa) continue;
    // A loop of VNNI serves codes of 4 and 8 bits, and 16-bit activations as two planes of 8 bits.
    const double share = kind == "int16 dot" ? 0.5 : 1;
    return {rate.name, share * rate.wall, share * rate.cpu};
  }
  return {};
}

}  // namespace quiver
