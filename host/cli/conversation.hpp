// A conversation with a model whose history stays in the cache.
#pragma once

#include "host/cli/text_engine.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <optional>
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
/// where they differ. A model whose state cannot go back goes on from a copy that was taken before
/// its last answer, which templates render anew without its thinking. [one-call-at-a-time]
class Conversation {
 public:
  /// `system` may be empty. `engine` outlives the conversation.
  Conversation(TextEngine& engine, std::string system);

  /// Pictures that the next message shows, behind those added before it. Throws where one cannot
  /// be looked at; none of them is added then.
  void add_pictures(const std::vector<std::string>& files);

  /// Adds a user's message and the model's answer to it. Where this throws, neither was added, and
  /// the message's pictures are forgotten.
  TurnReport say(const std::string& message, const std::function<void(std::string_view)>& show);

  /// Forgets everything but the system message.
  void reset();

  /// [{"role", "content"}, ..], the system message first if there is one.
  const nlohmann::ordered_json& messages() const { return messages_; }

 private:
  /// A sequence and the tokens that it holds.
  struct Held {
    Sequence sequence;
    std::vector<std::int32_t> tokens;
  };

  std::size_t cut_to(std::span<const std::int32_t> ids);
  std::size_t keep_before_answer(std::span<const std::int32_t> ids, std::size_t cached,
                                 const nlohmann::ordered_json& messages);
  void forget_cache();

  TextEngine& engine_;
  std::string system_;
  nlohmann::ordered_json messages_;
  Held cache_;
  std::optional<Held> before_answer_;  // where the sequence itself cannot go back
  std::vector<PromptImage> pictures_;  // of all messages
  std::vector<PromptImage> next_;      // of the next one
};

}  // namespace quiver::cli
