// Moves a page of keys and values from one strategy to another.
#pragma once

#include <cstddef>
#include <quiver/kv_strategy.hpp>
#include <vector>

namespace quiver {

/// A page and who reads or writes it.
template <class Byte>
struct PageOf {
  const KvStrategy& strategy;
  Byte* bytes;
};

/// Writes all tokens of a full page into another. They are read as attention would read them:
/// scores with unit vectors are keys, and sums of a single token are values, so any strategy
/// can be read. `scratch` grows to what is needed. [any-thread]
void repack(const KvShape& shape, const PageOf<const std::byte>& from, const PageOf<std::byte>& to,
            std::vector<float>& scratch);

}  // namespace quiver
