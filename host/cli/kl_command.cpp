// quiver kl: how far a model's predictions are from those of a reference.
#include "core/decode/engine.hpp"
#include "core/eval/divergence.hpp"
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
    {.name = "REFERENCE",
     .help = "Another model, run in exact mode; 'exact' is MODEL itself",
     .completes = Completes::folder},
    {.name = "FILE", .help = "A text file; - is stdin", .completes = Completes::file}};
constexpr OptionRow kOptions[] = {
    {.name = "context",
     .value = "N",
     .help = "Tokens of a window; the model's own context where not given"},
    {.name = "rows",
     .value = "FORM",
     .choices = "prompt|decode",
     .default_value = "prompt",
     .help = "Feed the text in chunks as a prompt, or token by token as generated text"},
    kKvOption,
    kKvConfigOption,
    kKvRecentOption,
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {
    {"kl model/ exact text.txt", "What the fast mode costs"},
    {"kl model-4bit/ model/ text.txt --compute exact", "What quantization costs"}};

void show(const Divergence& result, bool is_json) {
  if (is_json) {
    print_json({{"kl_mean", result.mean},
                {"kl_median", result.median},
                {"kl_p95", result.p95},
                {"top1_agreement", result.top1_agreement},
                {"tokens", result.tokens}});
    return;
  }
  print(fmt::format(
      "KL mean         {:.3e} nats a token\nKL median       {:.3e}\nKL 95 %         {:.3e}\n"
      "same top token  {:.2f} %\ntokens          {}\n",
      result.mean, result.median, result.p95, 100 * result.top1_agreement, result.tokens));
}

int run(const Arguments& arguments) {
  DivergenceOptions options;
  if (arguments.has("context")) {
    options.context = static_cast<std::size_t>(arguments.integer("context", 1));
  }
  options.is_decoding = arguments.text("rows") == "decode";
  const auto folder = find_model_folder(arguments.text("MODEL"));
  const std::string other = arguments.text("REFERENCE");
  const std::string content = read_text(arguments.text("FILE"));
  Session session(arguments);
  const auto model = session.load(folder);
  const auto reference = other == "exact" ? model : session.load(find_model_folder(other));
  const std::vector<std::int32_t> tokens = ModelText(folder).encode(content, true);
  Engine engine(model, choose_kv(session, arguments, *model).plan, session.threads(),
                session.compute());
  const auto plain = session.kv_strategy(NamedOptions{.name = "f32", .options = ""});
  Engine reference_engine(reference, plain, session.threads(), {ComputeMode::exact});
  ProgressLine progress("comparing", tokens.size(), "tokens");
  options.progress = [&](std::size_t done, std::size_t) {
    progress.update(done);
    return !interrupt_flag();
  };
  const Divergence result = divergence(engine, reference_engine, tokens, options);
  progress.clear();
  show(result, arguments.flag("json"));
  return 0;
}

constexpr Command kCommand = {
    .name = "kl",
    .summary = "Measures how far a model's predictions are from a reference's",
    .description =
        "The Kullback-Leibler divergence KL(reference || model) of the next token's "
        "distribution, in nats, over every token of a text.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& kl_command() {
  return kCommand;
}

}  // namespace quiver::cli
