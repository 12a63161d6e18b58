// Starts a child with pipes for its result, stdout and stderr, and watches it.
#include "core/plugin/check_process.hpp"

#include <quiver/error.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <vector>

extern char** environ;

namespace quiver {
namespace {

// Where the child finds the pipe for its result. Not stdout, which belongs to the plugin.
constexpr int kResultDescriptor = 3;

// Of each stream no more than this is kept; the rest is read and dropped, so that a child that
// prints without end neither blocks nor fills the memory.
constexpr std::size_t kMaxOutput = 4096;

// The exact number matters little; a plugin that needs more than this for small inputs is ill.
constexpr std::size_t kMemoryBytes = std::size_t{2} << 30;

[[noreturn]] void fail_to_start(int error) {
  throw Error(ErrorCode::resources,
              std::string("no process can be started for a check: ") + std::strerror(error), {},
              "end other processes and try again");
}

/// A pipe whose reading end is ours.
struct Pipe {
  int read_end = -1;
  int write_end = -1;

  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_to_start(errno);
    // A low number would be in the way of the descriptors that the child gets.
    read_end = ends[0];
    write_end = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 16);
    ::close(ends[1]);
    if (write_end < 0) {
      ::close(read_end);
      fail_to_start(errno);
    }
  }
  ~Pipe() {
    ::close(read_end);
    close_write_end();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  void close_write_end() {
    if (write_end >= 0) ::close(write_end);
    write_end = -1;
  }
};

struct Child {
  pid_t pid = -1;
  Pipe result;
  Pipe out;
  Pipe err;

  void start(const std::string& program, const std::vector<std::string>& arguments) {
    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out.write_end, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err.write_end, STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&actions, result.write_end, kResultDescriptor);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    // A group of its own, so that what a plugin starts ends with it.
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
    const int error =
        ::posix_spawn(&pid, program.c_str(), &actions, &attributes, argv.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) fail_to_start(error);
    result.close_write_end();
    out.close_write_end();
    err.close_write_end();
  }
};

struct Output {
  std::string result;
  std::string out;
  std::string err;
  bool is_timed_out = false;
};

/// Reads what is there; false at the end of the stream.
bool drain(int descriptor, std::string& text) {
  std::array<char, 4096> buffer;
  const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  const std::size_t room = kMaxOutput - std::min(kMaxOutput, text.size());
  text.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
  return got > 0;
}

Output collect(Child& child, std::chrono::milliseconds wall_limit) {
  Output output;
  const auto deadline = std::chrono::steady_clock::now() + wall_limit;
  std::array<pollfd, 3> streams{{{child.result.read_end, POLLIN, 0},
                                 {child.out.read_end, POLLIN, 0},
                                 {child.err.read_end, POLLIN, 0}}};
  const std::array<std::string*, 3> texts{&output.result, &output.out, &output.err};
  int open = 3;
  while (open > 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      output.is_timed_out = true;
      return output;
    }
    if (::poll(streams.data(), streams.size(), static_cast<int>(left.count())) < 0) continue;
    for (std::size_t i = 0; i < streams.size(); ++i) {
      if (streams[i].fd < 0 || streams[i].revents == 0) continue;
      if (!drain(streams[i].fd, *texts[i])) {
        streams[i].fd = -1;  // poll ignores it from now on
        --open;
      }
    }
  }
  return output;
}

/// The last line of a text with whatever would break a one-line message replaced.
std::string last_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  const std::size_t start = text.rfind('\n');
  if (start != std::string::npos) text.erase(0, start + 1);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7F) c = '?';
  }
  return text.substr(0, 300);
}

std::string signal_text(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(signal);
}

std::string how_it_ended(int status, const Output& output, const CheckOptions& options) {
  if (output.is_timed_out) {
    return "took longer than " + std::to_string(options.wall_limit.count()) + " ms";
  }
  std::string text;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU) {
    return "used more than " + std::to_string(options.cpu_limit.count()) + " s of processor time";
  }
  if (WIFSIGNALED(status)) {
    text = "crashed with " + signal_text(WTERMSIG(status));
  } else {
    text = "ended the process with status " + std::to_string(WEXITSTATUS(status));
  }
  const std::string words = last_line(output.err);
  return words.empty() ? text : text + ", last words: " + words;
}

}  // namespace

CheckResult run_check_process(const std::filesystem::path& file, const std::string& name,
                              const CheckOptions& options) {
  Child child;
  child.start(options.program.string(),
              {"--plugin-check", file.string(), name, std::to_string(options.cpu_limit.count()),
               options.config.string()});
  const Output output = collect(child, options.wall_limit);
  // Also where the child itself has ended: it may have left processes behind.
  ::kill(-child.pid, SIGKILL);
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) continue;

  CheckResult result{.name = name, .status = CheckStatus::failed, .detail = {}};
  const bool is_complete = !output.result.empty() && output.result.back() == '\n';
  if (output.is_timed_out || !is_complete || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    result.detail = how_it_ended(status, output, options);
    return result;
  }
  if (output.result.front() == 'p') result.status = CheckStatus::passed;
  if (output.result.front() == 's') result.status = CheckStatus::skipped;
  result.detail = last_line(output.result.substr(1));
  if (name == "no-stdout" && !output.out.empty()) {
    result.status = CheckStatus::failed;
    result.detail = "printed to stdout: " + last_line(output.out);
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
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // Sanitizers reserve address space by the terabyte. What the host has mapped so far is not the
  // plugin's.
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const rlimit memory{pages * page + kMemoryBytes, pages * page + kMemoryBytes};
  ::setrlimit(RLIMIT_AS, &memory);
#endif
}

void report_check_result(CheckStatus status, const std::string& detail) {
  std::string line(1, status == CheckStatus::passed ? 'p' : status == CheckStatus::failed ? 'f' : 's');
  for (const char c : detail.substr(0, kMaxOutput - 2)) line += c == '\n' ? ' ' : c;
  line += '\n';
  const char* next = line.data();
  std::size_t left = line.size();
  while (left > 0) {
    const ssize_t written = ::write(kResultDescriptor, next, left);
    if (written < 0 && errno != EINTR) return;
    if (written > 0) next += written, left -= static_cast<std::size_t>(written);
  }
}

}  // namespace quiver
