// quiver kl: how far a model's predictions are from those of a reference.
#include "core/decode/engine.hpp"
#include "core/eval/divergence.hpp"
#include "core/quantize/calibration.hpp"
#include "core/quantize/calibration_text.hpp"
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
    {.name = "REFERENCE",
     .help = "Another model, run in exact mode; 'exact' is MODEL itself",
     .completes = Completes::folder},
    {.name = "FILE",
     .help = "A text file; - is stdin. The built-in calibration text where not given",
     .is_required = false,
     .completes = Completes::file}};
constexpr OptionRow kOptions[] = {
    {.name = "context",
     .value = "N",
     .help = "Tokens of a window; the model's own context where not given"},
    {.name = "rows",
     .value = "FORM",
     .choices = "prompt|decode",
     .default_value = "prompt",
     .help = "Feed the text in chunks as a prompt, or token by token as generated text"},
    kAlsoOption,
    kKvOption,
    kKvConfigOption,
    kKvRecentOption,
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {
    {"kl model/ exact text.txt", "What the fast mode costs"},
    {"kl model-4bit/ model/ --also model-mixed/ --compute exact",
     "What quantization costs, by two models and over the built-in text"}};

/// Samples of the built-in text: two of each domain, short enough for slow machines.
constexpr CalibrationOptions kSamples = {.samples = 12, .sequence_length = 256};

/// What is compared over: a file, or else samples of the built-in text through the chat template.
std::vector<std::vector<std::int32_t>> read_texts(const Arguments& arguments,
                                                  const std::filesystem::path& folder) {
  if (arguments.has("FILE")) {
    return {ModelText(folder).encode(read_text(arguments.text("FILE")), true)};
  }
  if (!ModelText::exists(folder)) throw ModelText::missing(folder);
  CalibrationSamples samples = sample_calibration(builtin_calibration_rows(),
                                                  CalibrationText::load_folder(folder), kSamples);
  for (const std::string& warning : samples.warnings) warn(warning);
  std::vector<std::vector<std::int32_t>> texts;
  for (CalibrationSample& sample : samples.samples) texts.push_back(std::move(sample.tokens));
  return texts;
}

DivergenceOptions read_options(const Arguments& arguments) {
  DivergenceOptions options;
  if (arguments.has("context")) {
    options.context = static_cast<std::size_t>(arguments.integer("context", 1));
  }
  options.is_decoding = arguments.text("rows") == "decode";
  return options;
}

nlohmann::ordered_json figures_json(const Divergence& result) {
  return {{"kl_mean", result.mean},
          {"kl_median", result.median},
          {"kl_p95", result.p95},
          {"top1_agreement", result.top1_agreement},
          {"tokens", result.tokens}};
}

void show(const std::vector<std::string>& models, const std::vector<Divergence>& results,
          bool is_json) {
  if (is_json) {
    std::vector<nlohmann::ordered_json> figures;
    for (const Divergence& result : results) figures.push_back(figures_json(result));
    print_json(side_by_side_json(models, figures));
    return;
  }
  if (results.size() == 1) {
    const Divergence& result = results.front();
    print(fmt::format(
        "KL mean         {:.3e} nats a token\nKL median       {:.3e}\nKL 95 %         {:.3e}\n"
        "same top token  {:.2f} %\ntokens          {}\n",
        result.mean, result.median, result.p95, 100 * result.top1_agreement, result.tokens));
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Divergence& result : results) {
    rows.push_back({fmt::format("{:.3e}", result.mean), fmt::format("{:.3e}", result.median),
                    fmt::format("{:.3e}", result.p95),
                    fmt::format("{:.2f} %", 100 * result.top1_agreement)});
  }
  const std::string headings[] = {"KL mean", "KL median", "KL 95 %", "same top"};
  print(side_by_side(models, headings, rows));
  print(fmt::format("over {} tokens, KL in nats a token\n", results.front().tokens));
}

int run(const Arguments& arguments) {
  DivergenceOptions options = read_options(arguments);
  const std::vector<std::string> models = models_of(arguments);
  std::vector<std::filesystem::path> folders;
  for (const std::string& model : models) folders.push_back(find_model_folder(model));
  const std::string other = arguments.text("REFERENCE");
  const bool is_own = other == "exact";
  const auto texts = read_texts(arguments, folders.front());
  std::size_t total = 0;
  for (const auto& text : texts) total += text.size();
  Session session(arguments);
  const auto shared = is_own ? nullptr : session.load(find_model_folder(other));
  const auto plain = session.kv_strategy(NamedOptions{.name = "f32", .options = ""});
  ProgressLine progress("comparing", total * models.size(), "tokens");
  std::vector<Divergence> results;
  // One model at a time, so that no more than it and the reference lie in memory.
  for (const std::filesystem::path& folder : folders) {
    const auto model = session.load(folder);
    Engine engine(model, choose_kv(session, arguments, *model).plan, session.threads(),
                  session.compute());
    Engine reference(is_own ? model : shared, plain, session.threads(), {ComputeMode::exact});
    options.progress = [&](std::size_t done, std::size_t) {
      progress.update(results.size() * total + done);
      return !interrupt_flag();
    };
    results.push_back(divergence(engine, reference, texts, options));
  }
  progress.clear();
  show(models, results, arguments.flag("json"));
  return 0;
}

constexpr Command kCommand = {
    .name = "kl",
    .summary = "Measures how far a model's predictions are from a reference's",
    .description =
        "The Kullback-Leibler divergence KL(reference || model) of the next token's "
        "distribution, in nats, over every token of a text. Tokens are those of MODEL's tokenizer. "
        "Without a FILE: twelve samples of 256 tokens of the calibration text that comes with the "
        "program, through MODEL's chat template, six domains in equal shares.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& kl_command() {
  return kCommand;
}

}  // namespace quiver::cli
