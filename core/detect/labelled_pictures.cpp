// Pictures with the objects on them: folders with labels in text files.
#include "core/detect/labelled_pictures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <quiver/error.hpp>
#include <sstream>

#include "core/model/json_file.hpp"
#include "core/tensor/printable.hpp"

namespace quiver {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLabelLimit = 16U << 20U;

Error bad_label(const fs::path& file, int line, const std::string& what) {
  return Error(ErrorCode::bad_input, what,
               fmt::format("{}, line {}", printable(file.native(), 4096), line),
               "a line is: class centre_x centre_y width height, the last four from 0 to 1");
}

std::vector<TrueBox> read_labels(const fs::path& file, int classes) {
  std::vector<TrueBox> boxes;
  if (!fs::exists(file)) return boxes;
  std::istringstream text(read_small_file(file, kLabelLimit));
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    std::istringstream words(line);
    double values[5];
    for (double& value : values) {
      if (!(words >> value) || !std::isfinite(value)) {
        throw bad_label(file, number, "not five numbers");
      }
    }
    std::string rest;
    if (words >> rest) throw bad_label(file, number, "more than five numbers");
    const double class_id = values[0];
    if (class_id != std::floor(class_id) || class_id < 0 || class_id >= classes) {
      throw bad_label(file, number,
                      fmt::format("class {} where the model has {} classes", class_id, classes));
    }
    for (int i = 1; i < 5; ++i) {
      if (values[i] < 0 || values[i] > 1) throw bad_label(file, number, "a share outside 0 to 1");
    }
    const Box box{static_cast<float>(values[1] - values[3] / 2),
                  static_cast<float>(values[2] - values[4] / 2),
                  static_cast<float>(values[1] + values[3] / 2),
                  static_cast<float>(values[2] + values[4] / 2)};
    boxes.push_back({box, static_cast<int>(class_id), false});
  }
  return boxes;
}

/// The only JSON file of a folder that holds "annotations".
fs::path coco_file(const fs::path& folder) {
  fs::path found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    std::string text = read_small_file(entry.path(), std::size_t{1} << 30U);
    if (text.find("\"annotations\"") == std::string::npos) continue;
    if (!found.empty()) {
      throw Error(ErrorCode::bad_input, "two files could be the labels",
                  printable(folder.native(), 4096), "name one of them");
    }
    found = entry.path();
  }
  return found;
}

}  // namespace

std::vector<TrueBox> LabelledPicture::boxes(PictureSize size) const {
  std::vector<TrueBox> result = truth;
  if (!is_relative) return result;
  for (TrueBox& object : result) {
    object.box.x1 *= static_cast<float>(size.width);
    object.box.x2 *= static_cast<float>(size.width);
    object.box.y1 *= static_cast<float>(size.height);
    object.box.y2 *= static_cast<float>(size.height);
  }
  return result;
}

bool is_picture_name(const fs::path& path) {
  std::string suffix = path.extension().string();
  std::ranges::transform(suffix, suffix.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  });
  return suffix == ".jpg" || suffix == ".jpeg" || suffix == ".png" || suffix == ".webp";
}

std::vector<fs::path> pictures_in(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && is_picture_name(entry.path())) paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

std::vector<LabelledPicture> read_labelled_pictures(const fs::path& data,
                                                    const std::vector<std::string>& classes) {
  const std::string where = printable(data.native(), 4096);
  if (!fs::exists(data)) {
    throw Error(ErrorCode::bad_input, "there is no such file or folder", where, "check the path");
  }
  if (!fs::is_directory(data)) return read_coco(data, classes);
  if (const fs::path file = coco_file(data); !file.empty()) return read_coco(file, classes);
  const fs::path images = fs::is_directory(data / "images") ? data / "images" : data;
  const fs::path labels = fs::is_directory(data / "labels") ? data / "labels" : images;
  std::vector<LabelledPicture> pictures;
  bool has_labels = false;
  for (const fs::path& path : pictures_in(images)) {
    const fs::path file = labels / path.stem().concat(".txt");
    has_labels |= fs::exists(file);
    pictures.push_back({path, read_labels(file, static_cast<int>(classes.size())), true});
  }
  if (pictures.empty() || !has_labels) {
    throw Error(ErrorCode::bad_input,
                pictures.empty() ? "there are no pictures" : "there are no labels", where,
                "name a folder with images/ and labels/, or a COCO JSON file");
  }
  return pictures;
}

}  // namespace quiver
