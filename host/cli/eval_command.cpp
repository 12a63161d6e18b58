// quiver eval: how well a model does a task.
#include "core/detect/average_precision.hpp"
#include "core/detect/detect_picture.hpp"
#include "core/detect/labelled_pictures.hpp"
#include "core/image/read_picture.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/detector_session.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/progress.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace quiver::cli {
namespace {

// Precision is averaged over all recalls, so nearly all predictions count.
constexpr float kLeastScore = 0.001F;

constexpr PositionalRow kPositionals[] = {{.name = "MODEL",
                                           .help = "Folder, or owner/name in the local cache",
                                           .completes = Completes::folder}};
constexpr OptionRow kOptions[] = {
    {.name = "task", .value = "TASK", .choices = "detect", .help = "What to measure"},
    {.name = "data",
     .value = "PATH",
     .help = "Pictures and labels: a folder with images/ and text labels in labels/, or a "
             "COCO JSON file",
     .completes = Completes::file},
    {.name = "max", .value = "N", .default_value = "300", .help = "Boxes a picture at most"},
    kPictureSideOption,
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {
    {"eval model/ --task detect --data shapes/", "Mean average precision of a detector"}};

using Json = nlohmann::ordered_json;

void require(const Arguments& arguments, const char* option) {
  if (arguments.has(option)) return;
  throw Error(ErrorCode::usage, fmt::format("--{} is missing", option), "eval",
              "'quiver eval --help' lists what there is");
}

std::vector<LabelledDetections> look_at(const Arguments& arguments, DetectorRun& detector,
                                        const std::vector<LabelledPicture>& pictures) {
  DetectOptions options;
  options.score = kLeastScore;
  options.most = static_cast<int>(arguments.integer("max", 1));
  options.side = picture_side(arguments, detector.info());
  std::vector<LabelledDetections> results;
  ProgressLine progress("detecting", pictures.size(), "pictures");
  for (const LabelledPicture& labelled : pictures) {
    throw_if_interrupted();
    const Picture picture = read_picture(labelled.path);
    results.push_back({labelled.boxes(picture.size()), detect_picture(detector, picture, options)});
    progress.update(results.size());
  }
  return results;
}

int run(const Arguments& arguments) {
  require(arguments, "task");
  require(arguments, "data");
  Session session(arguments);
  DetectorRun detector = open_detector(session, arguments);
  const std::vector<std::string> names = class_names(detector);
  const auto pictures = read_labelled_pictures(arguments.path("data"), names);
  const AveragePrecision score =
      average_precision(look_at(arguments, detector, pictures), static_cast<int>(names.size()));
  Json classes = Json::array();
  std::string table;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (score.class50[i] < 0) continue;
    classes.push_back({{"label", names[i]}, {"ap50", score.class50[i]}});
    table += fmt::format("  {:<16} AP50 {:.4f}\n", names[i], score.class50[i]);
  }
  if (arguments.flag("json")) {
    print_json({{"task", "detect"},
                {"score", score.at50_95},
                {"map50", score.at50},
                {"map75", score.at75},
                {"map50_95", score.at50_95},
                {"pictures", pictures.size()},
                {"objects", score.objects},
                {"classes", std::move(classes)}});
  } else {
    print(fmt::format("{} pictures, {} objects: mAP50 {:.4f}, mAP75 {:.4f}, mAP50-95 {:.4f}\n{}",
                      pictures.size(), score.objects, score.at50, score.at75, score.at50_95,
                      table));
  }
  return 0;
}

constexpr Command kCommand = {
    .name = "eval",
    .summary = "Measures how well a model does a task",
    .description =
        "detect: mean average precision over classes at an overlap of 0.5, and over overlaps from "
        "0.5 to 0.95, as COCO defines it, of all boxes with a score above 0.001.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& eval_command() {
  return kCommand;
}

}  // namespace quiver::cli
