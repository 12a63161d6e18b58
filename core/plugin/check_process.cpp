// Starts a child for one check and tells what its end means.
#include "core/plugin/check_process.hpp"

#include "core/plugin/child_process.hpp"
#include "core/plugin/plugin_descriptor.hpp"

#include <quiver/entry.h>

#include <fmt/format.h>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>

namespace quiver {
namespace {

// Where the child finds the pipe for its result. Not stdout, which belongs to the plugin.
constexpr int kResultDescriptor = 3;

// The exact number matters little; a plugin that needs more than this for small inputs is ill.
constexpr std::size_t kMemoryBytes = std::size_t{2} << 30U;

constexpr std::size_t kMostDetailBytes = 400;

/// The last line of a text, fit for a message of one line.
std::string last_line(std::string_view text) {
  const std::size_t end = text.find_last_not_of("\r\n");
  if (end == std::string_view::npos) return {};
  text = text.substr(0, end + 1);
  return one_line(text.substr(text.rfind('\n') + 1), kMostDetailBytes);
}

std::string how_it_ended(const ChildResult& child, const CheckOptions& options) {
  if (child.is_timed_out) return fmt::format("took longer than {} ms", options.wall_limit.count());
  if (child.signal == SIGXCPU) {
    return fmt::format("used more than {} s of processor time", options.cpu_limit.count());
  }
  std::string text = fmt::format("ended the process with status {}", child.exit_status);
  if (child.signal != 0) {
    const char* name = ::sigabbrev_np(child.signal);
    text = name != nullptr ? fmt::format("crashed with SIG{}", name)
                           : fmt::format("crashed with signal {}", child.signal);
  }
  const std::string words = last_line(child.errors);
  return words.empty() ? text : text + ", last words: " + words;
}

}  // namespace

CheckResult run_check_process(const std::filesystem::path& file, const std::string& name,
                              const CheckOptions& options) {
  ChildCommand command;
  command.program = options.program;
  command.arguments = {std::string(kCheckFlag), file.string(), name,
                       std::to_string(options.cpu_limit.count()), options.config.string()};
  command.wall_limit = options.wall_limit;
  const ChildResult child = run_child(command);

  CheckResult result{.name = name, .status = CheckStatus::failed, .detail = {}};
  const bool is_complete = child.results.ends_with('\n');
  if (child.is_timed_out || child.signal != 0 || child.exit_status != 0 || !is_complete) {
    result.detail = how_it_ended(child, options);
    return result;
  }
  if (child.results.front() == 'p') result.status = CheckStatus::passed;
  if (child.results.front() == 's') result.status = CheckStatus::skipped;
  result.detail = last_line(std::string_view(child.results).substr(1));
  if (name == "no-stdout" && !child.output.empty()) {
    result.status = CheckStatus::failed;
    result.detail = "printed to stdout: " + last_line(child.output);
  }
  return result;
}

void limit_check_process(std::chrono::seconds cpu_limit) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto seconds = static_cast<rlim_t>(cpu_limit.count());
  const rlimit cpu{seconds, seconds + 1};
  ::setrlimit(RLIMIT_CPU, &cpu);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  // Sanitizers reserve address space by the terabyte.
  if (std::string_view(QUIVER_ABI_SANITIZER) != "plain") return;
  // What the host has mapped so far is not the plugin's.
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const rlimit memory{pages * page + kMemoryBytes, pages * page + kMemoryBytes};
  ::setrlimit(RLIMIT_AS, &memory);
}

void report_check_result(CheckStatus status, const std::string& detail) {
  const char letter = status == CheckStatus::passed   ? 'p'
                      : status == CheckStatus::failed ? 'f'
                                                      : 's';
  const std::string line = letter + one_line(detail, kMostDetailBytes) + '\n';
  // Short enough for a pipe to take it at once; a lost line is noticed by the parent.
  [[maybe_unused]] const ssize_t written = ::write(kResultDescriptor, line.data(), line.size());
}

}  // namespace quiver
