// The last inputs of a causal convolution, and those of a pass that is not settled yet.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace quiver {

/// A ring of rows: settling a row moves none of the others. [one-call-at-a-time]
class InputWindow {
 public:
  /// `rows` settled rows of `channels` zeros.
  InputWindow(int rows, int channels);

  /// A settled row [channels], the oldest first; valid until the next change.
  std::span<const float> row(int index) const noexcept { return slot(index); }

  /// Takes the inputs [any rows, channels] of a pass that follow the settled rows. Of one that
  /// `is_whole`, accepted entirely or not at all, only as many are kept as a window has.
  void record(std::span<const float> inputs, bool is_whole);

  /// Rows that the pass under way has left; 0 = it has not come here.
  int recorded() const noexcept { return recorded_; }

  /// Settles the first `rows` of those recorded, all where there are fewer, and forgets the others.
  void accept(int rows) noexcept;

  /// The settled rows [rows, channels].
  std::vector<float> values() const;

  /// Makes these rows [rows, channels] the settled ones, with nothing recorded.
  void set_values(std::vector<float> values) noexcept;

  /// Makes all settled rows zeros, with nothing recorded.
  void clear() noexcept;

  /// Bytes of the settled rows.
  std::size_t size_bytes() const noexcept {
    return static_cast<std::size_t>(rows_) * static_cast<std::size_t>(channels_) * sizeof(float);
  }

 private:
  std::span<const float> slot(int index) const noexcept;

  int rows_;
  int channels_;
  int first_ = 0;  // slot of the oldest settled row
  int recorded_ = 0;
  std::vector<float> ring_;
};

}  // namespace quiver
