// How long forward passes take on this machine, by what is in them.
#pragma once

#include <chrono>
#include <vector>

#include "core/ops/batch.hpp"

namespace quiver {

/// Measured times of passes without prompt rows, by their number of rows; drafts apart, whose rows
/// may compute in another format. Between two numbers that were measured the time is interpolated,
/// beyond them extrapolated. A plain value. [one-call-at-a-time]
class PassCosts {
 public:
  /// Passes with more rows are not told apart.
  static constexpr int kMaxRows = 256;

  using Duration = std::chrono::duration<double>;

  /// Adds one pass; ignores those that hold prompt rows. Later passes weigh more, so that the
  /// figures follow a context that grows and a machine that others use too.
  void record(const Batch& batch, Duration time);
  void record(bool is_draft, int rows, Duration time);

  /// Whether a pass of exactly so many rows was measured.
  bool has(bool is_draft, int rows) const;

  /// Seconds of a pass; drafts count as other rows until one was measured. 0 where nothing was.
  double seconds(bool is_draft, int rows) const;

 private:
  struct Entry {
    int rows;
    double seconds;
  };
  std::vector<Entry>& entries(bool is_draft) { return is_draft ? drafts_ : others_; }

  std::vector<Entry> others_;  // by rows, ascending
  std::vector<Entry> drafts_;
};

}  // namespace quiver
