// A conversation with a model whose history stays in the cache.
#pragma once

#include "host/cli/text_engine.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace quiver::cli {

/// Tokens of one turn.
struct TurnReport {
  std::size_t prompt_tokens = 0;  ///< Of the whole conversation up to the answer.
  std::size_t cached_tokens = 0;  ///< How many of them did not have to be fed again.
  Answer answer;
};

/// Messages and the sequence that holds their tokens. Only what is new is fed: the tokens of the
/// conversation, rendered anew, are compared with those in the cache, and the cache is cut back to
/// where they differ. [one-call-at-a-time]
class Conversation {
 public:
  /// `system` may be empty. `engine` outlives the conversation.
  Conversation(TextEngine& engine, std::string system);

  /// Adds a user's message and the model's answer to it. Where this throws, neither was added.
  TurnReport say(const std::string& message, const std::function<void(std::string_view)>& show);

  /// Forgets everything but the system message.
  void reset();

  /// [{"role", "content"}, ..], the system message first if there is one.
  const nlohmann::ordered_json& messages() const { return messages_; }

 private:
  std::size_t cut_to(std::span<const std::int32_t> ids);

  TextEngine& engine_;
  std::string system_;
  nlohmann::ordered_json messages_;
  Sequence sequence_;
  std::vector<std::int32_t> cached_;  // the tokens in sequence_
};

}  // namespace quiver::cli
