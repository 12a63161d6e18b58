// Reading a small text file whole, with a limit.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace quiver::text {

/// The bytes of a regular file of at most `max_bytes`. Throws bad_input for a file that is missing,
/// larger, or no regular file. [any-thread]
std::string read_text_file(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace quiver::text
