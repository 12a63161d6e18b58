// Fuzzes the decoders of pictures and what follows them: resizing, patches, writing.
#include "core/image/letterbox.hpp"
#include "core/image/patches.hpp"
#include "core/image/read_picture.hpp"
#include "core/image/resize.hpp"
#include "core/image/write_png.hpp"

#include <quiver/error.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

namespace {

constexpr std::size_t kMaxInput = 1 << 16;
/// Small, so that time goes into files and not into pixels.
constexpr quiver::PictureLimits kLimits{.max_pixels = 1 << 16, .max_side = 1 << 14};

void use(const quiver::Picture& picture) {
  if (picture.rgb.size() != quiver::picture_bytes(picture.size())) std::abort();
  const auto written = quiver::encode_png(picture);
  if (quiver::read_picture(written, kLimits, "written") != picture) std::abort();
  const auto place = quiver::letterbox_place(picture.size(), {.side = 64});
  if (quiver::letterbox(picture, place).size() != quiver::PictureSize{64, 64}) std::abort();
  const auto size = quiver::smart_resize(
      picture.size(), {.factor = 32, .min_pixels = 1024, .max_pixels = 8192}, "input");
  if (quiver::cut_patches(quiver::resize_bicubic(picture, size), {}).rows.empty()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > kMaxInput) return 0;
  try {
    use(quiver::read_picture(std::as_bytes(std::span(data, size)), kLimits, "input"));
  } catch (const quiver::Error& error) {
    // Refusing is right; the reason must be one line.
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
    if (error.code() == quiver::ErrorCode::internal) std::abort();
  }
  return 0;
}
