// The pictures of a text.
#include "core/decode/prompt_images.hpp"

#include <algorithm>
#include <quiver/error.hpp>
#include <utility>

namespace quiver {

PromptImages::PromptImages(std::vector<PromptImage> images, int hidden)
    : images_(std::move(images)), hidden_(static_cast<std::size_t>(hidden)) {
  std::size_t end = 0;
  for (const PromptImage& image : images_) {
    if (image.rows < 1 || image.columns < 1 || image.start < end ||
        image.features.size() != image.tokens() * hidden_) {
      throw Error(ErrorCode::internal, "pictures of a text overlap or lack features");
    }
    end = image.start + image.tokens();
    key_ += "\npicture " + image.key;
  }
}

PromptImages::Place PromptImages::place(std::size_t index) const {
  Place place{0, 0};
  for (const PromptImage& image : images_) {
    if (image.start > index) break;
    if (place.image > 0) {
      const PromptImage& before = images_[place.image - 1];
      place.shift += std::max(before.rows, before.columns);
      place.shift -= static_cast<std::int64_t>(before.tokens());
    }
    ++place.image;
  }
  return place;
}

std::array<std::int32_t, 3> PromptImages::position(std::size_t index) const {
  const Place at = place(index);
  auto position = static_cast<std::int64_t>(index) + at.shift;
  if (at.image > 0) {
    const PromptImage& image = images_[at.image - 1];
    const auto start = static_cast<std::int32_t>(static_cast<std::int64_t>(image.start) + at.shift);
    const std::size_t token = index - image.start;
    if (token < image.tokens()) {
      const auto columns = static_cast<std::size_t>(image.columns);
      return {start, start + static_cast<std::int32_t>(token / columns),
              start + static_cast<std::int32_t>(token % columns)};
    }
    position += std::max(image.rows, image.columns);
    position -= static_cast<std::int64_t>(image.tokens());
  }
  const auto value = static_cast<std::int32_t>(position);
  return {value, value, value};
}

std::span<const float> PromptImages::features(std::size_t index) const {
  const Place at = place(index);
  if (at.image == 0) return {};
  const PromptImage& image = images_[at.image - 1];
  const std::size_t token = index - image.start;
  if (token >= image.tokens()) return {};
  return std::span(image.features).subspan(token * hidden_, hidden_);
}

}  // namespace quiver
