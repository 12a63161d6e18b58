// Ctrl-C: the first asks to stop, the second stops.
#include "host/cli/interrupt.hpp"

#include <quiver/error.hpp>

#include <csignal>

#include <unistd.h>

namespace quiver::cli {
namespace {

std::atomic<bool> g_is_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets the flag");

void handle(int) {
  if (g_is_interrupted.exchange(true)) ::_exit(static_cast<int>(ErrorCode::interrupted));
}

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = handle;
  sigemptyset(&action.sa_mask);
  // Reads and writes go on after the signal; who waits for a terminal does so with poll(), which a
  // signal always ends.
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

std::atomic<bool>& interrupt_flag() {
  return g_is_interrupted;
}

void throw_if_interrupted() {
  if (g_is_interrupted) throw Error(ErrorCode::interrupted, "interrupted");
}

}  // namespace quiver::cli
