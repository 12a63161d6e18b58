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

std::shared_ptr<const PromptImages> read_prompt_pictures(const Arguments& arguments, Engine& engine,
                                                         std::vector<std::int32_t>& prompt) {
  const std::vector<std::string> files = arguments.texts("image");
  if (files.empty()) return nullptr;
#if QUIVER_IMAGES
  const ImageSpec spec = image_spec(engine.model());
  std::vector<NamedPicture> pictures;
  for (const std::string& file : files) {
    pictures.push_back({read_picture(std::filesystem::path(file)), printable(file)});
  }
  ProgressLine progress("looking at pictures", pictures.size(), "pictures");
  return place_pictures(engine, spec, pictures, prompt);
#else
  static_cast<void>(engine);
  static_cast<void>(prompt);
  throw Error(ErrorCode::usage, "this program was built without pictures", "--image",
              "build it with libjpeg, libpng and libwebp");
#endif
}

}  // namespace quiver::cli
