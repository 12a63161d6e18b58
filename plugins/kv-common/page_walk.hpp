// Goes through the pages of some slots.
#pragma once

#include <cstddef>

#include "kv-common/pages.hpp"
#include "kv-common/vectors.hpp"

namespace quiver::kv {
namespace {

/// Slots of one page; none, and no page, behind the last one.
struct PageSlots {
  const std::byte* page = nullptr;
  int first = 0;
  int last = 0;
  int at = 0;  ///< The page's slot 0 among all slots.
};

/// Weights of some queries for a page's slots, `stride` apart.
struct Weights {
  const float* first;
  int stride;
};

/// Slots of page `index`.
QUIVER_KV_INLINE PageSlots page_slots(const Slots& slots, int index) {
  const int at = index * kTokens;
  if (at >= slots.last) return {};
  return {slots.pages[index], slots.first > at ? slots.first - at : 0,
          slots.last - at < kTokens ? slots.last - at : kTokens, at};
}

/// Calls body(page, the one that follows) with the PageSlots of each page that has some, in order.
template <class Body>
QUIVER_KV_INLINE void for_pages(const Slots& slots, const Body& body) {
  if (slots.first >= slots.last) return;
  for (int index = slots.first / kTokens; index * kTokens < slots.last; ++index) {
    body(page_slots(slots, index), page_slots(slots, index + 1));
  }
}

}  // namespace
}  // namespace quiver::kv
