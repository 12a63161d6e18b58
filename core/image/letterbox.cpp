// The geometry of bars around pictures.
#include "core/image/letterbox.hpp"

#include "core/image/resize.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

namespace quiver {
namespace {

constexpr int kMaxSide = 1'000'000;

/// The two bars of an axis; a half is rounded down in front and up behind.
struct Bars {
  int before = 0;
  int after = 0;
};

Bars share(int total) {
  const double half = total / 2.0;
  return {static_cast<int>(std::lrint(half - 0.1)), static_cast<int>(std::lrint(half + 0.1))};
}

bool in_range(int side) {
  return side >= 1 && side <= kMaxSide;
}

float to_axis(float place, int bar, int resized, int source) {
  const double gain = static_cast<double>(resized) / source;
  const double found = (static_cast<double>(place) - bar) / gain;
  return static_cast<float>(std::clamp(found, 0.0, static_cast<double>(source)));
}

}  // namespace

Letterbox letterbox_place(PictureSize source, const LetterboxRule& rule) {
  if (!in_range(source.width) || !in_range(source.height) || !in_range(rule.side) ||
      !in_range(rule.stride)) {
    throw Error(ErrorCode::usage,
                "a picture of " + size_text(source) + " pixels cannot be fitted into a square of " +
                    std::to_string(rule.side) + " in steps of " + std::to_string(rule.stride),
                {}, "all of them are at least 1 and at most " + std::to_string(kMaxSide));
  }
  const double scale = std::min(static_cast<double>(rule.side) / source.height,
                                static_cast<double>(rule.side) / source.width);
  Letterbox place;
  place.source = source;
  place.resized = {std::max(static_cast<int>(std::lrint(source.width * scale)), 1),
                   std::max(static_cast<int>(std::lrint(source.height * scale)), 1)};
  const auto bars = [&rule](int resized) {
    const int total = rule.side - resized;
    return share(rule.rectangle ? total % rule.stride : total);
  };
  const Bars columns = bars(place.resized.width);
  const Bars rows = bars(place.resized.height);
  place.left = columns.before;
  place.right = columns.after;
  place.top = rows.before;
  place.bottom = rows.after;
  return place;
}

Picture letterbox(const Picture& picture, const Letterbox& place, std::uint8_t fill) {
  if (place.source != picture.size()) {
    throw Error(ErrorCode::internal, "a picture of " + size_text(picture.size()) +
                                         " pixels came with the place of one of " +
                                         size_text(place.source));
  }
  const Picture resized = resize_bilinear(picture, place.resized);
  Picture out{place.size().width, place.size().height, {}};
  out.rgb.assign(picture_bytes(out.size()), fill);
  const std::size_t from_bytes = static_cast<std::size_t>(resized.width) * 3;
  const std::size_t to_bytes = static_cast<std::size_t>(out.width) * 3;
  const std::uint8_t* from = resized.rgb.data();
  std::uint8_t* to = out.rgb.data() + static_cast<std::size_t>(place.top) * to_bytes +
                     static_cast<std::size_t>(place.left) * 3;
  for (int y = 0; y < resized.height; ++y, from += from_bytes, to += to_bytes) {
    std::memcpy(to, from, from_bytes);
  }
  return out;
}

Box box_to_source(const Letterbox& place, const Box& box) noexcept {
  const auto x = [&](float at) {
    return to_axis(at, place.left, place.resized.width, place.source.width);
  };
  const auto y = [&](float at) {
    return to_axis(at, place.top, place.resized.height, place.source.height);
  };
  return {x(box.x1), y(box.y1), x(box.x2), y(box.y2)};
}

void to_unit_range(const Picture& picture, std::span<float> to) {
  if (to.size() != picture.rgb.size()) {
    throw Error(ErrorCode::internal, "a picture of " + std::to_string(picture.rgb.size()) +
                                         " bytes does not fill " + std::to_string(to.size()) +
                                         " numbers");
  }
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = static_cast<float>(picture.rgb[i]) / 255.0F;
}

}  // namespace quiver
