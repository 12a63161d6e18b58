// Lines from stdin, for a terminal at which somebody may press Ctrl-C.
#include "host/cli/line_reader.hpp"

#include "host/cli/interrupt.hpp"

#include <quiver/error.hpp>

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace quiver::cli {
namespace {

constexpr std::size_t kLongestLine = std::size_t{16} << 20U;

Error unreadable() {
  return Error(ErrorCode::bad_input, std::strerror(errno), "standard input",
               "check where it comes from");
}

}  // namespace

LineStatus LineReader::read(std::string& line) {
  while (true) {
    const std::size_t end = buffer_.find('\n');
    if (end != std::string::npos || (is_at_end_ && !buffer_.empty())) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end == std::string::npos ? end : end + 1);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return LineStatus::line;
    }
    if (is_at_end_) return LineStatus::end;
    if (interrupt_flag()) return LineStatus::interrupted;
    if (buffer_.size() > kLongestLine) {
      throw Error(ErrorCode::bad_input, "a line is longer than 16 MiB", "standard input",
                  "split it");
    }
    // A signal between the check above and here is noticed when the wait ends.
    constexpr int kWait = 500;
    pollfd input{STDIN_FILENO, POLLIN, 0};
    const int ready = ::poll(&input, 1, kWait);
    if (ready < 0 && errno != EINTR) throw unreadable();
    if (ready <= 0) continue;
    std::array<char, 4096> bytes{};
    const ssize_t count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    if (count < 0 && errno != EINTR && errno != EAGAIN) throw unreadable();
    if (count == 0) is_at_end_ = true;
    if (count > 0) buffer_.append(bytes.data(), static_cast<std::size_t>(count));
  }
}

}  // namespace quiver::cli
