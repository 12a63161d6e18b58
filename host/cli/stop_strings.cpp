// Texts that end a generation: found wherever they begin, and never shown, not even in part.
#include "host/cli/stop_strings.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <utility>

namespace quiver::cli {
namespace {

/// Length of the longest end of `text` that begins `stop` without being all of it.
std::size_t overlap(std::string_view text, std::string_view stop) {
  for (std::size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.ends_with(stop.substr(0, length))) return length;
  }
  return 0;
}

}  // namespace

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  if (std::ranges::any_of(stops_, [](const std::string& stop) { return stop.empty(); })) {
    throw Error(ErrorCode::usage, "a stop string is empty", "--stop",
                "give at least one character");
  }
}

std::string StopStrings::feed(std::string_view text) {
  if (is_found_) return {};
  held_ += text;
  std::size_t first = std::string::npos;  // byte behind which the first complete stop ends
  std::size_t cut = 0;
  for (const std::string& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const std::size_t end = at + stop.size();
    if (end < first || (end == first && at < cut)) {
      first = end;
      cut = at;
    }
  }
  if (first != std::string::npos) {
    is_found_ = true;
    held_.resize(cut);
    return std::exchange(held_, {});
  }
  std::size_t keep = 0;
  for (const std::string& stop : stops_) keep = std::max(keep, overlap(held_, stop));
  const std::string shown = held_.substr(0, held_.size() - keep);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopStrings::finish() {
  return std::exchange(held_, {});
}

}  // namespace quiver::cli
