// Writing of pictures as PNG files.
#pragma once

#include "core/image/picture.hpp"

#include <cstddef>
#include <filesystem>
#include <vector>

namespace quiver {

/// The picture as a PNG file of 8-bit RGB. REQUIRES: require_whole(picture). Throws
/// Error(resources) where memory runs out. [any-thread]
std::vector<std::byte> encode_png(const Picture& picture);

/// Writes the picture to `path`, which appears only when complete (see AtomicFile); throws as that
/// does. [any-thread]
void write_png(const std::filesystem::path& path, const Picture& picture);

}  // namespace quiver
