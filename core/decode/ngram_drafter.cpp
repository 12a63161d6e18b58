// Drafts what followed the text's newest tokens where they stood before.
#include <algorithm>
#include <unordered_map>

#include "core/decode/drafter.hpp"

namespace quiver {
namespace {

// Fewer tokens in common say too little about what follows.
constexpr std::size_t kOrder = 3;
// How many of the latest places are looked at, and how far back they are compared.
constexpr std::size_t kPlaces = 4;
constexpr std::size_t kFarthest = 48;
constexpr int kMostDrafts = 15;
constexpr int kTrialDrafts = 3;

std::uint64_t key_of(std::span<const std::int32_t> tokens) {
  std::uint64_t key = 0xcbf29ce484222325U;  // FNV-1a
  for (const std::int32_t token : tokens) {
    key = (key ^ static_cast<std::uint32_t>(token)) * 0x100000001b3U;
  }
  return key;
}

class NgramDrafter : public Drafter {
 public:
  void begin(const TextState& text, int count) override {
    draft_.emplace(text);
    const auto history = text.history();
    learn(history);
    const std::size_t from = find(history);
    for (std::size_t i = from; i < history.size() && count > 0; ++i, --count) {
      if (!draft_->append(history[i])) return;
    }
  }

  const PassPlan* plan() override { return nullptr; }
  void take(const PassResult&) override {}
  std::span<const std::int32_t> drafts() const override { return draft_->drafts(); }
  void finish() override { draft_.reset(); }

  double seconds(const DecodeStatistics&, int, int) const override { return 0; }
  AcceptanceRates& rates(DecodeStatistics& statistics) const override {
    return statistics.ngram_drafts;
  }
  int most_drafts() const override { return kMostDrafts; }
  int trial_drafts() const override { return kTrialDrafts; }

 private:
  /// Enters the places behind runs of kOrder tokens that are new; what ends the text has nothing
  /// behind it yet.
  void learn(std::span<const std::int32_t> history) {
    for (; learned_ + kOrder < history.size(); ++learned_) {
      auto& places = places_[key_of(history.subspan(learned_, kOrder))];
      if (places.size() == kPlaces) places.erase(places.begin());
      places.push_back(learned_ + kOrder);
    }
  }

  /// The place whose past agrees longest with the end of the text, of equals the latest; the end
  /// itself where none agrees.
  std::size_t find(std::span<const std::int32_t> history) const {
    const std::size_t end = history.size();
    if (end < kOrder) return end;
    const auto entry = places_.find(key_of(history.last(kOrder)));
    if (entry == places_.end()) return end;
    std::size_t best = end;
    std::size_t longest = kOrder - 1;
    for (const std::size_t place : entry->second) {
      std::size_t length = 0;
      while (length < std::min(place, kFarthest) &&
             history[place - 1 - length] == history[end - 1 - length]) {
        ++length;
      }
      if (length < std::max(longest, kOrder)) continue;
      best = place;
      longest = length;
    }
    return best;
  }

  std::unordered_map<std::uint64_t, std::vector<std::size_t>> places_;
  std::size_t learned_ = 0;
  std::optional<DraftText> draft_;
};

}  // namespace

std::unique_ptr<Drafter> make_ngram_drafter() {
  return std::make_unique<NgramDrafter>();
}

}  // namespace quiver
