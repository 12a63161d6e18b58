// Fetching from memory what loops over a page read next, while they compute.
//
// Pages lie anywhere and their parts are short, so that no processor's own prefetcher follows well.
// Loops ask for lines themselves, at about the pace at which they read others: memory answers no
// faster.
#pragma once

#include <cstddef>

#include "kv-common/vectors.hpp"

namespace quiver::kv {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kGroup = 4 * kLine;  ///< Bytes that LinesAhead asks for at a time.
constexpr int kHint = 2;                   ///< The second-level cache.

/// Groups of four cache lines that a loop reads one after another: at `at`, at + near, at + far and
/// at + near + far, the next ones `step` bytes on.
struct Lines {
  const std::byte* at = nullptr;
  std::size_t near = 0;
  std::size_t far = 0;
  std::size_t step = 0;
  std::size_t groups = 0;
};

/// Those of kBeside streams, `stride` bytes apart, of which each has `bytes`.
template <int kBeside>
QUIVER_KV_INLINE Lines stream_lines(const void* first, std::size_t stride, std::size_t bytes) {
  const auto* at = static_cast<const std::byte*>(first);
  constexpr std::size_t kStep = kGroup / kBeside;
  const std::size_t groups = (bytes + kStep - 1) / kStep;
  if constexpr (kBeside >= 4) return {at, stride, 2 * stride, kStep, groups};
  if constexpr (kBeside == 2) return {at, kLine, stride, kStep, groups};
  return {at, kLine, 2 * kLine, kStep, groups};
}

/// Those of `rows` rows, `stride` bytes apart, of which kBytes are read.
template <std::size_t kBytes>
QUIVER_KV_INLINE Lines row_lines(const std::byte* first, std::size_t stride, int rows) {
  const auto count = static_cast<std::size_t>(rows);
  if constexpr (kBytes >= 4 * kLine) return {first, kLine, 2 * kLine, stride, count};
  if constexpr (kBytes >= 2 * kLine) return {first, kLine, stride, 2 * stride, (count + 1) / 2};
  return {first, stride, 2 * stride, 4 * stride, (count + 3) / 4};
}

/// For loops that alternate with other work: the part of a page that is read after this one, in a
/// row, while all of that goes on.
class PartAhead {
 public:
  /// Nothing.
  PartAhead() = default;

  QUIVER_KV_INLINE PartAhead(const void* first, std::size_t bytes)
      : at_(static_cast<const std::byte*>(first)), end_(at_ + bytes) {}

  const std::byte* begin() const { return at_; }

  /// Asks for kBytes, in any step of a loop.
  template <std::size_t kBytes>
  QUIVER_KV_INLINE void take(std::size_t /*step*/ = 0) {
    if (at_ >= end_) return;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kBytes; i += kLine) __builtin_prefetch(at_ + i, 0, kHint);
    at_ += kBytes;
  }

  /// Asks for what is left.
  QUIVER_KV_INLINE void take_rest() {
    for (; at_ < end_; at_ += kLine) __builtin_prefetch(at_, 0, kHint);
  }

 private:
  const std::byte* at_ = nullptr;
  const std::byte* end_ = nullptr;
};

/// For a loop that does nothing but read whole lines and add: the lines that it reads itself
/// kDistance groups later, then the first ones of the loop that follows it. That is a tenth faster
/// than the next part in a row (Emerald Rapids).
class LinesAhead {
 public:
  /// Nothing.
  LinesAhead() = default;

  QUIVER_KV_INLINE LinesAhead(const Lines& own, const Lines& next) : now_(own), then_(next) {
    const std::size_t asked = own.groups < kDistance ? own.groups : kDistance;
    now_.at += asked * own.step;
    now_.groups -= asked;
    if (then_.groups > kDistance) then_.groups = kDistance;
  }

  /// Asks for a group where one begins in this step of a loop that wants kBytes a step, up to a
  /// group.
  template <std::size_t kBytes>
  QUIVER_KV_INLINE void take(std::size_t step) {
    static_assert(kBytes <= kGroup);
    if (step * kBytes % kGroup >= kBytes) return;
    if (now_.groups == 0) {
      if (then_.groups == 0) return;
      now_ = then_;
      then_.groups = 0;
    }
    __builtin_prefetch(now_.at, 0, kHint);
    __builtin_prefetch(now_.at + now_.near, 0, kHint);
    __builtin_prefetch(now_.at + now_.far, 0, kHint);
    __builtin_prefetch(now_.at + now_.near + now_.far, 0, kHint);
    now_.at += now_.step;
    --now_.groups;
  }

 private:
  static constexpr std::size_t kDistance = 16;
  Lines now_;
  Lines then_;
};

}  // namespace
}  // namespace quiver::kv
