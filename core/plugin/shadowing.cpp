// Which of several plugins with one name serves it.
#include "core/plugin/shadowing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace quiver {
namespace {

bool is_good(const PluginEntry& entry) {
  return entry.state == PluginState::ok || entry.state == PluginState::unseen;
}

bool runs(const PluginEntry& entry, const std::string& model_type) {
  return std::any_of(entry.descriptor.offers.begin(), entry.descriptor.offers.end(),
                     [&](const PluginOffer& offer) {
                       return std::ranges::find(offer.model_types, model_type) !=
                              offer.model_types.end();
                     });
}

}  // namespace

bool is_shadowed_by(const PluginEntry& later, const PluginOffer& offer,
                    const PluginEntry& earlier) {
  return earlier.descriptor.name == later.descriptor.name ||
         std::any_of(earlier.descriptor.offers.begin(), earlier.descriptor.offers.end(),
                     [&](const PluginOffer& other) {
                       return other.kind == offer.kind && other.name == offer.name;
                     });
}

const PluginEntry* find_shadowing(std::span<const PluginEntry> earlier, const PluginEntry& entry,
                                  const PluginOffer& offer) {
  const PluginEntry* winner = nullptr;
  for (const PluginEntry& other : earlier) {
    if (is_good(other) && is_shadowed_by(entry, offer, other)) return &other;
  }
  for (const std::string& model_type : offer.model_types) {
    const auto other =
        std::find_if(earlier.begin(), earlier.end(), [&](const PluginEntry& candidate) {
          return is_good(candidate) && runs(candidate, model_type);
        });
    if (other == earlier.end()) return nullptr;
    winner = &*other;
  }
  return winner;
}

void apply_shadowing(std::vector<PluginEntry>& entries) {
  for (std::size_t i = 0; i < entries.size(); ++i) {
    PluginEntry& entry = entries[i];
    if (!is_good(entry)) continue;
    const std::span<const PluginEntry> earlier(entries.data(), i);
    std::size_t lost = 0;
    std::string losses;
    for (const PluginOffer& offer : entry.descriptor.offers) {
      const PluginEntry* const winner = find_shadowing(earlier, entry, offer);
      if (winner == nullptr) continue;
      ++lost;
      losses += fmt::format("{}{} '{}' comes from plugin '{}' ({}), which is found first",
                            losses.empty() ? "" : "; ", kind_noun(offer.kind), offer.name,
                            winner->descriptor.name, winner->path.string());
    }
    if (lost == 0) continue;
    entry.reason = losses;
    entry.fault = PluginFault::shadowed;
    if (lost == entry.descriptor.offers.size()) entry.state = PluginState::shadowed;
  }
}

}  // namespace quiver
