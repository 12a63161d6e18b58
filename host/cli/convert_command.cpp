// quiver convert: measures a model, chooses widths, and writes the quantized folder.
#include "core/quantize/convert.hpp"
#include "core/quantize/named_encoder.hpp"
#include "core/quantize/report_page.hpp"
#include "core/tensor/atomic_file.hpp"
#include "core/tensor/printable.hpp"
#include "host/cli/allocation_options.hpp"
#include "host/cli/calibration_texts.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/conversion_report.hpp"
#include "host/cli/detector_conversion.hpp"
#include "host/cli/encoder_option.hpp"
#include "host/cli/gguf_source.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/job_ranks.hpp"
#include "host/cli/model_location.hpp"
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
     .help = "Folder, GGUF file, or owner/name in the local cache",
     .completes = Completes::file}};
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
    kEncoderOption,
    {.name = "report", .help = "Write report.html into the folder: what was measured and chosen"},
    {.name = "keep-unused-modalities",
     .help = "Keep tensors for images and sound that are not run here, in a file of their own"},
    {.name = "strip-unused-modalities",
     .help = "Leave them out without a warning, and what config.json says of them too"},
    {.name = "compare-uniform", .help = "Also measure the model with all layers at each width"},
    {.name = "refine",
     .value = "SHARE",
     .default_value = "0.1",
     .help = "Measure swaps of widths for so much of the sweep's work; 0 = none"},
};
constexpr OptionRow kCalibrationOptions[] = {
    kCalibrationOption,
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
constexpr OptionGroup kGroups[] = {
    {"Options", kOptions}, {"Widths", kAllocationOptions}, {"Calibration", kCalibrationOptions}};
constexpr Example kExamples[] = {
    {"convert model/ --target-bpw 4.5 -o model-4.5/",
     "Four bits where it does not hurt, eight "
     "where it does"},
    {"convert model/ --candidate-bits 3,4,5,6,8 -o small/", "More widths to choose from"},
    {"convert model.gguf -o model-5/", "The weights of a GGUF file, as floats, quantized anew"},
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

UnusedModalities unused_modalities(const Arguments& arguments) {
  const bool keeps = arguments.flag("keep-unused-modalities");
  const bool strips = arguments.flag("strip-unused-modalities");
  if (keeps && strips) {
    throw Error(ErrorCode::usage, "tensors cannot be both kept and left out",
                "--keep-unused-modalities, --strip-unused-modalities", "leave one of them out");
  }
  return keeps    ? UnusedModalities::kept
         : strips ? UnusedModalities::stripped
                  : UnusedModalities::left_out;
}

ConvertOptions convert_options(const Arguments& arguments) {
  ConvertOptions options;
  const AllocationRequest request = read_allocation_request(arguments);
  options.target_bpw = request.target_bpw;
  options.bits = request.widths.bits;
  options.group_size = request.widths.group_size;
  options.method = request.is_static ? ConvertMethod::by_rules : ConvertMethod::measured;
  options.is_optiq = request.is_compat;
  options.rules = request.rules;
  const std::string reference = arguments.text("reference");
  options.reference = reference == "bf16"       ? ConvertReference::full
                      : reference == "uniform4" ? ConvertReference::uniform4
                                                : ConvertReference::automatic;
  if (arguments.text("sensitivity") == "weight-error") {
    options.sensitivity = ConvertSensitivity::weight_error;
  }
  options.modalities = unused_modalities(arguments);
  options.positions = static_cast<int>(arguments.integer("positions", 0));
  options.refinement = arguments.number("refine", 0, 100);
  options.compares = arguments.flag("compare-uniform") || arguments.flag("report");
  options.resumes = arguments.flag("resume");
  options.replaces = arguments.flag("force");
  options.encoder_name = arguments.text("encoder");
  options.base_model = arguments.text("MODEL");
  return options;
}

/// Converts; an interruption says how to go on.
Conversion convert_or_tell(const std::shared_ptr<const LoadedModel>& model,
                           const std::vector<std::vector<std::int32_t>>& texts,
                           const std::filesystem::path& out, const ConvertOptions& options,
                           const ConvertMeans& means) {
  try {
    return convert(model, texts, out, options, means);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::interrupted) throw;
    throw Error(ErrorCode::interrupted, "interrupted", printable(out.native(), 4096),
                "the same command with --resume goes on");
  }
}

void write_report(const Arguments& arguments, const ConvertOptions& options,
                  const Conversion& conversion, double seconds) {
  ReportData data;
  data.model = arguments.text("MODEL");
  data.output = arguments.text("output");
  data.made_by = "quiver " QUIVER_VERSION;
  data.conversion = conversion;
  for (const ConvertedLayer& layer : conversion.layers) data.layer_bytes.push_back(layer.bytes);
  data.target_bpw = options.target_bpw;
  data.seconds = seconds;
  data.source_perplexity = conversion.source_perplexity;
  data.perplexity = conversion.perplexity;
  for (const ModelScore& score : conversion.uniform) {
    data.rivals.push_back({fmt::format("all at {} bits", score.bits), score.bytes, score.bpw_true,
                           score.kl, score.perplexity});
  }
  const std::string page = report_page(data);
  write_file(arguments.path("output") / "report.html", std::as_bytes(std::span(page)));
}

/// The folder that is converted: the user's, or one that a GGUF file is unpacked into.
class ConvertSource {
 public:
  ConvertSource(Ranks* ranks, const Arguments& arguments, const PluginRegistry& registry,
                StageLine& line)
      : folder_(find_model(arguments.text("MODEL"))) {
    if (std::filesystem::is_directory(folder_)) return;
    if (ranks == nullptr || ranks->rank() == 0) {
      const auto out = arguments.path("output");
      StagingFolder(out, arguments.flag("force"));  // a place that cannot be written fails now
      unpacked_.emplace(folder_, out, registry, [&](std::uint64_t done, std::uint64_t total) {
        constexpr std::uint64_t kMegabyte = 1'000'000;
        return !line.update("importing", done / kMegabyte, total / kMegabyte, "MB");
      });
      folder_ = std::filesystem::absolute(unpacked_->folder());
    }
    if (ranks != nullptr) folder_ = ranks->broadcast(folder_.string());
  }

  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
  std::optional<UnpackedGguf> unpacked_;
};

int convert_as(Ranks* ranks, const Arguments& arguments) {
  if (!arguments.has("output")) {
    throw Error(ErrorCode::usage, "--output is missing", "convert", "say where to write");
  }
  const auto start = Clock::now();
  const ConvertOptions options = convert_options(arguments);
  Session session(arguments);
  StageLine line;
  const ConvertSource source(ranks, arguments, session.registry(), line);
  const auto& folder = source.folder();
  const auto model = session.load(folder);
#if QUIVER_IMAGES
  if (is_detector(*model)) {
    line.clear();
    return ranks == nullptr || ranks->rank() == 0 ? convert_detector_as(arguments, session, model)
                                                  : 0;
  }
#endif
  const auto scheme = session.scheme("affine");
  const NamedEncoder encoder(*scheme, options.encoder_name);
  // The package that --compat names measures with the plain encoder, and searches ranges for what
  // it writes in at most 3 bits.
  const NamedEncoder search(*scheme, options.is_optiq ? "search" : "exact");
  RowEncoder writer;
  if (options.is_optiq && !arguments.has("encoder")) {
    writer = [&](auto weights, auto rows, auto columns, const QuantFormat& format, auto... rest) {
      const NamedEncoder& chosen = format.bits <= 3 ? search : encoder;
      chosen.encode(weights, rows, columns, format, rest...);
    };
  }
  std::vector<std::vector<std::int32_t>> texts;
  if (options.method == ConvertMethod::measured || encoder.uses_importance()) {
    texts = calibration_texts(arguments, folder, options.is_optiq);
  }
  const bool is_root = ranks == nullptr || ranks->rank() == 0;
  const ConvertMeans means{
      {scheme, [&](auto... what) { encoder.encode(what...); }},
      writer,
      encoder.uses_importance(),
      session.kv_strategy(NamedOptions{.name = "f32", .options = ""}),
      session.threads(),
      ranks,
      [&](std::string_view stage, std::uint64_t done, std::uint64_t total, std::string_view unit) {
        return is_root ? line.update(stage, done, total, unit) : interrupt_flag().load();
      },
      [&](const std::filesystem::path& written) { return session.load(written); }};
  const Conversion conversion =
      convert_or_tell(model, texts, arguments.path("output"), options, means);
  line.clear();
  if (ranks != nullptr) ranks->wait_for_all();  // others may be reading what was unpacked here
  if (!is_root) return 0;
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  for (const std::string& warning : conversion.warnings) warn(warning);
  if (arguments.flag("report")) write_report(arguments, options, conversion, seconds);
  if (arguments.flag("json")) {
    print_json(conversion_json(conversion, seconds));
  } else {
    print(conversion_table(conversion, options.bits) +
          conversion_summary(conversion, arguments.text("output"), seconds));
  }
  return 0;
}

int run(const Arguments& arguments) {
  const auto ranks = open_ranks();
  if (ranks == nullptr) return convert_as(nullptr, arguments);
  if (ranks->rank() != 0) set_quiet(true);  // rank 0 has the same warnings
  try {
    return convert_as(ranks.get(), arguments);
  } catch (...) {
    end_job(*ranks, arguments.flag("json"));
    throw;
  }
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
