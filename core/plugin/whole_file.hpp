// Small files of the host itself, read and replaced as a whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace quiver {

/// The content of a file of at most `limit_bytes`; nothing where it does not exist, is larger, or
/// cannot be read. [any-thread]
std::optional<std::string> read_small_file(const std::filesystem::path& file,
                                           std::size_t limit_bytes);

/// Replaces a file in one step: written beside it, synced, renamed; so a reader meets the old content
/// or the new one. Makes missing folders above it; both are for the user alone. Throws
/// Error(resources). [any-thread]
void replace_file(const std::filesystem::path& file, std::string_view content);

}  // namespace quiver
