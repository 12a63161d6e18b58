// Small files that the host keeps for one user.
#pragma once

#include <filesystem>
#include <string_view>

namespace quiver {

/// Replaces a file in one step, readable and writable for the user alone, and makes the folders
/// above it where they are missing. Throws Error(resources). [any-thread]
void write_private_file(const std::filesystem::path& file, std::string_view content);

}  // namespace quiver
