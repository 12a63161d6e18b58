// Pictures with the objects on them: COCO's JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>

#include "core/detect/labelled_pictures.hpp"
#include "core/model/json_file.hpp"
#include "core/tensor/printable.hpp"

namespace quiver {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFileLimit = std::size_t{1} << 30U;

class CocoReader {
 public:
  CocoReader(const fs::path& file, const std::vector<std::string>& classes)
      : file_(file),
        where_(printable(file.native(), 4096)),
        json_(parse_json(read_small_file(file, kFileLimit), where_)) {
    if (!json_.is_object()) throw invalid("not a JSON object", "the file");
    read_categories(classes);
  }

  std::vector<LabelledPicture> read() {
    std::map<std::int64_t, std::size_t> places;
    std::vector<LabelledPicture> pictures;
    const fs::path folder = file_.parent_path();
    for (const auto& image : list("images")) {
      const auto name = image.find("file_name");
      if (name == image.end() || !name->is_string()) throw invalid("no file_name", "images");
      const fs::path path = name->get<std::string>();
      const fs::path beside = folder / path;
      places.emplace(integer(image, "id", "images"), pictures.size());
      pictures.push_back({fs::exists(beside) ? beside : folder / "images" / path, {}, false});
    }
    for (const auto& object : list("annotations")) {
      const auto place = places.find(integer(object, "image_id", "annotations"));
      const auto category = classes_.find(integer(object, "category_id", "annotations"));
      if (place == places.end()) throw invalid("an image_id of no image", "annotations");
      if (category == classes_.end()) throw invalid("a category_id of no category", "annotations");
      pictures[place->second].truth.push_back(read_object(object, category->second));
    }
    return pictures;
  }

 private:
  Error invalid(const std::string& what, const std::string& list) const {
    return Error(ErrorCode::bad_input, what, where_ + ", " + list,
                 "use a file in the format of COCO's instances");
  }

  const nlohmann::json& list(const char* name) const {
    const auto found = json_.find(name);
    if (found == json_.end() || !found->is_array()) throw invalid("there is no such list", name);
    for (const auto& entry : *found) {
      if (!entry.is_object()) throw invalid("an entry that is no object", name);
    }
    return *found;
  }

  std::int64_t integer(const nlohmann::json& entry, const char* key, const char* list) const {
    const auto found = entry.find(key);
    if (found == entry.end() || !found->is_number_integer()) {
      throw invalid(fmt::format("an entry without {}", key), list);
    }
    return found->get<std::int64_t>();
  }

  void read_categories(const std::vector<std::string>& classes) {
    std::map<std::int64_t, std::string> names;
    for (const auto& category : list("categories")) {
      const auto name = category.find("name");
      names.emplace(integer(category, "id", "categories"),
                    name != category.end() && name->is_string() ? name->get<std::string>() : "");
    }
    const bool all_known = std::ranges::all_of(names, [&](const auto& entry) {
      return std::ranges::find(classes, entry.second) != classes.end();
    });
    int place = 0;
    for (const auto& [id, name] : names) {
      const auto found = std::ranges::find(classes, name);
      classes_[id] = all_known ? static_cast<int>(found - classes.begin()) : place;
      ++place;
    }
    if (!all_known && names.size() > classes.size()) {
      throw invalid(
          fmt::format("{} categories where the model has {} classes", names.size(), classes.size()),
          "categories");
    }
  }

  TrueBox read_object(const nlohmann::json& object, int class_id) const {
    const auto box = object.find("bbox");
    if (box == object.end() || !box->is_array() || box->size() != 4) {
      throw invalid("a bbox that is not four numbers", "annotations");
    }
    float values[4];
    for (std::size_t i = 0; i < 4; ++i) {
      const auto& value = (*box)[i];
      if (!value.is_number() || !std::isfinite(value.get<double>())) {
        throw invalid("a bbox that is not four numbers", "annotations");
      }
      values[i] = value.get<float>();
    }
    const auto crowd = object.find("iscrowd");
    const bool is_crowd = crowd != object.end() && crowd->is_number() && crowd->get<double>() != 0;
    return {
        {values[0], values[1], values[0] + values[2], values[1] + values[3]}, class_id, is_crowd};
  }

  const fs::path& file_;
  std::string where_;
  nlohmann::json json_;
  std::map<std::int64_t, int> classes_;  ///< By category.
};

}  // namespace

std::vector<LabelledPicture> read_coco(const fs::path& file,
                                       const std::vector<std::string>& classes) {
  return CocoReader(file, classes).read();
}

}  // namespace quiver
