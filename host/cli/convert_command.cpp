// quiver convert: measures a model, chooses widths, and writes the quantized folder.
#include "core/model/role_name.hpp"
#include "core/quantize/calibration.hpp"
#include "core/quantize/calibration_text.hpp"
#include "core/quantize/convert.hpp"
#include "core/quantize/named_encoder.hpp"
#include "core/tensor/printable.hpp"
#include "host/cli/allocation_options.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/job_ranks.hpp"
#include "host/cli/model_location.hpp"
#include "host/cli/model_report.hpp"
#include "host/cli/progress.hpp"
#include "host/cli/session.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <optional>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {
    {.name = "MODEL",
     .help = "Folder, or owner/name in the local cache",
     .completes = Completes::folder}};
constexpr OptionRow kOptions[] = {
    {.name = "output",
     .short_name = 'o',
     .value = "DIR",
     .help = "Folder to make",
     .completes = Completes::folder},
    {.name = "resume", .help = "Go on with an interrupted conversion to the same folder"},
    {.name = "force", .help = "Replace the folder if it exists, forget an interrupted conversion"},
    {.name = "reference",
     .value = "KIND",
     .choices = "auto|bf16|uniform4",
     .default_value = "auto",
     .help = "What layers are compared with: the full weights, or a 4-bit copy where they are "
             "larger than the memory"},
    {.name = "sensitivity",
     .value = "KIND",
     .choices = "auto|exact|weight-error",
     .default_value = "auto",
     .help = "exact runs the model with each layer quantized; weight-error only looks at weights "
             "and the inputs they meet; auto is exact"},
    {.name = "encoder",
     .value = "NAME",
     .default_value = "exact",
     .help = "How codes are chosen: exact (MLX's own), refit (least squares, weighted by the "
             "calibration), search (for 2 and 3 bits)"},
    {.name = "compare-uniform",
     .help = "Also measure the model with all layers at each width"},
    {.name = "refine",
     .value = "SHARE",
     .default_value = "0.1",
     .help = "Measure swaps of widths for so much of the sweep's work; 0 = none"},
};
constexpr OptionRow kCalibrationOptions[] = {
    {.name = "calibration",
     .value = "FILE.jsonl",
     .help = "Rows {domain, text} or {domain, messages[, tools]}; a built-in mix where not given",
     .completes = Completes::file},
    {.name = "samples", .value = "N", .default_value = "24", .help = "Texts to measure over"},
    {.name = "sequence-length",
     .value = "N",
     .default_value = "256",
     .help = "Tokens of each text"},
    {.name = "positions",
     .value = "N",
     .default_value = "64",
     .help = "Tokens of each text whose predictions are compared; 0 = all"},
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions},
                                   {"Widths", kAllocationOptions},
                                   {"Calibration", kCalibrationOptions}};
constexpr Example kExamples[] = {
    {"convert model/ --target-bpw 4.5 -o model-4.5/", "Four bits where it does not hurt, eight "
                                                      "where it does"},
    {"convert model/ --candidate-bits 3,4,5,6,8 -o small/", "More widths to choose from"},
    {"convert model/ -o quick/ --samples 6 --sequence-length 64", "A quick look"}};

using Clock = std::chrono::steady_clock;

/// One line for whatever is going on.
class StageLine {
 public:
  bool update(std::string_view stage, std::uint64_t done, std::uint64_t total,
              std::string_view unit) {
    if (total > 0) {
      if (stage != stage_) {
        line_.reset();
        line_.emplace(std::string(stage), total, std::string(unit));
        stage_ = stage;
      }
      line_->update(done, total);
    }
    return interrupt_flag();
  }
  void clear() { line_.reset(); }

 private:
  std::string stage_;
  std::optional<ProgressLine> line_;
};

ConvertOptions convert_options(const Arguments& arguments) {
  ConvertOptions options;
  const AllocationRequest request = allocation_request(arguments);
  options.target_bpw = request.target_bpw;
  options.bits = request.widths.bits;
  options.group_size = request.widths.group_size;
  options.method = request.is_static ? ConvertMethod::by_rules : ConvertMethod::measured;
  options.is_optiq = request.is_optiq;
  options.rules = request.rules;
  const std::string reference = arguments.text("reference");
  options.reference = reference == "bf16"       ? ConvertReference::full
                      : reference == "uniform4" ? ConvertReference::uniform4
                                                : ConvertReference::automatic;
  if (arguments.text("sensitivity") == "weight-error") {
    options.sensitivity = ConvertSensitivity::weight_error;
  }
  options.positions = static_cast<int>(arguments.integer("positions", 0));
  options.refinement = arguments.number("refine", 0, 100);
  options.compares = arguments.flag("compare-uniform");
  options.resumes = arguments.flag("resume");
  options.replaces = arguments.flag("force");
  options.encoder_name = arguments.text("encoder");
  options.base_model = arguments.text("MODEL");
  return options;
}

