// Reading small JSON files from people and checkpoints, which may be hostile.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace quiver {

/// Parses JSON of limited nesting (64). `origin` names the text in errors. Throws Error(bad_input).
/// [any-thread]
nlohmann::json parse_json(std::string_view text, const std::string& origin);

/// Reads a whole regular file of at most `size_limit` bytes. Throws Error(bad_input). [any-thread]
std::string read_small_file(const std::filesystem::path& path, std::size_t size_limit);

/// Both in one step.
nlohmann::json read_json_file(const std::filesystem::path& path,
                              std::size_t size_limit = 16U << 20U);

}  // namespace quiver
