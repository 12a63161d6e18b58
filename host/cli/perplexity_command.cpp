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
#include "host/cli/side_by_side.hpp"

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
    kAlsoOption,
    kKvOption,
    kKvConfigOption,
    kKvRecentOption,
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {
    {"perplexity model/ text.txt --context 2048 --stride 512", "Overlapping windows"},
    {"perplexity model/ text.txt --also model-4bit/", "Two models side by side"}};

struct Result {
  Perplexity perplexity;
  std::size_t tokens = 0;  ///< Of the whole text, by the model's own tokenizer.
};

PerplexityOptions read_options(const Arguments& arguments) {
  PerplexityOptions options;
  if (arguments.has("context")) {
    options.context = static_cast<std::size_t>(arguments.integer("context", 2));
  }
  if (arguments.has("stride")) {
    options.stride = static_cast<std::size_t>(arguments.integer("stride", 1));
  }
  return options;
}

Result measure(Session& session, const Arguments& arguments, const std::filesystem::path& folder,
               const std::string& content, PerplexityOptions options) {
  const auto model = session.load(folder);
  const std::vector<std::int32_t> tokens = ModelText(folder).encode(content, true);
  Engine engine(model, choose_kv(session, arguments, *model).plan, session.threads(),
                session.compute());
  ProgressLine progress("scoring", tokens.size(), "tokens");
  options.progress = [&](std::size_t done, std::size_t) {
    progress.update(done);
    return !interrupt_flag();
  };
  return {perplexity(engine, tokens, options), tokens.size()};
}

void show(const std::vector<std::string>& models, const std::vector<Result>& results,
          bool is_json) {
  if (is_json) {
    std::vector<nlohmann::ordered_json> figures;
    for (const Result& result : results) {
      figures.push_back({{"perplexity", result.perplexity.perplexity},
                         {"nll", result.perplexity.nll},
                         {"tokens", result.tokens},
                         {"scored", result.perplexity.tokens}});
    }
    print_json(side_by_side_json(models, figures));
    return;
  }
  if (results.size() == 1) {
    const Result& result = results.front();
    print(fmt::format(
        "perplexity  {:.5f}\nnll         {:.6f} nats a token\ntokens      {}, {} scored\n",
        result.perplexity.perplexity, result.perplexity.nll, result.tokens,
        result.perplexity.tokens));
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Result& result : results) {
    rows.push_back({fmt::format("{:.5f}", result.perplexity.perplexity),
                    fmt::format("{:.6f}", result.perplexity.nll),
                    std::to_string(result.perplexity.tokens)});
  }
  const std::string headings[] = {"perplexity", "nll", "scored"};
  print(side_by_side(models, headings, rows));
}

int run(const Arguments& arguments) {
  const PerplexityOptions options = read_options(arguments);
  const std::vector<std::string> models = models_of(arguments);
  std::vector<std::filesystem::path> folders;
  for (const std::string& model : models) folders.push_back(find_model_folder(model));
  const std::string content = read_text(arguments.text("FILE"));
  Session session(arguments);
  std::vector<Result> results;
  for (const std::filesystem::path& folder : folders) {
    results.push_back(measure(session, arguments, folder, content, options));
  }
  show(models, results, arguments.flag("json"));
  return 0;
}

constexpr Command kCommand = {
    .name = "perplexity",
    .summary = "Measures how well a model predicts a text",
    .description =
        "Every token but the first of the text (and, where windows do not overlap, of "
        "each window) is scored once; perplexity is exp of the mean negative "
        "log-likelihood. Perplexities of models with different tokenizers cannot be compared.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& perplexity_command() {
  return kCommand;
}

}  // namespace quiver::cli
