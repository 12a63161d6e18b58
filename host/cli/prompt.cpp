// The options that say what a model reads.
#include "host/cli/prompt.hpp"

#include <quiver/error.hpp>

namespace quiver::cli {

void check_prompt_options(const Arguments& arguments) {
  arguments.require_one_of({"prompt", "ids", "chat", "file"});
  if (arguments.has("ids")) static_cast<void>(arguments.ids("ids"));
  if (arguments.has("system") && !arguments.has("chat")) {
    throw Error(ErrorCode::usage, "--system belongs to --chat",
                std::string(arguments.command().name), "give a message with --chat");
  }
}

std::vector<std::int32_t> read_prompt(const Arguments& arguments, const TextEngine& engine) {
  if (arguments.has("ids")) return arguments.ids("ids");
  const ModelText& text = engine.require_text();
  if (arguments.has("prompt")) return text.encode(arguments.text("prompt"), true);
  if (arguments.has("file")) return text.encode(read_text(arguments.text("file")), true);
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  if (arguments.has("system")) {
    messages.push_back({{"role", "system"}, {"content", arguments.text("system")}});
  }
  messages.push_back(
      {{"role", "user"},
       {"content", message_content(arguments.texts("image").size(), arguments.text("chat"))}});
  return text.encode_chat(messages);
}

}  // namespace quiver::cli
