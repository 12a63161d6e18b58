// What this machine reads and computes at most, measured.
#include "core/eval/machine_limits.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <functional>
#include <numeric>
#include <quiver/error.hpp>
#include <thread>

#include "core/eval/machine_loops.hpp"
#include "core/eval/stopwatch.hpp"

namespace quiver {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20U;
constexpr int kRepetitions = 5;

/// Twice what the last cache holds, which is up to hundreds of megabytes on servers: a buffer of
/// its size comes from it in part.
std::size_t buffer_bytes() {
  std::size_t cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  cache = static_cast<std::size_t>(std::max(0L, ::sysconf(_SC_LEVEL3_CACHE_SIZE)));
#endif
  return std::max(std::size_t{256} << 20U, 2 * cache) / kHugePage * kHugePage;
}

/// The rates of `body(thread)`, which returns what it has done, on all threads at once: from the
/// common start to the end of the last thread, and by the CPU time of all of them.
MachineRate measure(const char* name, int threads, const std::function<double(int)>& body) {
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
  const double all = std::accumulate(done.begin(), done.end(), 0.0);
  return {name, all / seconds.wall, all / seconds.cpu};
}

/// Other work on the machine only ever slows a run down.
MachineRate best_of(const std::function<MachineRate()>& run) {
  MachineRate best = run();
  for (int repetition = 1; repetition < kRepetitions; ++repetition) {
    const MachineRate rate = run();
    best.wall = std::max(best.wall, rate.wall);
    best.cpu = std::max(best.cpu, rate.cpu);
  }
  return best;
}

/// The loops that stand for a table's instructions.
std::string_view instructions_of(std::string_view kind, std::string_view table) {
  if (kind != "fma") return table;
  return table.starts_with("avx512") ? "avx512" : table.starts_with("avx2") ? "avx2" : table;
}

}  // namespace

/// Memory in huge pages where the system has them: the limit should not be one of the TLB.
class ReadMeter::Buffer {
 public:
  Buffer()
      : size_(buffer_bytes()),
        bytes_(::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (bytes_ == MAP_FAILED) {
      throw Error(ErrorCode::resources, "there is no memory to measure the machine with",
                  std::to_string(size_ >> 20U) + " MiB", "free some");
    }
    ::madvise(bytes_, size_, MADV_HUGEPAGE);
    std::fill_n(static_cast<std::byte*>(bytes_), size_, std::byte{7});
  }
  ~Buffer() { ::munmap(bytes_, size_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  /// Reads the `index`th of `count` parts, which begins at a multiple of a cache line, as the loops
  /// want it. Returns its bytes.
  double read(ReadLoop loop, int index, int count) const { return read(loop, part(index, count)); }

  /// Reads the part piece by piece, again and again, for so long.
  double read_for(ReadLoop loop, int index, int count, double seconds) const {
    constexpr std::size_t kPiece = std::size_t{8} << 20U;  // a fraction of a millisecond
    const std::span<const std::byte> all = part(index, count);
    const std::size_t size = std::min(kPiece, all.size());
    const Stopwatch watch;
    double bytes = 0;
    std::size_t at = 0;
    do {
      bytes += read(loop, all.subspan(at, size));
      at = at + 2 * size <= all.size() ? at + size : 0;
    } while (watch.read().wall < seconds);
    return bytes;
  }

 private:
  std::span<const std::byte> part(int index, int count) const {
    const std::size_t size = size_ / static_cast<std::size_t>(count) / 64 * 64;
    return {static_cast<const std::byte*>(bytes_) + static_cast<std::size_t>(index) * size, size};
  }

  static double read(ReadLoop loop, std::span<const std::byte> bytes) {
    std::uint64_t sum = loop(bytes);
    __asm__ volatile("" : "+r"(sum));
    return static_cast<double>(bytes.size());
  }

  std::size_t size_;
  void* bytes_;
};

ReadMeter::ReadMeter(int threads) : threads_(threads), buffer_(std::make_unique<Buffer>()) {}

ReadMeter::~ReadMeter() = default;

MachineRate ReadMeter::read(const ReadLimit& pattern) {
  return measure(pattern.name, threads_,
                 [&](int thread) { return buffer_->read(pattern.loop, thread, threads_); });
}

MachineRate ReadMeter::read_for(const ReadLimit& pattern, double seconds) {
  return measure(pattern.name, threads_, [&](int thread) {
    return buffer_->read_for(pattern.loop, thread, threads_, seconds);
  });
}

std::vector<MachineRate> measure_machine(int threads) {
  std::vector<MachineRate> rates;
  ReadMeter meter(threads);
  for (const ReadLimit& limit : read_limits()) {
    rates.push_back(best_of([&] { return meter.read(limit); }));
  }
  for (const ArithmeticLimit& limit : arithmetic_limits()) {
    rates.push_back(
        best_of([&] { return measure(limit.name, threads, [&](int) { return limit.loop(); }); }));
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
