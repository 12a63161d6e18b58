// What this machine reads and computes at most, measured.
#pragma once

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

/// The best of several runs of each loop of machine_loops.hpp on `threads` threads at once: some
/// two seconds and 256 MiB. Other work on the machine only ever slows a run down. Throws
/// Error(resources) where that memory is short. [any-thread], but not beside other work.
std::vector<MachineRate> measure_machine(int threads);

/// Bytes read from memory: the best of the reading patterns. [any-thread]
MachineRate read_limit(std::span<const MachineRate> rates);

/// Operations, two a multiply-add, of a kind ("fma", "int8 dot", "int4 dot", "int16 dot") with the
/// instructions of a kernel table; zeros where no loop measures them. [any-thread]
MachineRate arithmetic_limit(std::span<const MachineRate> rates, std::string_view kind,
                             std::string_view table);

}  // namespace quiver
