// Pictures with the objects on them: folders with labels in text files, and COCO's JSON.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/detect/average_precision.hpp"
#include "core/image/picture.hpp"

namespace quiver {

struct LabelledPicture {
  std::filesystem::path path;
  std::vector<TrueBox> truth;
  /// The boxes are shares of width and height, which only the picture itself tells.
  bool is_relative = false;

  /// The boxes in pixels of a picture of that size.
  std::vector<TrueBox> boxes(PictureSize size) const;
};

/// Whether a file's name says that it is a picture. [any-thread]
bool is_picture_name(const std::filesystem::path& path);

/// The pictures of a folder, not of folders in it, sorted by name. [load-thread]
std::vector<std::filesystem::path> pictures_in(const std::filesystem::path& folder);

/// Reads what `data` names:
///  - a COCO JSON file, or a folder with one .json file that is: pictures lie beside it, or in
///    "images". A category stands for the class of its name; where names differ from the model's,
///    for the class at its place in the order of their ids.
///  - a folder with pictures in it, or in "images", and labels in "labels" or beside them: a line
///    "class centre_x centre_y width height" for each object, as shares of the picture. A picture
///    without a label file shows nothing.
/// Throws Error(bad_input) naming the file and line. [load-thread]
std::vector<LabelledPicture> read_labelled_pictures(const std::filesystem::path& data,
                                                    const std::vector<std::string>& classes);

/// The same for a COCO file.
std::vector<LabelledPicture> read_coco(const std::filesystem::path& file,
                                       const std::vector<std::string>& classes);

}  // namespace quiver
