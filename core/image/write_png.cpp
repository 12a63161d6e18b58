// Pictures as PNG through libpng.
#include "core/image/write_png.hpp"

#include "core/tensor/atomic_file.hpp"
#include "core/tensor/printable.hpp"

#include <array>
#include <csetjmp>
#include <cstdio>
#include <exception>
#include <limits>

#include <png.h>

namespace quiver {
namespace {

struct State {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<std::byte>* to = nullptr;
  std::jmp_buf escape;
  std::array<char, 200> message{};
};

[[noreturn]] void give_up(png_structp png, png_const_charp text) {
  auto* state = static_cast<State*>(png_get_error_ptr(png));
  std::snprintf(state->message.data(), state->message.size(), "%s", text);
  std::longjmp(state->escape, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

/// False where memory ran out: no exception may cross the library.
bool append(std::vector<std::byte>& to, const png_byte* bytes, std::size_t count) noexcept {
  try {
    const auto* from = reinterpret_cast<const std::byte*>(bytes);
    to.insert(to.end(), from, from + count);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void write_bytes(png_structp png, png_bytep bytes, std::size_t count) {
  auto* state = static_cast<State*>(png_get_io_ptr(png));
  if (!append(*state->to, bytes, count)) png_error(png, "memory ran out");
}

void flush_nothing(png_structp) {}

/// False where the library gave up, and state.message says why. Nothing here has a destructor,
/// since a jump passes over it.
[[gnu::noinline]] bool encode(State& state, const Picture& picture) {
  if (setjmp(state.escape) != 0) return false;
  state.info = png_create_info_struct(state.png);
  if (state.info == nullptr) png_error(state.png, "memory ran out");
  png_set_write_fn(state.png, &state, write_bytes, flush_nothing);
  png_set_user_limits(state.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_IHDR(state.png, state.info, static_cast<png_uint_32>(picture.width),
               static_cast<png_uint_32>(picture.height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(state.png, state.info);
  const std::size_t row_bytes = static_cast<std::size_t>(picture.width) * 3;
  for (int y = 0; y < picture.height; ++y) {
    png_write_row(state.png, picture.rgb.data() + static_cast<std::size_t>(y) * row_bytes);
  }
  png_write_end(state.png, nullptr);
  return true;
}

}  // namespace

std::vector<std::byte> encode_png(const Picture& picture) {
  require_whole(picture);
  std::vector<std::byte> file;
  State state;
  state.to = &file;
  state.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &state, give_up, ignore_warning);
  const bool whole = state.png != nullptr && encode(state, picture);
  png_destroy_write_struct(&state.png, &state.info);
  if (!whole) {
    throw Error(ErrorCode::resources,
                "the picture cannot be written as PNG: " + printable(state.message.data()));
  }
  return file;
}

void write_png(const std::filesystem::path& path, const Picture& picture) {
  write_file(path, encode_png(picture));
}

}  // namespace quiver
