// quiver chat: a conversation in the terminal.
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/conversation.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/line_reader.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {{.name = "MODEL",
                                           .help = "Folder, or owner/name in the local cache",
                                           .completes = Completes::folder}};
constexpr OptionRow kChatOptions[] = {
    {.name = "system", .value = "TEXT", .help = "System message in front of the conversation"},
    {.name = "image",
     .value = "FILE",
     .help = "Picture that the first message shows: JPEG, PNG or WebP; again for more",
     .is_repeatable = true,
     .completes = Completes::file}};
constexpr OptionGroup kGroups[] = {{"Conversation", kChatOptions},
                                   {"Generation", kGenerationOptions},
                                   {"Decoding", kDecodingOptions},
                                   {"Sampling", kSamplingOptions},
                                   {"Cache", kCacheOptions}};
constexpr Example kExamples[] = {
    {"chat model/ --temp 0.7 --max-tokens 1000", "Talk; /reset starts anew, Ctrl-D leaves"},
    {"chat model/ --image photo.jpg", "Talk about a picture; /image FILE shows another one"}};

constexpr std::string_view kImageCommand = "/image ";

/// The loop over the user's lines. With --json nothing is printed before the end.
class Chat {
 public:
  Chat(TextEngine& engine, const Arguments& arguments)
      : conversation_(engine, arguments.text("system")), is_json_(arguments.flag("json")) {
    const std::vector<std::string> pictures = arguments.texts("image");
    if (!pictures.empty()) conversation_.add_pictures(pictures);
  }

  int run() {
    show_note(
        "/image FILE shows a picture with the next message, /reset starts anew, /exit or Ctrl-D "
        "leaves, Ctrl-C ends an answer");
    int interruptions = 0;
    std::string line;
    while (true) {
      show(is_stdout_terminal() ? "> " : "");
      const LineStatus status = reader_.read(line);
      if (status == LineStatus::interrupted) {
        interrupt_flag() = false;
        if (++interruptions == 2) return static_cast<int>(ErrorCode::interrupted);
        show("\n");
        show_note("Ctrl-C again or Ctrl-D leaves");
        continue;
      }
      interruptions = 0;
      if (status == LineStatus::end || line == "/exit") break;
      if (line == "/reset") {
        conversation_.reset();
        turns_.clear();
      } else if (line.starts_with(kImageCommand)) {
        attempt([&] { conversation_.add_pictures({line.substr(kImageCommand.size())}); });
      } else if (line.starts_with('/')) {
        show_note(fmt::format("there is no command {}; /image FILE, /reset and /exit exist", line));
      } else if (!line.empty()) {
        answer(line);
      }
    }
    if (is_json_) print_json({{"messages", conversation_.messages()}, {"turns", turns_}});
    return 0;
  }

 private:
  void show(std::string_view text) const {
    if (is_json_ || text.empty()) return;
    print(text);
    flush();
  }

  void show_note(const std::string& text) const {
    if (!is_json_ && !is_quiet() && is_stdout_terminal()) show(text + "\n");
  }

  /// A message that cannot be answered does not end the conversation; our own faults do.
  template <class Action>
  void attempt(const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      if (error.code() == ErrorCode::internal || error.code() == ErrorCode::plugin) throw;
      show("\n");
      report(error, false);
    }
    interrupt_flag() = false;
  }

  void answer(const std::string& message) {
    attempt([&] {
      const TurnReport report =
          conversation_.say(message, [this](std::string_view piece) { show(piece); });
      const Generation& generation = report.answer.generation;
      show("\n");
      turns_.push_back({{"prompt_tokens", report.prompt_tokens},
                        {"cached_tokens", report.cached_tokens},
                        {"completion_tokens", generation.ids.size()},
                        {"finish_reason", finish_reason_name(generation.reason)}});
    });
  }

  Conversation conversation_;
  LineReader reader_;
  bool is_json_;
  nlohmann::ordered_json turns_ = nlohmann::ordered_json::array();
};

int run(const Arguments& arguments) {
  TextEngine engine(arguments);
  engine.require_text();
  return Chat(engine, arguments).run();
}

constexpr Command kCommand = {
    .name = "chat",
    .summary = "Talks with a model in the terminal",
    .description = "A message is a line. With --json the whole conversation is printed at the end.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& chat_command() {
  return kCommand;
}

}  // namespace quiver::cli
