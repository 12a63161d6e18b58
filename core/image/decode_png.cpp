// PNG through libpng, as RGB.
#include "core/image/decoders.hpp"
#include "core/image/orientation.hpp"

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

#include <png.h>

namespace quiver::image {
namespace {

/// One deflated byte stands for at most this many.
constexpr std::uint64_t kMaxInflation = 1032;

/// What libpng and its callbacks share. The library gives up by a jump, so whatever it runs under
/// holds nothing with a destructor.
struct State {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const std::byte> left;
  std::jmp_buf escape;
  std::array<char, 200> message{};
};

[[noreturn]] void give_up(png_structp png, png_const_charp text) {
  auto* state = static_cast<State*>(png_get_error_ptr(png));
  std::snprintf(state->message.data(), state->message.size(), "%s", text);
  std::longjmp(state->escape, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep to, std::size_t count) {
  auto* state = static_cast<State*>(png_get_io_ptr(png));
  if (count > state->left.size()) png_error(png, "it ends early");
  std::memcpy(to, state->left.data(), count);
  state->left = state->left.subspan(count);
}

/// Runs calls of the library; false where they gave up, and state.message says why. `step` and what
/// it holds have trivial destructors, since the jump passes over them.
template <class Step>
[[gnu::noinline]] bool attempt(State& state, Step step) {
  if (setjmp(state.escape) != 0) return false;
  step();
  return true;
}

/// Chunks that change nothing here; reading them could only fail.
constexpr png_byte kSkipped[] =
    "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0tEXt\0tIME\0"
    "tRNS\0zTXt";

class PngDecoder {
 public:
  explicit PngDecoder(const Source& source) : source_(source) {
    state_.left = source.file;
    state_.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &state_, give_up, ignore_warning);
    if (state_.png != nullptr) state_.info = png_create_info_struct(state_.png);
    if (state_.info == nullptr) {
      png_destroy_read_struct(&state_.png, nullptr, nullptr);
      throw Error(ErrorCode::resources, "no memory for a PNG decoder", source.where);
    }
  }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;
  ~PngDecoder() { png_destroy_read_struct(&state_.png, &state_.info, nullptr); }

  Decoded decode() {
    run([this] { read_header(); });
    Decoded decoded;
    Picture& picture = decoded.picture;
    const PictureSize size = source_.allow(png_get_image_width(state_.png, state_.info),
                                           png_get_image_height(state_.png, state_.info));
    picture.width = size.width;
    picture.height = size.height;
    require_enough_data(size);
    run([this] { to_rgb(); });
    if (deep_gray_) {
      read_deep_gray(picture);
    } else {
      read_rows(picture.rgb, size, 3);
    }
    run([this] { png_read_end(state_.png, state_.info); });
    decoded.orientation = orientation();
    return decoded;
  }

 private:
  template <class Step>
  void run(Step step) {
    if (!attempt(state_, step)) source_.fail("PNG", state_.message.data());
  }

  void read_header() {
    png_set_read_fn(state_.png, &state_, read_bytes);
    // Sizes are compared with our own limits, which speak of both sides.
    png_set_user_limits(state_.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_keep_unknown_chunks(state_.png, PNG_HANDLE_CHUNK_NEVER, kSkipped, sizeof(kSkipped) / 5);
    png_read_info(state_.png, state_.info);
  }

  /// Refuses a small file that claims to be large before memory is taken for its pixels.
  void require_enough_data(PictureSize size) {
    const std::uint64_t raw = std::uint64_t{png_get_rowbytes(state_.png, state_.info)} *
                              static_cast<unsigned>(size.height);
    if (raw / kMaxInflation > source_.file.size()) source_.fail("PNG", "it ends early");
  }

  /// Asks for 8-bit RGB, but for deep gray, which is asked for as it is.
  void to_rgb() {
    const int type = png_get_color_type(state_.png, state_.info);
    deep_gray_ = type == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(state_.png, state_.info) == 16;
    if (!deep_gray_) {
      png_set_strip_16(state_.png);
      png_set_expand_gray_1_2_4_to_8(state_.png);
      png_set_palette_to_rgb(state_.png);
      png_set_gray_to_rgb(state_.png);
      png_set_strip_alpha(state_.png);
    }
    passes_ = png_set_interlace_handling(state_.png);
    png_read_update_info(state_.png, state_.info);
  }

  /// Memory is touched as rows arrive, but for interlaced pictures, whose rows come several times.
  void read_rows(std::vector<std::uint8_t>& to, PictureSize size, std::size_t pixel_bytes) {
    const std::size_t row_bytes = static_cast<std::size_t>(size.width) * pixel_bytes;
    if (row_bytes != png_get_rowbytes(state_.png, state_.info)) {
      source_.fail("PNG", "its colours are of an unknown kind");
    }
    const std::size_t all = row_bytes * static_cast<std::size_t>(size.height);
    to.reserve(all);
    if (passes_ > 1) to.resize(all);
    for (int pass = 0; pass < passes_; ++pass) {
      for (std::size_t begin = 0; begin < all; begin += row_bytes) {
        if (passes_ == 1) to.resize(begin + row_bytes);
        std::uint8_t* row = to.data() + begin;
        run([this, row] { png_read_row(state_.png, row, nullptr); });
      }
    }
  }

  void read_deep_gray(Picture& picture) {
    std::vector<std::uint8_t> pairs;  // Upper byte, lower byte.
    read_rows(pairs, picture.size(), 2);
    picture.rgb.resize(picture_bytes(picture.size()));
    for (std::size_t i = 0; i < pairs.size() / 2; ++i) {
      const std::uint8_t gray = pairs[2 * i] != 0 ? 255 : pairs[2 * i + 1];
      std::fill_n(&picture.rgb[3 * i], 3, gray);
    }
  }

  int orientation() {
    png_uint_32 count = 0;
    png_bytep exif = nullptr;
    if (png_get_eXIf_1(state_.png, state_.info, &count, &exif) == 0) return 1;
    return exif_orientation(std::as_bytes(std::span(exif, count)));
  }

  const Source& source_;
  State state_;
  bool deep_gray_ = false;
  int passes_ = 1;
};

}  // namespace

Decoded decode_png(const Source& source) {
  return PngDecoder(source).decode();
}

}  // namespace quiver::image
