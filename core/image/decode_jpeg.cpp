// JPEG through libjpeg, as RGB.
#include "core/image/decoders.hpp"
#include "core/image/orientation.hpp"

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include <jpeglib.h>

#include <jerror.h>

namespace quiver::image {
namespace {

/// A picture has some ten scans; more only waste time, pass after pass over all coefficients.
constexpr int kMaxScans = 100;
constexpr int kBandRows = 16;
constexpr int kExifMarker = JPEG_APP0 + 1;

/// What libjpeg and its callbacks share. The library knows one way to give up, a jump, so whatever
/// it runs under holds nothing with a destructor.
struct State {
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_source_mgr source;
  jpeg_progress_mgr progress;
  std::jmp_buf escape;
  std::array<char, JMSG_LENGTH_MAX> message;
};

[[noreturn]] void give_up(j_common_ptr info) {
  auto* state = static_cast<State*>(info->client_data);
  info->err->format_message(info, state->message.data());
  std::longjmp(state->escape, 1);
}

/// Warnings (level -1) that say that pixels are lost end the decoding too; the library itself would
/// go on with gray.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_ARITH_BAD_CODE:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC:
    case JWRN_NOT_SEQUENTIAL: give_up(info);
    default: break;
  }
}

void on_progress(j_common_ptr info) {
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number <= kMaxScans) return;
  auto* state = static_cast<State*>(info->client_data);
  std::snprintf(state->message.data(), state->message.size(), "it has more than %d scans",
                kMaxScans);
  std::longjmp(state->escape, 1);
}

void start_source(j_decompress_ptr) {}

/// All bytes were there from the start.
boolean end_source(j_decompress_ptr info) {
  info->err->msg_code = JERR_INPUT_EOF;
  give_up(reinterpret_cast<j_common_ptr>(info));
}

void skip_source(j_decompress_ptr info, long count) {
  if (count <= 0) return;
  if (static_cast<std::size_t>(count) > info->src->bytes_in_buffer) end_source(info);
  info->src->next_input_byte += count;
  info->src->bytes_in_buffer -= static_cast<std::size_t>(count);
}

void set_up(State& state, std::span<const std::byte> file) {
  state.info.err = jpeg_std_error(&state.errors);
  state.info.client_data = &state;
  state.errors.error_exit = give_up;
  state.errors.emit_message = on_message;
  state.progress.progress_monitor = on_progress;
  state.source.init_source = start_source;
  state.source.fill_input_buffer = end_source;
  state.source.skip_input_data = skip_source;
  state.source.resync_to_restart = jpeg_resync_to_restart;
  state.source.term_source = start_source;
  state.source.next_input_byte = reinterpret_cast<const JOCTET*>(file.data());
  state.source.bytes_in_buffer = file.size();
}

/// Runs calls of the library; false where they gave up, and state.message says why. `step` and what
/// it holds have trivial destructors, since the jump passes over them.
template <class Step>
[[gnu::noinline]] bool attempt(State& state, Step step) {
  if (setjmp(state.escape) != 0) return false;
  step();
  return true;
}

class JpegDecoder {
 public:
  explicit JpegDecoder(const Source& source) : source_(source), state_(std::make_unique<State>()) {
    set_up(*state_, source.file);
  }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;
  ~JpegDecoder() { jpeg_destroy_decompress(&info()); }

  Decoded decode() {
    run([this] { read_header(); });
    Decoded decoded;
    const PictureSize size = source_.allow(info().image_width, info().image_height);
    decoded.picture.width = size.width;
    decoded.picture.height = size.height;
    decoded.orientation = orientation();
    choose_colours();
    run([this] { jpeg_start_decompress(&info()); });
    read_pixels(decoded.picture);
    return decoded;
  }

 private:
  jpeg_decompress_struct& info() { return state_->info; }

  template <class Step>
  void run(Step step) {
    if (!attempt(*state_, step)) source_.fail("JPEG", state_->message.data());
  }

  void read_header() {
    jpeg_create_decompress(&info());
    info().src = &state_->source;
    info().progress = &state_->progress;
    jpeg_save_markers(&info(), kExifMarker, 0xFFFF);
    jpeg_read_header(&info(), TRUE);
  }

  int orientation() {
    for (const jpeg_marker_struct* marker = info().marker_list; marker != nullptr;
         marker = marker->next) {
      if (marker->marker != kExifMarker || marker->data_length < 6) continue;
      if (std::memcmp(marker->data, "Exif\0", 6) != 0) continue;
      return exif_orientation(std::as_bytes(std::span(marker->data, marker->data_length)));
    }
    return 1;
  }

  void choose_colours() {
    switch (info().jpeg_color_space) {
      case JCS_GRAYSCALE:
      case JCS_RGB:
      case JCS_YCbCr: info().out_color_space = JCS_RGB; break;
      case JCS_CMYK:
      case JCS_YCCK: info().out_color_space = JCS_CMYK; break;
      default:
        source_.fail("JPEG", std::to_string(info().num_components) +
                                 " colours a pixel are neither gray, nor RGB, nor CMYK");
    }
  }

  /// Memory is touched as rows arrive, so that a short file that claims to be large costs little.
  void read_pixels(Picture& picture) {
    const auto colours = static_cast<std::size_t>(info().output_components);
    const std::size_t row_pixels = static_cast<std::size_t>(picture.width);
    const bool direct = colours == 3;
    std::vector<std::uint8_t> band;
    if (!direct) band.resize(row_pixels * colours * kBandRows);
    picture.rgb.reserve(picture_bytes(picture.size()));
    for (int y = 0; y < picture.height; y += kBandRows) {
      const int rows = std::min(kBandRows, picture.height - y);
      const std::size_t begin = picture.rgb.size();
      picture.rgb.resize(begin + static_cast<std::size_t>(rows) * row_pixels * 3);
      std::uint8_t* to = picture.rgb.data() + begin;
      read_band(direct ? to : band.data(), row_pixels * colours, rows);
      if (!direct) from_cmyk(band.data(), static_cast<std::size_t>(rows) * row_pixels, to);
    }
  }

  void read_band(std::uint8_t* to, std::size_t row_bytes, int rows) {
    run([this, to, row_bytes, rows] {
      for (int row = 0; row < rows;) {
        JSAMPROW at = to + static_cast<std::size_t>(row) * row_bytes;
        row += static_cast<int>(jpeg_read_scanlines(&info(), &at, 1));
      }
    });
  }

  /// Inverted inks: 255 is bare paper, so a colour is the product of its ink's and black's numbers.
  static void from_cmyk(const std::uint8_t* from, std::size_t pixels, std::uint8_t* to) {
    for (std::size_t i = 0; i < pixels; ++i, from += 4, to += 3) {
      const unsigned black = from[3];
      for (int c = 0; c < 3; ++c) {
        const unsigned product = (255U - from[c]) * black + 128U;
        to[c] = static_cast<std::uint8_t>(black - (((product >> 8) + product) >> 8));
      }
    }
  }

  const Source& source_;
  std::unique_ptr<State> state_;
};

}  // namespace

Decoded decode_jpeg(const Source& source) {
  return JpegDecoder(source).decode();
}

}  // namespace quiver::image
