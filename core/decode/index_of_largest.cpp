// The likeliest token of a row of logits.
#include "core/decode/index_of_largest.hpp"

#include <algorithm>

#include "core/kernels/kernel_table.hpp"

namespace quiver {

std::size_t index_of_largest(std::span<const float> numbers) {
  // Part by part, since a search that ends early is no vector code: only one part is searched.
  constexpr std::size_t kPart = 4096;
  const ElementKernels& elements = *kernels().elements;
  std::span<const float> best;
  float top = 0;
  for (std::size_t at = 0; at < numbers.size(); at += kPart) {
    const auto part = numbers.subspan(at, std::min(kPart, numbers.size() - at));
    const float largest = elements.largest(part.data(), static_cast<int>(part.size()));
    if (!best.empty() && largest <= top) continue;
    top = largest;
    best = part;
  }
  if (best.empty()) return 0;
  const auto found = static_cast<std::size_t>(std::ranges::find(best, top) - best.begin());
  const auto first = static_cast<std::size_t>(best.data() - numbers.data());
  return found < best.size() ? first + found : first;
}

}  // namespace quiver
