// A conversation with a model whose history stays in the cache.
#include "host/cli/conversation.hpp"

#include "host/cli/picture_prompt.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace quiver::cli {
namespace {

/// How many tokens two texts begin with alike.
std::size_t common_beginning(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

/// Whether it depends on more than the length where a sequence of this layout can be cut.
bool has_state(const CacheLayout& layout) {
  return !layout.windows.empty() || !layout.recurrences.empty() || layout.recent > 0;
}

}  // namespace

Conversation::Conversation(TextEngine& engine, std::string system)
    : engine_(engine), system_(std::move(system)), cache_{engine.new_sequence(), {}} {
  reset();
}

void Conversation::reset() {
  messages_ = nlohmann::ordered_json::array();
  if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
  forget_cache();
  pictures_.clear();
  next_.clear();
}

void Conversation::forget_cache() {
  cache_ = {engine_.new_sequence(), {}};
  before_answer_.reset();
}

void Conversation::add_pictures(const std::vector<std::string>& files) {
  std::ranges::move(look_at_pictures(files, engine_.engine()), std::back_inserter(next_));
}

/// Cuts the cache back to what begins `ids`, with one token left to feed; gives its length.
std::size_t Conversation::cut_to(std::span<const std::int32_t> ids) {
  const std::size_t common = std::min(common_beginning(cache_.tokens, ids), ids.size() - 1);
  if (!engine_.can_continue()) {
    forget_cache();
  } else if (common == cache_.tokens.size()) {
    return common;
  } else if (cache_.sequence.can_truncate(static_cast<int>(common))) {
    cache_.sequence.truncate(static_cast<int>(common));
    cache_.tokens.resize(common);
  } else if (before_answer_ && before_answer_->tokens.size() <= common) {
    cache_ = *before_answer_;
  } else {
    forget_cache();
  }
  return cache_.tokens.size();
}

/// Feeds what stands before the answer, and keeps a copy of it for the next turn, in which the
/// answer may read otherwise; gives how many tokens the cache holds then.
std::size_t Conversation::keep_before_answer(std::span<const std::int32_t> ids, std::size_t cached,
                                             const nlohmann::ordered_json& messages) {
  if (!engine_.can_continue() || !has_state(cache_.sequence.layout())) return cached;
  std::vector<std::int32_t> unopened = engine_.require_text().encode_chat(messages, false);
  place_pictures(pictures_, engine_.engine(), unopened);
  const std::size_t end = std::min(common_beginning(unopened, ids), ids.size() - 1);
  if (end <= cached) return cached;
  engine_.read(cache_.sequence, ids, cached, end);
  before_answer_ = {cache_.sequence, {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(end)}};
  return end;
}

TurnReport Conversation::say(const std::string& message,
                             const std::function<void(std::string_view)>& show) {
  nlohmann::ordered_json messages = messages_;
  messages.push_back({{"role", "user"}, {"content", message_content(next_.size(), message)}});
  const std::size_t earlier_pictures = pictures_.size();
  std::ranges::move(std::exchange(next_, {}), std::back_inserter(pictures_));
  TurnReport report;
  try {
    std::vector<std::int32_t> ids = engine_.require_text().encode_chat(messages);
    engine_.set_images(place_pictures(pictures_, engine_.engine(), ids));
    report.prompt_tokens = ids.size();
    report.cached_tokens = cut_to(ids);
    // What was fed is known only once the answer is there: until then the cache counts for nothing.
    cache_.tokens.clear();
    const std::size_t held = keep_before_answer(ids, report.cached_tokens, messages);
    report.answer = engine_.run(cache_.sequence, ids, held, nullptr, show);
    cache_.tokens = std::move(ids);
  } catch (...) {
    forget_cache();
    pictures_.resize(earlier_pictures);
    throw;
  }
  const auto& generated = report.answer.generation.ids;
  cache_.tokens.insert(cache_.tokens.end(), generated.begin(), generated.end());
  // The last token was never fed.
  cache_.tokens.resize(static_cast<std::size_t>(cache_.sequence.length()));
  messages.push_back({{"role", "assistant"}, {"content", report.answer.text}});
  messages_ = std::move(messages);
  return report;
}

}  // namespace quiver::cli
