// The pictures of a text: which of its tokens stand for them, and where all its tokens are.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quiver {

/// A picture among the tokens of a text.
struct PromptImage {
  std::size_t start = 0;        ///< Index of its first token in the text.
  int rows = 0;                 ///< Tokens from top to bottom.
  int columns = 0;              ///< Tokens from left to right.
  std::vector<float> features;  ///< [rows * columns, hidden]: what stands for its tokens.
  std::string key;              ///< Says which picture it is.

  std::size_t tokens() const noexcept {
    return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
  }
};

/// Immutable. [any-thread]
class PromptImages {
 public:
  /// `images` in the order of the text, `hidden` values a token. Throws Error(internal) where they
  /// overlap or lack features.
  PromptImages(std::vector<PromptImage> images, int hidden);

  /// The rotary position (time, height, width) of token `index`: a text runs on by one a token; a
  /// picture's tokens stand at one time, by rows and columns in height and width, and the text goes
  /// on behind the larger of the two. Source: Wang et al., arXiv 2409.12191, section 2.
  std::array<std::int32_t, 3> position(std::size_t index) const;

  /// What stands for token `index`; empty where it is a token of the text.
  std::span<const float> features(std::size_t index) const;

  /// Says which pictures these are.
  const std::string& key() const noexcept { return key_; }

 private:
  struct Place {
    std::size_t image;   // the last one that begins at or before a token, plus one; 0 = none
    std::int64_t shift;  // of positions against indices, up to the begin of that picture
  };
  Place place(std::size_t index) const;

  std::vector<PromptImage> images_;
  std::size_t hidden_;
  std::string key_;
};

}  // namespace quiver