std::vector<std::vector<std::int32_t>> calibration_texts(const Arguments& arguments,
                                                         const std::filesystem::path& folder,
                                                         bool is_optiq) {
  const auto rows = arguments.has("calibration")
                        ? read_calibration_rows(arguments.path("calibration"))
                        : builtin_calibration_rows();
  CalibrationOptions options;
  options.samples = static_cast<int>(arguments.integer("samples", 1));
  options.sequence_length = static_cast<int>(arguments.integer("sequence-length", 16));
  const CalibrationText text = CalibrationText::load_folder(folder);
  const CalibrationSamples samples = is_optiq ? sample_calibration_optiq(rows, text, options)
                                              : sample_calibration(rows, text, options);
  for (const std::string& warning : samples.warnings) warn(warning);
  std::vector<std::vector<std::int32_t>> texts;
  for (const CalibrationSample& sample : samples.samples) texts.push_back(sample.tokens);
  return texts;
}

nlohmann::ordered_json to_json(const Conversion& conversion, double seconds) {
  nlohmann::ordered_json json;
  json["layers"] = nlohmann::ordered_json::array();
  for (const ConvertedLayer& layer : conversion.layers) {
    nlohmann::ordered_json row = {{"name", layer.name},
                                  {"bits", layer.format.bits},
                                  {"group_size", layer.format.group_size},
                                  {"role", role_name(layer.role)},
                                  {"block", layer.block},
                                  {"kl", nlohmann::ordered_json::object()}};
    for (const auto& [bits, kl] : layer.kl) row["kl"][std::to_string(bits)] = kl;
    json["layers"].push_back(std::move(row));
  }
  json["reference"] = conversion.reference;
  json["bpw_true"] = conversion.bpw_true;
  json["bpw_linear"] = conversion.bpw_linear;
  json["bytes"] = conversion.bytes;
  json["source_bytes"] = conversion.source_bytes;
  json["kl_predicted"] = conversion.kl_predicted;
  json["kl_measured"] = conversion.kl_measured;
  json["perplexity"] = conversion.perplexity;
  if (!conversion.uniform.empty()) {
    json["source_perplexity"] = conversion.source_perplexity;
    json["uniform"] = nlohmann::ordered_json::array();
    for (const ModelScore& score : conversion.uniform) {
      json["uniform"].push_back({{"bits", score.bits},
                                 {"bytes", score.bytes},
                                 {"bpw_true", score.bpw_true},
                                 {"kl", score.kl},
                                 {"perplexity", score.perplexity}});
    }
    json["uniform_kl_at_bytes"] = uniform_kl_at(conversion.uniform, conversion.bytes);
  }
  json["swaps"] = {{"tried", conversion.swaps_tried}, {"kept", conversion.swaps_kept}};
  json["seconds"] = seconds;
  return json;
}

std::string layer_table(const Conversion& conversion, const std::vector<int>& widths) {
  std::size_t width = 5;
  for (const ConvertedLayer& layer : conversion.layers) {
    width = std::max(width, layer.name.size());
  }
  std::string text = fmt::format("{:<{}}  {:<13}  {:>13}", "layer", width, "role", "shape");
  for (const int bits : widths) text += fmt::format("  {:>9}", fmt::format("KL at {}", bits));
  text += "  bits\n";
  for (const ConvertedLayer& layer : conversion.layers) {
    text += fmt::format("{:<{}}  {:<13}  {:>13}", printable(layer.name), width,
                        role_name(layer.role), fmt::format("{} x {}", layer.rows, layer.columns));
    for (const int bits : widths) {
      const auto found = layer.kl.find(bits);
      text += found == layer.kl.end() ? fmt::format("  {:>9}", "-")
                                      : fmt::format("  {:>9.2e}", found->second);
    }
    text += layer.format.bits == kKeepBits ? "  kept\n" : fmt::format("  {:>4}\n", layer.format.bits);
  }
  return text;
}

