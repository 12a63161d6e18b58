// quiver perplexity: how well a model predicts a text.
#include "core/decode/engine.hpp"
#include "core/eval/perplexity.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/kv_choice.hpp"
#include "host/cli/model_location.hpp"
#include "host/cli/model_text.hpp"
#include "host/cli/progress.hpp"
#include "host/cli/session.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {
    {.name = "MODEL",
     .help = "Folder, or owner/name in the local cache",
     .completes = Completes::folder},
    {.name = "FILE", .help = "A text file; - is stdin", .completes = Completes::file}};
constexpr OptionRow kOptions[] = {
    {.name = "context",
     .value = "N",
     .help = "Tokens of a window; the model's own context where not given"},
    {.name = "stride",
     .value = "N",
     .help = "Distance between windows; the window's length where not given"},
    kKvOption,
    kKvConfigOption,
    kKvRecentOption,
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {
    {"perplexity model/ text.txt --context 2048 --stride 512", "Overlapping windows"}};

int run(const Arguments& arguments) {
  PerplexityOptions options;
  if (arguments.has("context")) {
    options.context = static_cast<std::size_t>(arguments.integer("context", 2));
  }
  if (arguments.has("stride")) {
    options.stride = static_cast<std::size_t>(arguments.integer("stride", 1));
  }
  const auto folder = find_model_folder(arguments.text("MODEL"));
  const std::string content = read_text(arguments.text("FILE"));
  Session session(arguments);
  const auto model = session.load(folder);
  const std::vector<std::int32_t> tokens = ModelText(folder).encode(content, true);
  Engine engine(model, choose_kv(session, arguments, *model).plan, session.threads(),
                session.compute());
  ProgressLine progress("scoring", tokens.size(), "tokens");
  options.progress = [&](std::size_t done, std::size_t) {
    progress.update(done);
    return !interrupt_flag();
  };
  const Perplexity result = perplexity(engine, tokens, options);
  progress.clear();
  if (arguments.flag("json")) {
    print_json({{"perplexity", result.perplexity},
                {"nll", result.nll},
                {"tokens", tokens.size()},
                {"scored", result.tokens}});
  } else {
    print(fmt::format(
        "perplexity  {:.5f}\nnll         {:.6f} nats a token\ntokens      {}, {} scored\n",
        result.perplexity, result.nll, tokens.size(), result.tokens));
  }
  return 0;
}

constexpr Command kCommand = {
    .name = "perplexity",
    .summary = "Measures how well a model predicts a text",
    .description =
        "Every token but the first of the text (and, where windows do not overlap, of "
        "each window) is scored once; perplexity is exp of the mean negative "
        "log-likelihood.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& perplexity_command() {
  return kCommand;
}

}  // namespace quiver::cli
