// Pictures of a prompt.
#include "host/cli/picture_prompt.hpp"

#include "core/tensor/printable.hpp"
#include "host/cli/progress.hpp"

#include <quiver/error.hpp>

#include <string>

#if QUIVER_IMAGES
#include "core/image/prompt_pictures.hpp"
#include "core/image/read_picture.hpp"
#endif

namespace quiver::cli {

#if QUIVER_IMAGES

std::vector<PromptImage> look_at_pictures(const std::vector<std::string>& files, Engine& engine) {
  const ImageSpec spec = image_spec(engine.model());
  std::vector<NamedPicture> pictures;
  for (const std::string& file : files) {
    pictures.push_back({read_picture(std::filesystem::path(file)), printable(file)});
  }
  ProgressLine progress("looking at pictures", pictures.size(), "pictures");
  std::vector<PromptImage> seen;
  for (const NamedPicture& picture : pictures) {
    seen.push_back(encode_picture(engine, spec, picture));
    progress.update(seen.size());
  }
  return seen;
}

std::shared_ptr<const PromptImages> place_pictures(const std::vector<PromptImage>& pictures,
                                                   const Engine& engine,
                                                   std::vector<std::int32_t>& text) {
  if (pictures.empty()) return nullptr;
  return quiver::place_pictures(image_spec(engine.model()), pictures, engine.info().hidden, text);
}

#else

std::vector<PromptImage> look_at_pictures(const std::vector<std::string>& files, Engine&) {
  if (files.empty()) return {};
  throw Error(ErrorCode::usage, "this program was built without pictures", printable(files[0]),
              "build it with libjpeg, libpng and libwebp");
}

std::shared_ptr<const PromptImages> place_pictures(const std::vector<PromptImage>&, const Engine&,
                                                   std::vector<std::int32_t>&) {
  return nullptr;
}

#endif

nlohmann::ordered_json message_content(std::size_t pictures, const std::string& text) {
  if (pictures == 0) return text;
  nlohmann::ordered_json parts = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < pictures; ++i) parts.push_back({{"type", "image"}});
  parts.push_back({{"type", "text"}, {"text", text}});
  return parts;
}

std::shared_ptr<const PromptImages> read_prompt_pictures(const Arguments& arguments, Engine& engine,
                                                         std::vector<std::int32_t>& prompt) {
  const std::vector<std::string> files = arguments.texts("image");
  if (files.empty()) return nullptr;
  return place_pictures(look_at_pictures(files, engine), engine, prompt);
}

}  // namespace quiver::cli
