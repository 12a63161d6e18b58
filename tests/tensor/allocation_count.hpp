// A count of what the test program allocates.
#pragma once

#include <cstddef>

namespace quiver::test {

/// Bytes that operator new has handed out since the program began, whether freed again or not.
std::size_t allocated_bytes() noexcept;

}  // namespace quiver::test
