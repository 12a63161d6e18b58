// The line on stderr that shows how far long work is.
#include "host/cli/progress.hpp"

#include "host/cli/console.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <utility>

namespace quiver::cli {

std::string progress_text(const std::string& stage, std::size_t done, std::size_t total,
                          const std::string& unit, double seconds) {
  std::string text = fmt::format("{} {}/{} {}", stage, done, total, unit);
  if (done == 0 || seconds <= 0) return text;
  const double rate = static_cast<double>(done) / seconds;
  text += fmt::format(", {:.{}f} a second", rate, rate < 10 ? 1 : 0);
  if (done < total)
    text += fmt::format(", {:.0f} s left", static_cast<double>(total - done) / rate);
  return text;
}

ProgressLine::ProgressLine(std::string stage, std::size_t total, std::string unit)
    : stage_(std::move(stage)),
      total_(total),
      unit_(std::move(unit)),
      is_shown_(is_stderr_terminal() && !is_quiet()) {}

ProgressLine::~ProgressLine() {
  clear();
}

void ProgressLine::update(std::size_t done) {
  constexpr auto kInterval = std::chrono::milliseconds(200);  // often enough for eyes
  const auto now = Clock::now();
  if (!is_shown_ || now - last_ < kInterval) return;
  last_ = now;
  is_on_screen_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  // \r returns to the start of the line, ESC [K clears the rest of it.
  const std::string line = "\r" + progress_text(stage_, done, total_, unit_, seconds) + "\033[K";
  std::fputs(line.c_str(), stderr);
}

void ProgressLine::clear() {
  if (!is_on_screen_) return;
  is_on_screen_ = false;
  std::fputs("\r\033[K", stderr);
}

}  // namespace quiver::cli
