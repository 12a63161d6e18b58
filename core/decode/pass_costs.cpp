// How long forward passes take on this machine, by what is in them.
#include "core/decode/pass_costs.hpp"

#include <algorithm>

namespace quiver {
namespace {

constexpr double kNewWeight = 0.25;
constexpr double kFasterWeight = 0.5;  // noise only ever slows a pass down
// A pass that something else on the machine held up counts as this much more than usual at most.
constexpr double kLargestStep = 2;
// Until two numbers of rows were measured: a row's share of the time that does not grow with rows.
constexpr double kGuessedSlope = 0.1;

}  // namespace

void PassCosts::record(const Batch& batch, Duration time) {
  bool is_draft = true;
  for (const Segment& segment : batch.segments) {
    if (segment.form == RowForm::prompt) return;
    is_draft = is_draft && segment.form == RowForm::draft;
  }
  record(is_draft, batch.rows(), time);
}

void PassCosts::record(bool is_draft, int rows, Duration time) {
  if (rows < 1 || rows > kMaxRows) return;
  std::vector<Entry>& list = entries(is_draft);
  const auto at = std::ranges::lower_bound(list, rows, {}, &Entry::rows);
  if (at == list.end() || at->rows != rows) {
    list.insert(at, {rows, time.count()});
    return;
  }
  const double seen = std::min(time.count(), kLargestStep * at->seconds);
  at->seconds += (seen < at->seconds ? kFasterWeight : kNewWeight) * (seen - at->seconds);
}

bool PassCosts::has(bool is_draft, int rows) const {
  const std::vector<Entry>& list = is_draft ? drafts_ : others_;
  return std::ranges::binary_search(list, rows, {}, &Entry::rows);
}

double PassCosts::seconds(bool is_draft, int rows) const {
  const std::vector<Entry>& list = is_draft && !drafts_.empty() ? drafts_ : others_;
  if (list.empty()) return 0;
  const auto next = std::ranges::lower_bound(list, rows, {}, &Entry::rows);
  if (next != list.end() && next->rows == rows) return next->seconds;
  if (list.size() == 1) {
    const Entry& only = list.front();
    return only.seconds * (1 + kGuessedSlope * rows) / (1 + kGuessedSlope * only.rows);
  }
  // The two neighbours, or the two nearest on one side.
  auto b = std::clamp(next, list.begin() + 1, list.end() - 1);
  const Entry& low = *(b - 1);
  const Entry& high = *b;
  const double slope = std::max(0.0, (high.seconds - low.seconds) / (high.rows - low.rows));
  const double guess = low.seconds + slope * (rows - low.rows);
  return std::max(guess, 0.1 * low.seconds);
}

}  // namespace quiver
