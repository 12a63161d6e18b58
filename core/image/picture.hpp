// A picture in memory: rows of RGB bytes.
#pragma once

#include <quiver/error.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace quiver {

/// Width and height in pixels.
struct PictureSize {
  int width = 0;
  int height = 0;

  friend bool operator==(const PictureSize&, const PictureSize&) = default;
};

/// Pixels of 8-bit RGB, [height, width, 3], rows from the top without padding between them. The
/// numbers are as files hold them: sRGB as a rule, no colour profile applied, alpha dropped.
struct Picture {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;

  PictureSize size() const noexcept { return {width, height}; }

  friend bool operator==(const Picture&, const Picture&) = default;
};

/// The number of bytes that `rgb` has in a picture of that size. REQUIRES: no side is negative.
/// [any-thread]
constexpr std::size_t picture_bytes(PictureSize size) noexcept {
  return static_cast<std::size_t>(size.width) * static_cast<std::size_t>(size.height) * 3;
}

/// "WIDTH x HEIGHT", for messages. [any-thread]
inline std::string size_text(PictureSize size) {
  return std::to_string(size.width) + " x " + std::to_string(size.height);
}

/// Throws Error(internal) unless both sides are positive and `rgb` has as many bytes as they say:
/// whoever indexes pixels asks first. [any-thread]
inline void require_whole(const Picture& picture) {
  if (picture.width < 1 || picture.height < 1 ||
      picture.rgb.size() != picture_bytes(picture.size())) {
    throw Error(ErrorCode::internal, "a picture of " + size_text(picture.size()) +
                                         " pixels came with " + std::to_string(picture.rgb.size()) +
                                         " bytes");
  }
}

}  // namespace quiver
