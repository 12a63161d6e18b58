// A child process whose output is collected and whose time is limited.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace quiver {

/// What to start.
struct ChildCommand {
  std::filesystem::path program;
  std::vector<std::string> arguments;    ///< Without the program's own name.
  std::vector<std::string> environment;  ///< NAME=value, added to ours.

  /// Descriptors of ours that the child gets as `first_descriptor`, +1, ..
  std::vector<int> descriptors;
  int first_descriptor = 4;

  std::chrono::milliseconds wall_limit{10'000};
  std::size_t output_limit = 64 * 1024;  ///< Bytes kept of each output; more is thrown away.
};

/// How it went.
struct ChildResult {
  std::string results;  ///< Written to descriptor 3.
  std::string output;   ///< Written to stdout.
  std::string errors;   ///< Written to stderr.
  int exit_status = 0;
  int signal = 0;              ///< That ended the child; 0 = it ended by itself.
  bool is_timed_out = false;   ///< It was killed at its wall limit.
  std::size_t peak_bytes = 0;  ///< Most memory that was resident at one time.
};

/// Runs a program to its end, in a process group of its own, with an empty stdin and no descriptors
/// but the ones named. Whatever is left of the group is killed. Throws Error(resources) where it
/// cannot be started. [any-thread]
ChildResult run_child(const ChildCommand& command);

}  // namespace quiver