std::string summary(const Conversion& conversion, const std::string& output, double seconds) {
  std::string text = fmt::format(
      "\n{}: {} of {}, {:.3f} bits a weight ({:.3f} of codes in the layers)\n",
      printable(output, 4096), bytes_text(conversion.bytes), bytes_text(conversion.source_bytes),
      conversion.bpw_true, conversion.bpw_linear);
  if (conversion.kl_measured != 0) {
    text += fmt::format("KL against {}: {:.3e} nats a token, {:.3e} by the sum of the layers\n",
                        conversion.reference == "bf16" ? "the full weights" : "a 4-bit copy",
                        conversion.kl_measured, conversion.kl_predicted);
  }
  for (const ModelScore& score : conversion.uniform) {
    text += fmt::format("all at {} bits: {}, {:.3f} bits a weight, KL {:.3e}, perplexity {:.3f}\n",
                        score.bits, bytes_text(score.bytes), score.bpw_true, score.kl,
                        score.perplexity);
  }
  if (!conversion.uniform.empty()) {
    text += fmt::format("this result: KL {:.2f} of a uniform one of its size, perplexity {:.3f}, "
                        "source {:.3f}\n",
                        conversion.kl_measured / uniform_kl_at(conversion.uniform, conversion.bytes),
                        conversion.perplexity, conversion.source_perplexity);
  }
  if (conversion.swaps_tried > 0) {
    text += fmt::format("{} swaps measured, {} kept\n", conversion.swaps_tried,
                        conversion.swaps_kept);
  }
  return text + fmt::format("{:.0f} s\n", seconds);
}

/// Converts; where rank 0 fails, or hears from another one that did, the whole job ends.
Conversion convert_together(const std::shared_ptr<const LoadedModel>& model,
                            const std::vector<std::vector<std::int32_t>>& texts,
                            const std::filesystem::path& out, const ConvertOptions& options,
                            const ConvertMeans& means, bool is_json) {
  if (means.ranks == nullptr || means.ranks->rank() != 0) {
    return convert(model, texts, out, options, means);
  }
  try {
    return convert(model, texts, out, options, means);
  } catch (...) {
    means.ranks->end_all(report_current_exception(is_json));
    throw;
  }
}

int run(const Arguments& arguments) {
  if (!arguments.has("output")) {
    throw Error(ErrorCode::usage, "--output is missing", "convert", "say where to write");
  }
  const auto start = Clock::now();
  const ConvertOptions options = convert_options(arguments);
  const auto folder = find_model_folder(arguments.text("MODEL"));
  Session session(arguments);
  const auto model = session.load(folder);
  const auto scheme = session.scheme("affine");
  const NamedEncoder encoder(*scheme, options.encoder_name);
  std::vector<std::vector<std::int32_t>> texts;
  if (options.method == ConvertMethod::measured || encoder.uses_importance()) {
    texts = calibration_texts(arguments, folder, options.is_optiq);
  }
  const auto ranks = open_ranks();
  const bool is_root = ranks == nullptr || ranks->rank() == 0;
  StageLine line;
  ConvertMeans means{{scheme, [&](auto... what) { encoder.encode(what...); }},
                     encoder.uses_importance(),
                     session.kv_strategy(NamedOptions{.name = "f32", .options = ""}),
                     session.threads(),
                     ranks.get(),
                     [&](std::string_view stage, std::uint64_t done, std::uint64_t total,
                         std::string_view unit) {
                       return is_root ? line.update(stage, done, total, unit)
                                      : interrupt_flag().load();
                     },
                     [&](const std::filesystem::path& written) { return session.load(written); }};
  const Conversion conversion =
      convert_together(model, texts, arguments.path("output"), options, means,
                       arguments.flag("json"));
  line.clear();
  if (!is_root) return 0;
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  for (const std::string& warning : conversion.warnings) warn(warning);
  if (arguments.flag("json")) {
    print_json(to_json(conversion, seconds));
  } else {
    print(layer_table(conversion, options.bits) +
          summary(conversion, arguments.text("output"), seconds));
  }
  return 0;
}

constexpr Command kCommand = {
    .name = "convert",
    .summary = "Quantizes a model, with the most bits where they matter most",
    .description =
        "Measures for every layer how far the model's predictions move (KL divergence, in nats a "
        "token) when that layer alone is quantized, chooses widths with the least sum within the "
        "target, and writes a folder that loads here and in MLX. The target counts everything "
        "that is written.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& convert_command() {
  return kCommand;
}

}  // namespace quiver::cli
