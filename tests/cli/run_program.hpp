// Runs the built program as a child process and collects what it printed.
#pragma once

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace quiver::test {

/// What a run left behind.
struct ProgramResult {
  int status = -1;  ///< Exit status; -1 where a signal ended it.
  int signal = 0;
  std::string out;
  std::string err;

  /// stdout as the one JSON document that --json promises; throws where it is none.
  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

struct ProgramInput {
  std::string text{};                                ///< For stdin, which is closed behind it.
  std::map<std::string, std::string> environment{};  ///< On top of this process's own.
  int signal_on_output = 0;  ///< Sent once, as soon as anything appears on stdout.
  /// Sent once, as soon as a file or folder appears in `watched_folder` for which this is true; it
  /// is asked with each name that is made there or renamed to.
  std::function<bool(const std::string& name)> signal_on_file{};
  std::filesystem::path watched_folder{};
  int file_signal = 0;
  /// Largest file that the program may write, so that writing fails as on a full disk; 0 = any.
  std::uint64_t file_size_limit = 0;
  std::chrono::seconds time_limit{60};
  std::string program = QUIVER_PROGRAM;
};

/// Runs `quiver` with the arguments, its caches and folders apart from the user's. Fails the test
/// where it takes longer than the limit.
ProgramResult run_program(const std::vector<std::string>& arguments,
                          const ProgramInput& input = {});

/// A file or folder of the shared fixtures.
std::string shared_path(const std::string& path);

/// "1,2,3".
std::string join_ids(const nlohmann::json& ids);

}  // namespace quiver::test
