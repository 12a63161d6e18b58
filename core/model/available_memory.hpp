// How much memory this process may still take.
#pragma once

#include <cstdint>

namespace quiver {

/// Bytes that can be allocated before the system or the process's cgroup (v2) is short, file pages
/// that can be dropped counted as free; the largest number where neither says. [any-thread]
std::uint64_t available_memory();

}  // namespace quiver
