// Ctrl-C: the first asks to stop, the second stops.
#pragma once

#include <atomic>

namespace quiver::cli {

/// Installs handlers for SIGINT and SIGTERM. The first signal sets the flag below; the next one
/// ends the process at once with status 130. Called once, at start.
void catch_interrupts();

/// Set by the first signal; whoever has dealt with it may clear it. [any-thread]
std::atomic<bool>& interrupt_flag();

/// Throws Error(interrupted) where the flag is set. [any-thread]
void throw_if_interrupted();

}  // namespace quiver::cli
