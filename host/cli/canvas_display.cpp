// Shows in a terminal how a canvas fills in.
#include "host/cli/canvas_display.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

namespace quiver::cli {
namespace {

constexpr const char* kOpen = "\u2592";     // a shaded block
constexpr const char* kLineEnd = "\u21b5";  // an arrow
constexpr std::size_t kMostRows = 4;        // of a canvas

bool starts_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
}

std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, starts_character));
}

/// The first `most` characters.
std::string_view cut(std::string_view text, std::size_t most) {
  std::size_t end = 0;
  for (std::size_t seen = 0; end < text.size(); ++end) {
    if (starts_character(text[end]) && seen++ == most) break;
  }
  return text.substr(0, end);
}

/// A token's text without what would move the cursor.
std::string shown(std::string_view piece) {
  std::string text;
  for (const char byte : piece) {
    const auto value = static_cast<unsigned char>(byte);
    if (byte == '\n') {
      text += kLineEnd;
    } else {
      text += value < 0x20 || value == 0x7F ? ' ' : byte;
    }
  }
  return text;
}

}  // namespace

CanvasDisplay::CanvasDisplay(std::function<std::string_view(std::int32_t)> piece,
                             std::function<void(const std::string&)> write, std::size_t columns)
    : piece_(std::move(piece)),
      write_(std::move(write)),
      columns_(std::max<std::size_t>(1, columns)) {}

void CanvasDisplay::note(std::string_view printed) {
  const auto end = printed.rfind('\n');
  if (end != std::string_view::npos) line_.clear();
  line_ += end == std::string_view::npos ? printed : printed.substr(end + 1);
  row_ = rows(width(line_));
}

void CanvasDisplay::draw(const std::string& canvas) {
  // Up to the row where the line starts, to its first column, and clear all behind it.
  std::string text = row_ == 0 ? std::string() : fmt::format("\033[{}A", row_);
  text += "\r\033[J" + line_ + canvas;
  row_ = rows(width(line_) + width(canvas));
  write_(text);
}

void CanvasDisplay::on_canvas(const CanvasView& canvas) {
  std::string text;
  for (std::size_t i = 0; i < canvas.tokens.size(); ++i) {
    text += canvas.is_fixed[i] != 0 ? shown(piece_(canvas.tokens[i])) : kOpen;
  }
  is_drawn_ = true;
  draw(std::string(cut(text, kMostRows * columns_)));
}

void CanvasDisplay::clear() {
  if (is_drawn_) draw("");
  is_drawn_ = false;
}

std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace quiver::cli
