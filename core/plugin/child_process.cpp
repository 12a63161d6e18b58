// A child process whose output is collected and whose time is limited.
#include "core/plugin/child_process.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace quiver {
namespace {

using Clock = std::chrono::steady_clock;

// The child's fixed descriptors: stdin, stdout, stderr, results. Ours are moved above them, so that
// placing one never overwrites the source of another.
constexpr int kResultDescriptor = 3;
constexpr int kFirstFreeDescriptor = 16;

[[noreturn]] void throw_not_started(int error) {
  throw Error(ErrorCode::resources,
              std::string("no child process can be started: ") + std::strerror(error), {},
              "check the limits on processes and open files");
}

/// A descriptor that is closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }

  int get() const { return number_; }
  bool is_open() const { return number_ >= 0; }

  void reset() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
  }

  static Descriptor above_fixed(int number) {
    Descriptor moved(::fcntl(number, F_DUPFD_CLOEXEC, kFirstFreeDescriptor));
    if (!moved.is_open()) throw_not_started(errno);
    return moved;
  }

 private:
  int number_;
};

struct Pipe {
  Descriptor reader;
  Descriptor writer;

  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) throw_not_started(errno);
    reader = Descriptor(ends[0]);
    const Descriptor low(ends[1]);
    // Only our end may refuse to wait.
    ::fcntl(low.get(), F_SETFL, 0);
    writer = Descriptor::above_fixed(low.get());
  }
};

/// The settings of posix_spawn, freed at the end.
struct SpawnSettings {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;

  SpawnSettings() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// Starts the command with the write ends of `pipes` as stdout, stderr and results.
pid_t start(const ChildCommand& command, const std::array<Pipe, 3>& pipes) {
  const Descriptor null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Descriptor input = Descriptor::above_fixed(null.get());
  std::vector<Descriptor> files;
  for (const int number : command.descriptors) files.push_back(Descriptor::above_fixed(number));

  SpawnSettings settings;
  ::posix_spawn_file_actions_adddup2(&settings.actions, input.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&settings.actions, pipes[0].writer.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&settings.actions, pipes[1].writer.get(), STDERR_FILENO);
  ::posix_spawn_file_actions_adddup2(&settings.actions, pipes[2].writer.get(), kResultDescriptor);
  int next = command.first_descriptor;
  for (const Descriptor& file : files) {
    ::posix_spawn_file_actions_adddup2(&settings.actions, file.get(), next++);
  }
  ::posix_spawn_file_actions_addclosefrom_np(&settings.actions, next);

  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setflags(
      &settings.attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  ::posix_spawnattr_setpgroup(&settings.attributes, 0);
  ::posix_spawnattr_setsigmask(&settings.attributes, &none);
  ::posix_spawnattr_setsigdefault(&settings.attributes, &all);

  std::vector<std::string> arguments = command.arguments;
  arguments.insert(arguments.begin(), command.program.string());
  std::vector<std::string> added = command.environment;
  std::vector<char*> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.push_back(*variable);
  }
  for (std::string& variable : added) environment.push_back(variable.data());
  environment.push_back(nullptr);

  pid_t child = -1;
  const int error =
      ::posix_spawn(&child, command.program.c_str(), &settings.actions, &settings.attributes,
                    pointers(arguments).data(), environment.data());
  if (error != 0) throw_not_started(error);
  return child;
}

/// Takes what a pipe holds. Closes it at its end. Comes back also where a child writes faster than
/// this reads, so that its time can run out.
void drain(Descriptor& pipe, std::string& text, std::size_t limit) {
  std::array<char, 16384> block;
  for (int round = 0; round < 64; ++round) {
    const ssize_t count = ::read(pipe.get(), block.data(), block.size());
    if (count > 0) {
      text.append(block.data(), std::min(static_cast<std::size_t>(count), limit - text.size()));
    } else if (count < 0 && errno == EINTR) {
      continue;
    } else {
      if (count == 0 || errno != EAGAIN) pipe.reset();
      return;
    }
  }
}

/// A started child: waited for once, and killed with its group in any case.
class Child {
 public:
  explicit Child(pid_t id) : id_(id) {}
  ~Child() {
    kill_group();
    if (!is_over_) ::waitpid(id_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void kill_group() const { ::kill(-id_, SIGKILL); }

  /// Whether it has ended; then `result` says how. Waits for it where asked to.
  bool is_over(bool waits, ChildResult& result) {
    if (is_over_) return true;
    int status = 0;
    rusage usage{};
    pid_t ended = 0;
    do {
      ended = ::wait4(id_, &status, waits ? 0 : WNOHANG, &usage);
    } while (ended < 0 && errno == EINTR);
    if (ended == 0) return false;
    is_over_ = true;
    // ended < 0: a program that ignores SIGCHLD never learns how its children end.
    if (ended == id_) {
      result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
      result.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
      result.peak_bytes = static_cast<std::size_t>(usage.ru_maxrss) * 1024;
    }
    return true;
  }

 private:
  pid_t id_;
  bool is_over_ = false;
};

}  // namespace

ChildResult run_child(const ChildCommand& command) {
  std::array<Pipe, 3> pipes;
  const auto deadline = Clock::now() + command.wall_limit;
  Child child(start(command, pipes));
  for (Pipe& pipe : pipes) pipe.writer.reset();

  ChildResult result;
  const std::array<std::string*, 3> texts = {&result.output, &result.errors, &result.results};
  for (;;) {
    std::array<pollfd, 3> watched{};
    for (std::size_t i = 0; i < pipes.size(); ++i) {
      watched[i] = {pipes[i].reader.get(), POLLIN, 0};  // closed ones, -1, are ignored
    }
    const bool is_silent = std::none_of(pipes.begin(), pipes.end(),
                                        [](const Pipe& pipe) { return pipe.reader.is_open(); });
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      result.is_timed_out = true;
      child.kill_group();
      child.is_over(true, result);
      break;
    }
    // The end of the pipes tells the end of the child at once; the short wait is for children that
    // closed them and live on, and for grandchildren that keep them open.
    ::poll(watched.data(), watched.size(),
           static_cast<int>(std::min<long long>(left, is_silent ? 1 : 50)));
    const bool is_over = child.is_over(false, result);
    for (std::size_t i = 0; i < pipes.size(); ++i) {
      if (pipes[i].reader.is_open()) drain(pipes[i].reader, *texts[i], command.output_limit);
    }
    if (is_over) break;
  }
  return result;
}

}  // namespace quiver
