// Pictures put into the tokens of a text.
#include "core/image/prompt_pictures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <span>

#include "core/image/resize.hpp"
#include "core/model/json_file.hpp"
#include "core/plugin/sha256.hpp"

namespace quiver {
namespace {

using Json = nlohmann::json;

constexpr const char* kPreprocessor = "preprocessor_config.json";

Error bad_preprocessor(const std::string& key) {
  return {ErrorCode::bad_input, fmt::format("'{}' is not what it should be", key), kPreprocessor,
          "use the file that belongs to the model"};
}

/// A whole number of at least 1 at one of the keys, if there is one.
template <class Integer>
void read_size(const Json& json, const char* key, Integer& value) {
  const auto entry = json.find(key);
  if (entry == json.end() || entry->is_null()) return;
  constexpr std::int64_t kMost = std::int64_t{1} << 31U;
  if (!entry->is_number_integer() || entry->get<std::int64_t>() < 1 ||
      entry->get<std::int64_t>() > kMost) {
    throw bad_preprocessor(key);
  }
  value = entry->get<Integer>();
}

void read_colours(const Json& json, const char* key, bool is_divisor,
                  std::array<float, 3>& values) {
  const auto entry = json.find(key);
  if (entry == json.end() || entry->is_null()) return;
  if (!entry->is_array() || entry->size() != 3) throw bad_preprocessor(key);
  for (std::size_t i = 0; i < 3; ++i) {
    if (!entry->at(i).is_number()) throw bad_preprocessor(key);
    values[i] = entry->at(i).get<float>();
    if (is_divisor && !(values[i] > 0)) throw bad_preprocessor(key);
  }
}

SmartResizeRule resize_rule(const ImageSpec& spec) {
  SmartResizeRule rule;
  rule.factor = spec.patch * spec.merge;
  rule.min_pixels = spec.min_pixels;
  rule.max_pixels = spec.max_pixels;
  return rule;
}

Error wrong_count(std::size_t pictures, std::size_t runs) {
  return {ErrorCode::usage,
          fmt::format("the text has places for {} pictures, and there are {}", runs, pictures),
          "pictures", "give one for each place"};
}

/// Where runs of image tokens begin, and how long they are.
using Runs = std::vector<std::pair<std::size_t, std::size_t>>;

Runs runs_of(std::span<const std::int32_t> tokens, std::int32_t image_token) {
  Runs runs;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] != image_token) continue;
    const bool goes_on = !runs.empty() && runs.back().first + runs.back().second == i;
    if (goes_on) {
      ++runs.back().second;
    } else {
      runs.emplace_back(i, 1);
    }
  }
  return runs;
}

}  // namespace

ImageSpec image_spec(const LoadedModel& model) {
  const auto* encoder =
      static_cast<const ImageEncoder*>(model.model().extension(ImageEncoder::kInterfaceId));
  if (encoder == nullptr) {
    throw Error(ErrorCode::usage, "the model does not look at pictures", model.folder().string(),
                "use a checkpoint that has a tower for them");
  }
  ImageSpec spec = encoder->image();
  const auto file = model.folder() / kPreprocessor;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) return spec;
  const Json json = read_json_file(file);
  if (!json.is_object()) throw bad_preprocessor("the file");
  // Either spelling; the newer one names the sides of a square of as many pixels.
  read_size(json, "min_pixels", spec.min_pixels);
  read_size(json, "max_pixels", spec.max_pixels);
  if (const auto size = json.find("size"); size != json.end() && size->is_object()) {
    read_size(*size, "shortest_edge", spec.min_pixels);
    read_size(*size, "longest_edge", spec.max_pixels);
  }
  read_colours(json, "image_mean", false, spec.mean);
  read_colours(json, "image_std", true, spec.std);
  for (const auto& [key, value] :
       {std::pair("patch_size", spec.patch), std::pair("merge_size", spec.merge),
        std::pair("temporal_patch_size", spec.temporal)}) {
    int stated = value;
    read_size(json, key, stated);
    if (stated != value) throw bad_preprocessor(key);
  }
  return spec;
}

Patches prepare_picture(const Picture& picture, const ImageSpec& spec, const std::string& where) {
  const PictureSize size = smart_resize(picture.size(), resize_rule(spec), where);
  return cut_patches(resize_bicubic(picture, size),
                     {spec.patch, spec.merge, spec.temporal, spec.mean, spec.std});
}

PromptImage encode_picture(Engine& engine, const ImageSpec& spec, const NamedPicture& picture) {
  const Patches patches = prepare_picture(picture.picture, spec, picture.where);
  PromptImage image;
  image.rows = patches.grid_height / spec.merge;
  image.columns = patches.grid_width / spec.merge;
  image.features = engine.encode_image(patches.rows, patches.grid_height, patches.grid_width);
  image.key = size_text(picture.picture.size()) + " " +
              sha256_hex({reinterpret_cast<const char*>(picture.picture.rgb.data()),
                          picture.picture.rgb.size()});
  return image;
}

std::shared_ptr<const PromptImages> place_pictures(const ImageSpec& spec,
                                                   std::vector<PromptImage> pictures, int hidden,
                                                   std::vector<std::int32_t>& tokens) {
  if (pictures.empty()) return nullptr;
  if (runs_of(tokens, spec.image_token).empty()) {
    std::vector<std::int32_t> front;
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      if (spec.begin_token >= 0) front.push_back(spec.begin_token);
      front.push_back(spec.image_token);
      if (spec.end_token >= 0) front.push_back(spec.end_token);
    }
    tokens.insert(tokens.begin(), front.begin(), front.end());
  }
  const Runs places = runs_of(tokens, spec.image_token);
  if (places.size() != pictures.size()) throw wrong_count(pictures.size(), places.size());
  std::vector<std::int32_t> placed;
  std::size_t done = 0;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto [start, length] = places[i];
    PromptImage& picture = pictures[i];
    if (length != 1 && length != picture.tokens()) {
      throw Error(ErrorCode::usage,
                  fmt::format("the text has {} tokens for a picture that takes {}", length,
                              picture.tokens()),
                  fmt::format("picture {}", i + 1),
                  "give one image token, or as many as the picture takes");
    }
    placed.insert(placed.end(), tokens.begin() + static_cast<std::ptrdiff_t>(done),
                  tokens.begin() + static_cast<std::ptrdiff_t>(start));
    picture.start = placed.size();
    placed.insert(placed.end(), picture.tokens(), spec.image_token);
    done = start + length;
  }
  placed.insert(placed.end(), tokens.begin() + static_cast<std::ptrdiff_t>(done), tokens.end());
  tokens = std::move(placed);
  return std::make_shared<const PromptImages>(std::move(pictures), hidden);
}

}  // namespace quiver
