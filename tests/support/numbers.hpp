// Reading, running and comparing numbers in tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/decode/engine.hpp"
#include "core/tensor/safetensors.hpp"

namespace quiver::test {

/// A stored tensor as float32.
inline std::vector<float> floats(const SafetensorsFile& file, const std::string& name) {
  const TensorView& tensor = file.at(name);
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  decode_floats(tensor.dtype, tensor.data.data(), values.size(), values.data());
  return values;
}

/// The largest absolute difference of two arrays of one length.
inline double largest_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = std::isnan(difference) ? 1e30 : std::max(worst, difference);
  }
  return worst;
}

/// Logits of every token, fed through the cache in chunks.
inline Logits all_logits(Engine& engine, std::span<const std::int32_t> ids, std::size_t chunk,
                         Visibility visibility = {}) {
  Sequence sequence = engine.new_sequence();
  Logits result;
  result.vocabulary = engine.info().vocabulary;
  for (std::size_t done = 0; done < ids.size(); done += chunk) {
    const Feed feed{&sequence, ids.subspan(done, std::min(chunk, ids.size() - done)), Wanted::all,
                    RowForm::prompt, visibility};
    const Logits part = engine.forward({&feed, 1});
    sequence.accept(static_cast<int>(feed.tokens.size()));
    result.rows += part.rows;
    result.values.insert(result.values.end(), part.values.begin(), part.values.end());
  }
  return result;
}

}  // namespace quiver::test
