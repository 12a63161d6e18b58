// Shows in a terminal how a canvas fills in.
#pragma once

#include "core/decode/decode_options.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace quiver::cli {

/// Draws each step of a canvas behind the text that was printed so far, over the step before it.
/// [one-call-at-a-time]
class CanvasDisplay : public DecodeObserver {
 public:
  /// `piece` gives the text of a token; `write` takes what goes to the terminal of so many columns.
  CanvasDisplay(std::function<std::string_view(std::int32_t)> piece,
                std::function<void(const std::string&)> write, std::size_t columns);

  /// Text that was printed on the same terminal.
  void note(std::string_view printed);

  void on_canvas(const CanvasView& canvas) override;

  /// Takes the drawing away, so that text can follow what was printed.
  void clear();

 private:
  void draw(const std::string& canvas);
  std::size_t rows(std::size_t width) const { return width == 0 ? 0 : (width - 1) / columns_; }

  std::function<std::string_view(std::int32_t)> piece_;
  std::function<void(const std::string&)> write_;
  std::size_t columns_;
  std::string line_;     // what was printed behind the last line's end
  std::size_t row_ = 0;  // of the cursor below the start of that line
  bool is_drawn_ = false;
};

/// Columns of the terminal behind stderr, 80 where it does not say.
std::size_t terminal_columns();

}  // namespace quiver::cli
