// What tests of calibration share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "core/quantize/calibration.hpp"
#include "core/quantize/calibration_text.hpp"

namespace quiver::test {

inline std::filesystem::path shared(const std::string& path) {
  return std::filesystem::path(QUIVER_SHARED_DIR) / path;
}

/// A tokenizer of the fixtures, with a template of the test's own.
inline CalibrationText text_with(const std::string& source) {
  const auto folder = shared("reference/convert/llama_a/checkpoint");
  return {text::Tokenizer::load_folder(folder), text::ChatTemplate::from_source(source)};
}

inline CalibrationText text_without_template() {
  return CalibrationText::load_folder(shared("reference/convert/llama_a/checkpoint"));
}

/// Whether `part` stands somewhere in `whole`.
inline bool holds(const std::vector<std::int32_t>& whole, const std::vector<std::int32_t>& part) {
  return std::search(whole.begin(), whole.end(), part.begin(), part.end()) != whole.end();
}

}  // namespace quiver::test
