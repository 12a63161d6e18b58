// A conversation with a model whose history stays in the cache.
#include "host/cli/conversation.hpp"

#include <algorithm>
#include <utility>

namespace quiver::cli {

Conversation::Conversation(TextEngine& engine, std::string system)
    : engine_(engine), system_(std::move(system)), sequence_(engine.new_sequence()) {
  reset();
}

void Conversation::reset() {
  messages_ = nlohmann::ordered_json::array();
  if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
  sequence_ = engine_.new_sequence();
  cached_.clear();
}

/// Cuts the cache back to what begins `ids`, with one token left to feed; gives its length.
std::size_t Conversation::cut_to(std::span<const std::int32_t> ids) {
  const auto end = std::ranges::mismatch(cached_, ids).in1;
  auto common = static_cast<std::size_t>(end - cached_.begin());
  common = std::min(common, ids.size() - 1);
  if (!engine_.can_continue()) common = 0;
  if (common == cached_.size()) return common;
  if (!sequence_.can_truncate(static_cast<int>(common))) common = 0;
  if (common == 0) {
    sequence_ = engine_.new_sequence();
  } else {
    sequence_.truncate(static_cast<int>(common));
  }
  cached_.resize(common);
  return common;
}

TurnReport Conversation::say(const std::string& message,
                             const std::function<void(std::string_view)>& show) {
  nlohmann::ordered_json messages = messages_;
  messages.push_back({{"role", "user"}, {"content", message}});
  const std::vector<std::int32_t> ids = engine_.require_text().encode_chat(messages);
  TurnReport report;
  report.prompt_tokens = ids.size();
  report.cached_tokens = cut_to(ids);
  // What was fed is known only once the answer is there: until then the cache counts for nothing.
  cached_.clear();
  try {
    report.answer = engine_.run(sequence_, ids, report.cached_tokens, nullptr, show);
  } catch (...) {
    sequence_ = engine_.new_sequence();
    throw;
  }
  cached_ = ids;
  const auto& generated = report.answer.generation.ids;
  cached_.insert(cached_.end(), generated.begin(), generated.end());
  cached_.resize(static_cast<std::size_t>(sequence_.length()));  // the last token was never fed
  messages.push_back({{"role", "assistant"}, {"content", report.answer.text}});
  messages_ = std::move(messages);
  return report;
}

}  // namespace quiver::cli
