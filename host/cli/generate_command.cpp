// quiver generate: one completion.
#include "host/cli/canvas_display.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/decode_trace.hpp"
#include "host/cli/grammar_filter.hpp"
#include "host/cli/prompt.hpp"
#include "host/cli/text_engine.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {{.name = "MODEL",
                                           .help = "Folder, or owner/name in the local cache",
                                           .completes = Completes::folder}};
constexpr OptionRow kSurroundingOptions[] = {
    {.name = "suffix",
     .value = "TEXT",
     .help = "Write exactly --max-tokens between the prompt and this text, with block-diffusion"},
    {.name = "show-canvas", .help = "Show in a terminal how blocks fill in"},
    {.name = "trace",
     .value = "FILE",
     .help = "Write every step to a file, a JSON document a line: drafts and what of them was "
             "accepted, canvases",
     .completes = Completes::file},
};
constexpr OptionGroup kGroups[] = {{"Prompt (one of prompt, chat, file, ids)", kPromptOptions},
                                   {"Generation", kGenerationOptions},
                                   {"Decoding", kDecodingOptions},
                                   {"What surrounds it", kSurroundingOptions},
                                   {"Sampling", kSamplingOptions},
                                   {"Form of the answer (one at most)", kGrammarOptions},
                                   {"Cache", kCacheOptions}};
constexpr Example kExamples[] = {
    {"generate model/ --chat \"What is the capital of France?\"", "Answer a question"},
    {"generate model/ --prompt \"Once upon a time\" --temp 0.8 --top-p 0.95 --seed 7",
     "Continue a text, drawn at random and the same each time"},
    {"generate model/ --prompt \"A date: \" --regex \"[0-9]{4}-[0-9]{2}-[0-9]{2}\"",
     "Only what fits a regular expression"},
    {"generate model/ --prompt \"The sum of\" --suffix \" is ten.\" --decode block-diffusion "
     "--max-tokens 12",
     "Write between two texts"},
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
  const DecodeCounts& counts = generation.counts;
  json["rounds"] = counts.rounds;
  json["accepted_per_round"] =
      counts.rounds == 0 ? 0.0 : static_cast<double>(counts.accepted) / counts.rounds;
  json["passes"] = counts.passes;
  json["blocks"] = counts.blocks;
  json["steps"] = counts.steps;
  json["timings"] = {{"load_ms", engine.load_ms()},
                     {"prompt_tps", per_second(prompt_tokens, generation.prompt_ms)},
                     {"decode_tps", per_second(generation.decoded, generation.decode_ms)},
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

/// What --trace and --show-canvas show of the steps. [one-call-at-a-time]
class Steps : public DecodeObserver {
 public:
  Steps(const Arguments& arguments, const TextEngine& engine) {
    if (arguments.has("trace")) trace_.emplace(arguments.path("trace"));
    const bool is_shown = arguments.flag("show-canvas") && engine.text() != nullptr;
    if (!is_shown || !is_stderr_terminal() || is_quiet()) return;
    const auto piece = [text = engine.text()](std::int32_t id) { return text->piece(id); };
    const auto write = [](const std::string& drawing) {
      std::fputs(drawing.c_str(), stderr);
      std::this_thread::sleep_for(kFrame);
    };
    display_.emplace(piece, write, terminal_columns());
  }

  void on_round(const SpeculativeRound& round) override {
    if (trace_) trace_->on_round(round);
  }
  void on_canvas(const CanvasView& canvas) override {
    if (trace_) trace_->on_canvas(canvas);
    if (display_) display_->on_canvas(canvas);
    if (display_ && canvas.is_final) display_->clear();
  }
  void note(std::string_view printed) {
    if (display_ && is_stdout_terminal()) display_->note(printed);
  }
  void finish() {
    if (trace_) trace_->finish();
  }

 private:
  // A small model's steps are too quick to be seen.
  static constexpr std::chrono::milliseconds kFrame{30};

  std::optional<DecodeTrace> trace_;
  std::optional<CanvasDisplay> display_;
};

int run(const Arguments& arguments) {
  check_prompt_options(arguments);
  check_grammar_options(arguments);
  TextEngine engine(arguments);
  std::vector<std::int32_t> prompt = read_prompt(arguments, engine);
  const auto images = read_prompt_pictures(arguments, engine.engine(), prompt);
  engine.set_images(images);
  if (arguments.has("suffix")) {
    engine.set_suffix(engine.require_text().encode(arguments.text("suffix"), false));
  }
  const auto filter = make_grammar_filter(arguments, engine);
  const bool is_json = arguments.flag("json");
  Steps steps(arguments, engine);
  engine.set_observer(&steps);
  Sequence sequence = engine.new_sequence();
  const Answer answer = engine.run(sequence, prompt, 0, filter.get(), [&](std::string_view piece) {
    if (is_json) return;
    print(piece);
    flush();
    steps.note(piece);
  });
  steps.finish();
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
