// Runs the built program as a child process and collects what it printed.
#include "tests/cli/run_program.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace quiver::test {
namespace {

using Clock = std::chrono::steady_clock;

/// Both ends of a pipe, closed at the end.
struct Pipe {
  int read = -1;
  int write = -1;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
    read = ends[0];
    write = ends[1];
  }
  ~Pipe() {
    close_read();
    close_write();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close_read() { close_end(read); }
  void close_write() { close_end(write); }
  static void close_end(int& end) {
    if (end >= 0) ::close(end);
    end = -1;
  }
};

/// What appears in a folder, as the kernel tells it.
class FolderWatch {
 public:
  explicit FolderWatch(const std::filesystem::path& folder) {
    if (folder.empty()) return;
    descriptor_ = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (descriptor_ < 0 ||
        ::inotify_add_watch(descriptor_, folder.c_str(), IN_CREATE | IN_MOVED_TO) < 0) {
      throw std::runtime_error("the folder cannot be watched");
    }
  }
  FolderWatch(const FolderWatch&) = delete;
  FolderWatch& operator=(const FolderWatch&) = delete;
  ~FolderWatch() { Pipe::close_end(descriptor_); }

  int descriptor() const { return descriptor_; }

  /// Names that have appeared since the last call, in order.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    alignas(inotify_event) std::array<char, 16384> buffer{};
    const ssize_t count = ::read(descriptor_, buffer.data(), buffer.size());
    for (ssize_t at = 0; at < count;) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof(event));
      const char* name = buffer.data() + at + sizeof(event);
      if (event.len > 0) names.emplace_back(name);
      at += static_cast<ssize_t>(sizeof(event) + event.len);
    }
    return names;
  }

 private:
  int descriptor_ = -1;
};

/// Runs in the child: never returns.
[[noreturn]] void exec_program(const std::vector<std::string>& arguments, const ProgramInput& input,
                               const Pipe& in, const Pipe& out, const Pipe& err) {
  ::dup2(in.read, STDIN_FILENO);
  ::dup2(out.write, STDOUT_FILENO);
  ::dup2(err.write, STDERR_FILENO);
  const std::string home = std::string(QUIVER_BUILD_DIR) + "/cli-test-home";
  ::setenv("HOME", home.c_str(), 1);
  for (const char* name : {"XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HF_HOME",
                           "HF_HUB_CACHE", "QUIVER_PLUGIN_PATH", "QUIVER_ISA"}) {
    ::unsetenv(name);
  }
  if (input.file_size_limit != 0) {
    const rlimit limit{input.file_size_limit, input.file_size_limit};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    ::signal(SIGXFSZ, SIG_IGN);  // the write fails instead
  }
  for (const auto& [name, value] : input.environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<std::string> words = arguments;
  words.insert(words.begin(), input.program);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(input.program.c_str(), argv.data());
  ::_exit(127);
}

/// Reads what is there; false at the end of the stream.
bool drain(int end, std::string& text) {
  std::array<char, 65536> buffer{};
  const ssize_t count = ::read(end, buffer.data(), buffer.size());
  if (count > 0) text.append(buffer.data(), static_cast<std::size_t>(count));
  return count > 0;
}

void collect(pid_t child, const ProgramInput& input, const FolderWatch& watch, Pipe& out, Pipe& err,
             ProgramResult& result) {
  const auto deadline = Clock::now() + input.time_limit;
  bool is_signalled = false;
  bool is_file_signalled = false;
  while (out.read >= 0 || err.read >= 0) {
    std::array<pollfd, 3> ends{
        {{out.read, POLLIN, 0}, {err.read, POLLIN, 0}, {watch.descriptor(), POLLIN, 0}}};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0 || ::poll(ends.data(), ends.size(), static_cast<int>(left)) == 0) {
      ADD_FAILURE() << "the program did not end in time; stderr so far: " << result.err;
      ::kill(child, SIGKILL);
      return;
    }
    if (ends[0].revents != 0 && !drain(out.read, result.out)) out.close_read();
    if (ends[1].revents != 0 && !drain(err.read, result.err)) err.close_read();
    if (input.signal_on_output != 0 && !is_signalled && !result.out.empty()) {
      is_signalled = true;
      ::kill(child, input.signal_on_output);
    }
    if (ends[2].revents == 0) continue;
    for (const std::string& name : watch.names()) {
      if (is_file_signalled || !input.signal_on_file(name)) continue;
      is_file_signalled = true;
      ::kill(child, input.file_signal);
    }
  }
}

}  // namespace

ProgramResult run_program(const std::vector<std::string>& arguments, const ProgramInput& input) {
  Pipe in;
  Pipe out;
  Pipe err;
  std::filesystem::create_directories(std::string(QUIVER_BUILD_DIR) + "/cli-test-home");
  const FolderWatch watch(input.watched_folder);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) exec_program(arguments, input, in, out, err);
  in.close_read();
  out.close_write();
  err.close_write();
  // Inputs of tests fit into a pipe's buffer, so this never waits for the child.
  if (!input.text.empty() && ::write(in.write, input.text.data(), input.text.size()) !=
                                 static_cast<ssize_t>(input.text.size())) {
    ADD_FAILURE() << "the program's input could not be written";
  }
  in.close_write();
  ProgramResult result;
  collect(child, input, watch, out, err, result);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

std::string shared_path(const std::string& path) {
  return std::string(QUIVER_SHARED_DIR) + "/" + path;
}

std::string join_ids(const nlohmann::json& ids) {
  std::string text;
  for (const auto& id : ids) text += (text.empty() ? "" : ",") + std::to_string(id.get<int>());
  return text;
}

}  // namespace quiver::test
