// Lines from stdin, for a terminal at which somebody may press Ctrl-C.
#pragma once

#include <cstdint>
#include <string>

namespace quiver::cli {

enum class LineStatus : std::uint8_t { line, end, interrupted };

/// [one-call-at-a-time]
class LineReader {
 public:
  /// Waits for a line and stores it without its end. `interrupted` as soon as a signal has set the
  /// interrupt flag, `end` at the end of the input (a last line without an end is a line).
  LineStatus read(std::string& line);

 private:
  std::string buffer_;
  bool is_at_end_ = false;
};

}  // namespace quiver::cli
