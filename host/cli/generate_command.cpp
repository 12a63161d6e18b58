// quiver generate: one completion.
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/grammar_filter.hpp"
#include "host/cli/prompt.hpp"
#include "host/cli/text_engine.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {{.name = "MODEL",
                                           .help = "Folder, or owner/name in the local cache",
                                           .completes = Completes::folder}};
constexpr OptionGroup kGroups[] = {{"Prompt (one of prompt, chat, file, ids)", kPromptOptions},
                                   {"Generation", kGenerationOptions},
                                   {"Sampling", kSamplingOptions},
                                   {"Form of the answer (one at most)", kGrammarOptions},
                                   {"Cache", kCacheOptions}};
constexpr Example kExamples[] = {
    {"generate model/ --chat \"What is the capital of France?\"", "Answer a question"},
    {"generate model/ --prompt \"Once upon a time\" --temp 0.8 --top-p 0.95 --seed 7",
     "Continue a text, drawn at random and the same each time"},
    {"generate model/ --prompt \"A date: \" --regex \"[0-9]{4}-[0-9]{2}-[0-9]{2}\"",
     "Only what fits a regular expression"},
    {"generate model/ --prompt Hi --sampler min-p:p=0.05 --sampler temperature:t=1.2 --sampler "
     "draw",
     "Samplers of any plugin, in this order"}};

double per_second(std::size_t count, double ms) {
  return ms > 0 ? 1000 * static_cast<double>(count) / ms : 0;
}

nlohmann::ordered_json result_json(const TextEngine& engine, const Answer& answer,
                                   std::size_t prompt_tokens) {
  const Generation& generation = answer.generation;
  nlohmann::ordered_json json;
  json["text"] = answer.text;
  json["ids"] = generation.ids;
  json["finish_reason"] = finish_reason_name(generation.reason);
  json["usage"] = {{"prompt_tokens", prompt_tokens},
                   {"completion_tokens", generation.ids.size()},
                   {"total_tokens", prompt_tokens + generation.ids.size()}};
  const std::size_t decoded = generation.ids.empty() ? 0 : generation.ids.size() - 1;
  json["timings"] = {{"load_ms", engine.load_ms()},
                     {"prompt_tps", per_second(prompt_tokens, generation.prompt_ms)},
                     {"decode_tps", per_second(decoded, generation.decode_ms)},
                     {"ttft_ms", generation.first_token_ms}};
  return json;
}

/// What is printed behind the streamed text: its last line's end, or ids where there is no text.
void finish_stream(const TextEngine& engine, const Answer& answer) {
  if (engine.text() == nullptr) {
    print(fmt::format("{}\n", fmt::join(answer.generation.ids, ",")));
  } else if (!answer.text.ends_with('\n')) {
    print("\n");
  }
}

int run(const Arguments& arguments) {
  check_prompt_options(arguments);
  check_grammar_options(arguments);
  TextEngine engine(arguments);
  const std::vector<std::int32_t> prompt = read_prompt(arguments, engine);
  const auto filter = make_grammar_filter(arguments, engine);
  const bool is_json = arguments.flag("json");
  Sequence sequence = engine.engine().new_sequence();
  const Answer answer = engine.run(sequence, prompt, 0, filter.get(), [&](std::string_view piece) {
    if (is_json) return;
    print(piece);
    flush();
  });
  if (is_json) {
    print_json(result_json(engine, answer, prompt.size()));
  } else {
    finish_stream(engine, answer);
  }
  const bool is_whole = answer.generation.reason != FinishReason::interrupted;
  return is_whole ? 0 : static_cast<int>(ErrorCode::interrupted);
}

constexpr Command kCommand = {
    .name = "generate",
    .summary = "Generates one text",
    .description = "The text is printed as it comes. Ctrl-C ends it there.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& generate_command() {
  return kCommand;
}

}  // namespace quiver::cli
