// quiver tokenize and detokenize: between text and token ids.
#include "core/tensor/printable.hpp"
#include "host/cli/arguments.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/model_location.hpp"
#include "host/cli/model_text.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace quiver::cli {
namespace {

constexpr PositionalRow kTokenizePositionals[] = {
    {.name = "MODEL",
     .help = "Folder, or owner/name in the local cache",
     .completes = Completes::folder},
    {.name = "TEXT", .help = "Text to take apart", .is_required = false}};
constexpr OptionRow kTokenizeOptions[] = {
    {.name = "file",
     .value = "FILE",
     .help = "Take the text from a file; - is stdin",
     .completes = Completes::file},
    {.name = "chat", .help = "Put the text into the chat template, as a user's message"},
    {.name = "no-special",
     .help = "Leave out the tokens that the tokenizer puts around whole texts"},
};
constexpr OptionGroup kTokenizeGroups[] = {{"Options", kTokenizeOptions}};
constexpr Example kTokenizeExamples[] = {{"tokenize model/ \"Hello, world!\"", "A line a token"}};

constexpr PositionalRow kDetokenizePositionals[] = {
    {.name = "MODEL",
     .help = "Folder, or owner/name in the local cache",
     .completes = Completes::folder}};
constexpr OptionRow kDetokenizeOptions[] = {
    {.name = "ids", .value = "N,N,..", .help = "Token ids"},
    {.name = "skip-special", .help = "Leave out special tokens"},
};
constexpr OptionGroup kDetokenizeGroups[] = {{"Options", kDetokenizeOptions}};
constexpr Example kDetokenizeExamples[] = {{"detokenize model/ --ids 19556,28,905", "Their text"}};

int tokenize(const Arguments& arguments) {
  arguments.require_one_of({"TEXT", "file"});
  const ModelText text(find_model_folder(arguments.text("MODEL")));
  const std::string content =
      arguments.has("file") ? read_text(arguments.text("file")) : arguments.text("TEXT");
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  messages.push_back({{"role", "user"}, {"content", content}});
  const auto ids = arguments.flag("chat") ? text.encode_chat(messages)
                                          : text.encode(content, !arguments.flag("no-special"));
  nlohmann::ordered_json pieces = nlohmann::ordered_json::array();
  std::string table;
  for (const std::int32_t id : ids) {
    const std::string piece = text.tokenizer().piece(id);
    pieces.push_back(piece);
    table += fmt::format("{}\t{}\n", id, in_quotes(piece));
  }
  if (arguments.flag("json")) {
    print_json({{"ids", ids}, {"pieces", pieces}});
  } else {
    print(table);
  }
  return 0;
}

int detokenize(const Arguments& arguments) {
  if (!arguments.has("ids")) {
    throw Error(ErrorCode::usage, "--ids is missing", "detokenize", "give token ids");
  }
  const auto ids = arguments.ids("ids");
  const ModelText text(find_model_folder(arguments.text("MODEL")));
  for (const std::int32_t id : ids) {
    if (id < text.size()) continue;
    throw Error(ErrorCode::bad_input,
                fmt::format("token id {} is outside the vocabulary of {}", id, text.size()),
                "--ids", "use the tokenizer that the ids were made with");
  }
  const std::string result = text.tokenizer().decode(ids, arguments.flag("skip-special"));
  if (arguments.flag("json")) {
    print_json({{"text", result}});
  } else {
    print(result + "\n");
  }
  return 0;
}

constexpr Command kTokenizeCommand = {.name = "tokenize",
                                      .summary = "Turns text into token ids",
                                      .positionals = kTokenizePositionals,
                                      .groups = kTokenizeGroups,
                                      .examples = kTokenizeExamples,
                                      .run = tokenize};
constexpr Command kDetokenizeCommand = {.name = "detokenize",
                                        .summary = "Turns token ids into text",
                                        .positionals = kDetokenizePositionals,
                                        .groups = kDetokenizeGroups,
                                        .examples = kDetokenizeExamples,
                                        .run = detokenize};

}  // namespace

const Command& tokenize_command() {
  return kTokenizeCommand;
}
const Command& detokenize_command() {
  return kDetokenizeCommand;
}

}  // namespace quiver::cli
