// What this machine reads and computes at most, measured.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

inline constexpr int kMostMeasuredThreads = 1024;

/// Bytes or operations a second of one loop: of wall time by all threads together, and of the CPU
/// time that they took.
struct MachineRate {
  std::string name;
  double wall = 0;
  double cpu = 0;
};

struct ReadLimit;  // machine_loops.hpp

/// Reads memory with `threads` threads at once, again and again: to stand between runs of what it
/// is compared with, where the machine's speed changes from second to second. Holds twice what the
/// last cache does, at least 256 MiB. Not thread-safe.
class ReadMeter {
 public:
  /// Throws Error(resources) where that memory is short.
  explicit ReadMeter(int threads);
  ~ReadMeter();
  ReadMeter(const ReadMeter&) = delete;
  ReadMeter& operator=(const ReadMeter&) = delete;

  /// One run of a pattern of machine_loops.hpp over all of it.
  MachineRate read(const ReadLimit& pattern);

  /// The same for some time, in one go: threads are not started anew in between.
  MachineRate read_for(const ReadLimit& pattern, double seconds);

 private:
  class Buffer;
  int threads_;
  std::unique_ptr<Buffer> buffer_;
};

/// The best of several runs of each loop of machine_loops.hpp on `threads` threads at once: some
/// two seconds. Other work on the machine only ever slows a run down. Throws as a ReadMeter does.
/// [any-thread], but not beside other work.
std::vector<MachineRate> measure_machine(int threads);

/// Bytes read from memory: the best of the reading patterns. [any-thread]
MachineRate read_limit(std::span<const MachineRate> rates);

/// Operations, two a multiply-add, of a kind ("fma", "int8 dot", "int4 dot", "int16 dot") with the
/// instructions of a kernel table; zeros where no loop measures them. [any-thread]
MachineRate arithmetic_limit(std::span<const MachineRate> rates, std::string_view kind,
                             std::string_view table);

}  // namespace quiver
