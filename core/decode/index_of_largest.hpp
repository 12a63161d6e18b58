// The likeliest token of a row of logits.
#pragma once

#include <cstddef>
#include <span>

namespace quiver {

/// Index of the largest of some numbers, the lowest among equals; which one where any is NaN is not
/// said. 0 of none. [any-thread]
std::size_t index_of_largest(std::span<const float> numbers);

}  // namespace quiver
