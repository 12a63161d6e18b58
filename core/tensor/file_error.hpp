// Failed system calls on files as errors that a person can act on.
#pragma once

#include <quiver/error.hpp>

#include <filesystem>
#include <string_view>

namespace quiver {

/// "cannot VERB the file: <text of error_number>" about `path`. Exhausted disks, memory and
/// descriptors carry ErrorCode::resources, everything else ErrorCode::bad_input. [any-thread]
Error file_error(std::string_view verb, const std::filesystem::path& path, int error_number);

}  // namespace quiver
