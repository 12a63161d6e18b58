// quiver convert: measures a model, chooses widths, and writes the quantized folder.
#include "core/model/staging_folder.hpp"
#include "core/quantize/ranks.hpp"
#include "host/cli/allocation_options.hpp"
#include "host/cli/calibration_texts.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/conversion.hpp"
#include "host/cli/encoder_option.hpp"
#include "host/cli/gguf_source.hpp"
#include "host/cli/job_ranks.hpp"
#include "host/cli/model_location.hpp"
#if QUIVER_IMAGES
#include "host/cli/detector_conversion.hpp"
#endif
#if QUIVER_TEXT
#include "host/cli/text_conversion.hpp"
#endif

#include <quiver/error.hpp>

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
    {.name = "sensitivity",
     .value = "KIND",
     .choices = "auto|exact|weight-error",
     .default_value = "auto",
     .help = "exact runs the model with each layer quantized; weight-error only looks at weights "
             "and the inputs they meet; auto is exact"},
    kEncoderOption,
    {.name = "report", .help = "Write report.html into the folder: what was measured and chosen"},
    {.name = "compare-uniform", .help = "Also measure the model with all layers at each width"},
#if QUIVER_TEXT
    {.name = "reference",
     .value = "KIND",
     .choices = "auto|bf16|uniform4",
     .default_value = "auto",
     .help = "What layers are compared with: the full weights, or a 4-bit copy where they are "
             "larger than the memory"},
    {.name = "keep-unused-modalities",
     .help = "Keep tensors for images and sound that are not run here, in a file of their own"},
    {.name = "strip-unused-modalities",
     .help = "Leave them out without a warning, and what config.json says of them too"},
    {.name = "refine",
     .value = "SHARE",
     .default_value = "0.1",
     .help = "Measure swaps of widths for so much of the sweep's work; 0 = none"},
#endif
};
constexpr OptionRow kCalibrationOptions[] = {
    kCalibrationOption,
    {.name = "samples",
     .value = "N",
     .default_value = "24",
     .help = "Texts, or pictures, to measure over"},
#if QUIVER_TEXT
    {.name = "sequence-length",
     .value = "N",
     .default_value = "256",
     .help = "Tokens of each text"},
    {.name = "positions",
     .value = "N",
     .default_value = "64",
     .help = "Tokens of each text whose predictions are compared; 0 = all"},
#endif
};
constexpr OptionGroup kGroups[] = {
    {"Options", kOptions}, {"Widths", kAllocationOptions}, {"Calibration", kCalibrationOptions}};
constexpr Example kExamples[] = {
    {"convert model/ --target-bpw 4.5 -o model-4.5/",
     "Four bits where it does not hurt, eight "
     "where it does"},
    {"convert model/ --candidate-bits 3,4,5,6,8 -o small/", "More widths to choose from"},
#if QUIVER_IMAGES
    {"convert detector/ --calibration photos/ -o detector-5/",
     "A detector, measured on pictures of the kind that it will see"},
#endif
#if QUIVER_TEXT
    {"convert model.gguf -o model-5/", "The weights of a GGUF file, as floats, quantized anew"},
    {"convert model/ -o quick/ --samples 6 --sequence-length 64", "A quick look"},
#endif
};

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
  const auto start = std::chrono::steady_clock::now();
  const ConvertOptions options = convert_options(arguments);
  Session session(arguments);
  StageLine line;
  const ConvertSource source(ranks, arguments, session.registry(), line);
  const auto model = session.load(source.folder());
  const ConversionRun run{arguments, options, session, ranks, line, start};
#if QUIVER_IMAGES
  if (is_detector(*model)) {
    convert_detector_model(run, model);
    return 0;
  }
#endif
#if QUIVER_TEXT
  convert_text_model(run, source.folder(), model);
  return 0;
#else
  throw Error(ErrorCode::usage, "the model does not detect objects", arguments.text("MODEL"),
              "this program was built without models of texts");
#endif
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
        "token; of a detector, of its classes and boxes) when that layer alone is quantized, "
        "chooses widths with the least sum within the target, and writes a folder that loads here "
        "and in MLX. The target counts everything that is written.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& convert_command() {
  return kCommand;
}

}  // namespace quiver::cli
