// The line on stderr that shows how far long work is.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace quiver::cli {

/// "stage 123/456 tokens, 78 a second, 4 s left", rewritten in place. Shows itself only on a
/// terminal, not with --quiet, and only for work that takes longer than a moment; removes itself at
/// the end. [one-call-at-a-time]
class ProgressLine {
 public:
  /// `unit` names what is counted, e.g. "tokens".
  ProgressLine(std::string stage, std::size_t total, std::string unit);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void update(std::size_t done);

  /// For work whose total becomes known, or better known, on the way.
  void update(std::size_t done, std::size_t total) {
    total_ = total;
    update(done);
  }

  /// Removes the line, so that other output can follow.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  std::string stage_;
  std::size_t total_;
  std::string unit_;
  bool is_shown_;
  bool is_on_screen_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

/// The text of the line. [any-thread]
std::string progress_text(const std::string& stage, std::size_t done, std::size_t total,
                          const std::string& unit, double seconds);

}  // namespace quiver::cli
