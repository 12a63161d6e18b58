// quiver convert on a detector.
#include "host/cli/detector_conversion.hpp"

#include "core/detect/detect_picture.hpp"
#include "core/detect/labelled_pictures.hpp"
#include "core/image/read_picture.hpp"
#include "core/quantize/convert_detector.hpp"
#include "core/quantize/named_encoder.hpp"
#include "host/cli/allocation_options.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/conversion_report.hpp"
#include "host/cli/detector_session.hpp"
#include "host/cli/encoder_option.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/model_location.hpp"
#include "host/cli/progress.hpp"

#include <quiver/error.hpp>

#include <nlohmann/json.hpp>

#include <chrono>
#include <optional>

namespace quiver::cli {
namespace {

using Clock = std::chrono::steady_clock;

/// Evenly spread over the folder, so that few pictures stand for all of it.
std::vector<CalibrationPicture> calibration_pictures(const Arguments& arguments,
                                                     const DetectorInfo& info) {
  std::vector<CalibrationPicture> pictures;
  if (!arguments.has("calibration")) return pictures;
  const std::filesystem::path source = arguments.path("calibration");
  std::vector<std::filesystem::path> paths{source};
  if (std::filesystem::is_directory(source)) {
    const auto images = source / "images";
    paths = pictures_in(std::filesystem::is_directory(images) ? images : source);
  }
  const auto samples = static_cast<std::size_t>(arguments.integer("samples", 1));
  const std::size_t count = std::min(samples, paths.size());
  for (std::size_t i = 0; i < count; ++i) {
    throw_if_interrupted();
    const Picture picture = read_picture(paths[i * paths.size() / count]);
    PreparedPicture prepared = prepare_picture(picture, info, info.input_size);
    const PictureSize size = prepared.place.size();
    pictures.push_back({std::move(prepared.values), size.height, size.width});
  }
  return pictures;
}

ConvertOptions detector_options(const Arguments& arguments) {
  const AllocationRequest request = read_allocation_request(arguments);
  ConvertOptions options;
  options.target_bpw = request.target_bpw;
  options.bits = request.widths.bits;
  options.group_size = request.widths.group_size;
  options.method = request.is_static ? ConvertMethod::by_rules : ConvertMethod::measured;
  options.is_optiq = request.is_compat;
  options.rules = request.rules;
  if (arguments.text("sensitivity") == "weight-error") {
    options.sensitivity = ConvertSensitivity::weight_error;
  }
  options.replaces = arguments.flag("force");
  options.encoder_name = arguments.text("encoder");
  return options;
}

/// Options of the command that do nothing for a detector must not be taken in silence.
void refuse_text_options(const Arguments& arguments) {
#if QUIVER_TEXT
  for (const char* option :
       {"resume", "report", "reference", "positions", "sequence-length", "refine",
        "compare-uniform", "keep-unused-modalities", "strip-unused-modalities"}) {
    if (!arguments.has(option)) continue;
    throw Error(ErrorCode::usage, "--" + std::string(option) + " does nothing for a detector",
                "convert", "leave it out");
  }
#else
  static_cast<void>(arguments);
#endif
}

}  // namespace

bool is_detector(const LoadedModel& model) {
  return model.model().extension(Detector::kInterfaceId) != nullptr;
}

int convert_detector_as(const Arguments& arguments, Session& session,
                        const std::shared_ptr<const LoadedModel>& model) {
  refuse_text_options(arguments);
  const auto start = Clock::now();
  const ConvertOptions options = detector_options(arguments);
  const auto pictures = calibration_pictures(arguments, detector_of(*model).info());
  const auto scheme = session.scheme("affine");
  const NamedEncoder encoder(*scheme, options.encoder_name);
  std::optional<ProgressLine> line;
  std::string stage_shown;
  const ConvertMeans means{
      .encoder = {scheme, [&](auto... what) { encoder.encode(what...); }},
      .writer = {},
      .kv = nullptr,
      .threads = session.threads(),
      .progress =
          [&](std::string_view stage, std::uint64_t done, std::uint64_t total,
              std::string_view unit) {
            if (stage != stage_shown) {
              line.reset();
              line.emplace(std::string(stage), total, std::string(unit));
              stage_shown = stage;
            }
            line->update(done, total);
            return interrupt_flag().load();
          },
      .load = [&](const std::filesystem::path& written) { return session.load(written); }};
  const Conversion conversion =
      convert_detector(model, pictures, arguments.path("output"), options, means);
  line.reset();
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (arguments.flag("json")) {
    print_json(conversion_json(conversion, seconds));
  } else {
    print(conversion_table(conversion, options.bits) +
          conversion_summary(conversion, arguments.text("output"), seconds, ""));
  }
  return 0;
}

#if !QUIVER_TEXT
namespace {

constexpr PositionalRow kPositionals[] = {{.name = "MODEL",
                                           .help = "Folder, or owner/name in the local cache",
                                           .completes = Completes::folder}};
constexpr OptionRow kOptions[] = {
    {.name = "output",
     .short_name = 'o',
     .value = "DIR",
     .help = "Folder to make",
     .completes = Completes::folder},
    {.name = "force", .help = "Replace the folder if it exists"},
    {.name = "sensitivity",
     .value = "KIND",
     .choices = "auto|exact|weight-error",
     .default_value = "auto",
     .help = "exact runs the model with each kernel quantized; weight-error only looks at weights; "
             "auto is exact"},
    kEncoderOption,
    {.name = "calibration",
     .value = "DIR",
     .help = "Folder of pictures to measure over",
     .completes = Completes::folder},
    {.name = "samples", .value = "N", .default_value = "24", .help = "Pictures to measure over"},
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}, {"Widths", kAllocationOptions}};

int run(const Arguments& arguments) {
  if (!arguments.has("output")) {
    throw Error(ErrorCode::usage, "--output is missing", "convert", "say where to write");
  }
  Session session(arguments);
  return convert_detector_as(arguments, session, session.load(find_model(arguments.text("MODEL"))));
}

constexpr Command kCommand = {
    .name = "convert",
    .summary = "Quantizes a model, with the most bits where they matter most",
    .description =
        "Measures for every convolution how far the detections on the calibration pictures move "
        "when it alone is quantized, chooses widths with the least sum within the target, and "
        "writes a folder. The target counts everything that is written.",
    .positionals = kPositionals,
    .groups = kGroups,
    .run = run};

}  // namespace

const Command& convert_command() {
  return kCommand;
}
#endif

}  // namespace quiver::cli
