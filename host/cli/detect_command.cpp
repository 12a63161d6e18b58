// quiver detect: finds objects in pictures.
#include "core/detect/detect_picture.hpp"
#include "core/detect/draw_detections.hpp"
#include "core/detect/labelled_pictures.hpp"
#include "core/image/read_picture.hpp"
#include "core/image/write_png.hpp"
#include "core/model/stored_matrix.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/safetensors.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/detector_session.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/progress.hpp"
#include "host/cli/session.hpp"

#include <fmt/format.h>
#include <glob.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>
#include <set>

namespace quiver::cli {
namespace {

namespace fs = std::filesystem;

constexpr PositionalRow kPositionals[] = {
    {.name = "MODEL",
     .help = "Folder, or owner/name in the local cache",
     .completes = Completes::folder},
    {.name = "IMAGE",
     .help = "Pictures (JPEG, PNG, WebP), folders of them, patterns, or a safetensors file with "
             "`input` [height, width, 3] that is letterboxed already",
     .is_repeatable = true,
     .completes = Completes::file}};
constexpr OptionRow kOptions[] = {
    {.name = "score",
     .value = "X",
     .default_value = "0.25",
     .help = "Only what the model is surer of than this"},
    {.name = "max", .value = "N", .default_value = "300", .help = "Boxes a picture at most"},
    {.name = "save",
     .value = "DIR",
     .help = "Write the pictures there, with boxes and labels",
     .completes = Completes::folder},
    kPictureSideOption,
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {
    {"detect model/ photo.jpg", "What is on a photo, and where"},
    {"detect model/ photos/ --save marked/ --json", "A folder, with pictures to look at"}};

using Json = nlohmann::ordered_json;

std::vector<fs::path> expand_pattern(const std::string& pattern) {
  std::vector<fs::path> paths;
  glob_t found{};
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (std::size_t i = 0; i < found.gl_pathc; ++i) paths.emplace_back(found.gl_pathv[i]);
  }
  ::globfree(&found);
  return paths;
}

std::vector<fs::path> expand_inputs(const std::vector<std::string>& inputs) {
  std::vector<fs::path> paths;
  for (const std::string& input : inputs) {
    std::error_code failure;
    std::vector<fs::path> found{input};
    if (fs::is_directory(input, failure)) {
      found = pictures_in(input);
    } else if (!fs::exists(input, failure) && input.find_first_of("*?[") != std::string::npos) {
      found = expand_pattern(input);
    }
    if (found.empty()) {
      throw Error(ErrorCode::bad_input, "there are no pictures", printable(input, 4096),
                  "name files, a folder of JPEG, PNG or WebP files, or a pattern");
    }
    paths.insert(paths.end(), found.begin(), found.end());
  }
  return paths;
}

/// What was found on one picture.
struct Found {
  PictureSize size;
  std::vector<Detection> detections;
};

/// A tensor that is a detector's input already; its boxes are in its own pixels.
Found detect_tensor(DetectorRun& detector, const fs::path& path, const DetectOptions& options) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const TensorView& input = file.at("input");
  const bool fits = input.dtype == DType::f32 && input.shape.size() == 3 && input.shape[2] == 3 &&
                    input.shape[0] > 0 && input.shape[1] > 0 && input.shape[0] <= kMostSide &&
                    input.shape[1] <= kMostSide;
  if (!fits) {
    throw Error(ErrorCode::bad_input, "`input` is not [height, width, 3] of float32",
                printable(path.native(), 4096), "store red, green and blue from 0 to 1");
  }
  std::vector<float> values(static_cast<std::size_t>(input.elements()));
  decode_floats(input.dtype, input.data.data(), values.size(), values.data());
  const PictureView view{values, static_cast<int>(input.shape[0]),
                         static_cast<int>(input.shape[1])};
  Found found{{view.width, view.height}, best_detections(detector.run(view), options.most)};
  std::erase_if(found.detections, [&](const Detection& d) { return !(d.score > options.score); });
  return found;
}

class Detecting {
 public:
  Detecting(const Arguments& arguments, DetectorRun& detector)
      : detector_(detector), names_(class_names(detector)) {
    options_.score = static_cast<float>(arguments.number("score", 0, 1));
    options_.most = static_cast<int>(arguments.integer("max", 1));
    options_.side = picture_side(arguments, detector.info());
    if (!arguments.has("save")) return;
    folder_ = arguments.path("save");
    fs::create_directories(*folder_);
  }

