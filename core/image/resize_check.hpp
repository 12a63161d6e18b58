// What both ways of resizing refuse.
#pragma once

#include "core/image/picture.hpp"

#include <algorithm>
#include <cstdint>

namespace quiver::image {

/// Throws Error(usage) unless a picture of that size is small enough to be made. [any-thread]
inline void require_makeable(PictureSize size) {
  constexpr std::int64_t kMaxBytes = std::int64_t{1} << 31;
  constexpr int kMaxSide = 1'000'000;
  const std::int64_t bytes = std::int64_t{3} * size.width * size.height;
  const bool fits = std::min(size.width, size.height) >= 1 &&
                    std::max(size.width, size.height) <= kMaxSide && bytes <= kMaxBytes;
  if (!fits) {
    throw Error(ErrorCode::usage, "a picture cannot be resized to " + size_text(size) + " pixels",
                {}, "sides from 1 to 1000000 and results of up to 2 GiB can be made");
  }
}

}  // namespace quiver::image
