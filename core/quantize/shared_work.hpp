// Parts of a sweep that the ranks of a job share, with the checkpoint of what has been measured.
#pragma once

#include <functional>
#include <quiver/error.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/quantize/ranks.hpp"
#include "core/quantize/sensitivity.hpp"
#include "core/quantize/sweep_checkpoint.hpp"

namespace quiver {

/// What is measured at all widths in one go: a layer or a kernel.
struct SweepPart {
  std::string name;        ///< In the checkpoint.
  std::uint64_t work = 0;  ///< In a unit of the sweep's own; 0 = nothing to measure.
};

/// Deals the parts that the checkpoint lacks out to the ranks in turn, and collects what each of
/// them measures. Every result is in the checkpoint when a call returns or throws. All ranks make
/// one of the same parts and widths. [one-call-at-a-time]
class SharedWork {
 public:
  /// Work done and to do; true interrupts.
  using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

  /// `checkpoint` is there in rank 0 only, `ranks` = nullptr means this process alone.
  SharedWork(std::vector<SweepPart> parts, const std::vector<int>& widths,
             SweepCheckpoint* checkpoint, Ranks* ranks, Progress progress);

  /// Whether this rank measures the part.
  bool wants(std::size_t part) const { return mine_.contains(part); }

  /// Whether this rank measures anything.
  bool wants_any() const { return !mine_.empty(); }

  /// Keeps what has been measured of a part, or sends it to rank 0.
  void measured(std::size_t part, const WidthDivergences& kl);

  /// Takes over what other ranks have sent, and tells how far the sweep is; true where the user
  /// wants to end it. Word from a rank that failed (send_failure()) is thrown as its Error.
  bool interrupted();

  /// Waits for the other ranks. Gives the results by part, empty where there was nothing to
  /// measure; in ranks other than 0 an empty list. Throws Error(interrupted), and as
  /// interrupted().
  std::vector<WidthDivergences> finish();

 private:
  bool is_root() const { return ranks_ == nullptr || ranks_->rank() == 0; }
  bool is_complete(std::size_t part, const std::vector<int>& widths) const;
  void deal(const std::vector<int>& widths);
  void keep(std::size_t part, const WidthDivergences& kl);
  void collect(bool waits);

  std::vector<SweepPart> parts_;
  SweepCheckpoint* checkpoint_;
  Ranks* ranks_;
  Progress progress_;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
  std::set<std::size_t> mine_;
  std::size_t waiting_ = 0;  ///< Results that other ranks owe.
};

/// Tells rank 0 why this rank gives up.
void send_failure(Ranks& ranks, const Error& error);

}  // namespace quiver