  Found run(const fs::path& path) {
    if (path.extension() == ".safetensors") return detect_tensor(detector_, path, options_);
    Picture picture = read_picture(path);
    Found found{picture.size(), detect_picture(detector_, picture, options_)};
    if (folder_) {
      draw_detections(picture, found.detections, names_);
      write_png(*folder_ / free_name(path.stem().string()), picture);
    }
    return found;
  }

  Json json(const Found& found) const {
    Json list = Json::array();
    for (const Detection& d : found.detections) {
      list.push_back({{"label", names_[static_cast<std::size_t>(d.class_id)]},
                      {"class_id", d.class_id},
                      {"score", d.score},
                      {"box", {d.box.x1, d.box.y1, d.box.x2, d.box.y2}}});
    }
    return list;
  }

  std::string text(const fs::path& path, const Found& found) const {
    std::string text = fmt::format("{}: {} x {}, {} found\n", printable(path.native(), 4096),
                                   found.size.width, found.size.height, found.detections.size());
    for (const Detection& d : found.detections) {
      text += fmt::format("  {:<16} {:.3f}  {:8.1f} {:8.1f} {:8.1f} {:8.1f}\n",
                          printable(names_[static_cast<std::size_t>(d.class_id)]), d.score,
                          d.box.x1, d.box.y1, d.box.x2, d.box.y2);
    }
    return text;
  }

 private:
  /// Pictures of one name from several folders must not cover each other.
  std::string free_name(const std::string& stem) {
    std::string name = stem + ".png";
    for (int i = 2; !taken_.insert(name).second; ++i) name = fmt::format("{}-{}.png", stem, i);
    return name;
  }

  DetectorRun& detector_;
  std::vector<std::string> names_;
  DetectOptions options_;
  std::optional<fs::path> folder_;
  std::set<std::string> taken_;
};

int run(const Arguments& arguments) {
  Session session(arguments);
  const std::vector<fs::path> paths = expand_inputs(arguments.texts("IMAGE"));
  DetectorRun detector = open_detector(session, arguments);
  Detecting detecting(arguments, detector);
  const bool is_json = arguments.flag("json");
  Json images = Json::array();
  int status = 0;
  ProgressLine progress("detecting", paths.size(), "pictures");
  for (std::size_t i = 0; i < paths.size(); ++i) {
    throw_if_interrupted();
    Json entry{{"path", paths[i].string()}};
    try {
      const Found found = detecting.run(paths[i]);
      entry["width"] = found.size.width;
      entry["height"] = found.size.height;
      entry["detections"] = detecting.json(found);
      if (!is_json) {
        progress.clear();
        print(detecting.text(paths[i], found));
      }
    } catch (const Error& error) {
      // One bad file among many does not keep the others from being looked at.
      if (paths.size() == 1 || error.code() != ErrorCode::bad_input) throw;
      warn(error.what());
      entry["error"] = error.what();
      status = static_cast<int>(error.code());
    }
    images.push_back(std::move(entry));
    progress.update(i + 1);
  }
  progress.clear();
  if (is_json) print_json({{"images", std::move(images)}});
  return status;
}

constexpr Command kCommand = {
    .name = "detect",
    .summary = "Finds objects in pictures",
    .description =
        "Fits each picture into the model's size, and maps the boxes back to the picture's own "
        "pixels. With several pictures one that cannot be read is reported, the others are "
        "looked at, and the exit code says so.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& detect_command() {
  return kCommand;
}

}  // namespace quiver::cli
