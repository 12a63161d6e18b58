// The last inputs of a causal convolution: a ring of rows.
#include "core/cache/input_window.hpp"

#include <algorithm>
#include <utility>

namespace quiver {
namespace {

std::size_t product(int a, int b) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
}

}  // namespace

InputWindow::InputWindow(int rows, int channels)
    : rows_(rows), channels_(channels), ring_(product(rows, channels), 0.0F) {}

std::span<const float> InputWindow::slot(int index) const noexcept {
  const auto slots = ring_.size() / static_cast<std::size_t>(channels_);
  const std::size_t at =
      (static_cast<std::size_t>(first_) + static_cast<std::size_t>(index)) % slots;
  return std::span(ring_).subspan(at * static_cast<std::size_t>(channels_),
                                  static_cast<std::size_t>(channels_));
}

void InputWindow::record(std::span<const float> inputs, bool is_whole) {
  const auto channels = static_cast<std::size_t>(channels_);
  if (is_whole) inputs = inputs.last(std::min(inputs.size(), product(rows_, channels_)));
  const auto count = static_cast<int>(inputs.size() / channels);
  if (ring_.size() < product(rows_ + count, channels_)) {
    std::vector<float> larger(product(rows_ + count, channels_));
    std::ranges::copy(values(), larger.begin());
    ring_ = std::move(larger);
    first_ = 0;
  }
  for (int r = 0; r < count; ++r) {
    const std::span<const float> target = slot(rows_ + r);
    std::ranges::copy(inputs.subspan(product(r, channels_), channels),
                      ring_.begin() + (target.data() - ring_.data()));
  }
  recorded_ = count;
}

void InputWindow::accept(int rows) noexcept {
  const auto slots = static_cast<int>(ring_.size() / static_cast<std::size_t>(channels_));
  if (recorded_ > 0) first_ = (first_ + std::min(rows, recorded_)) % slots;
  recorded_ = 0;
}

std::vector<float> InputWindow::values() const {
  std::vector<float> values;
  values.reserve(product(rows_, channels_));
  for (int r = 0; r < rows_; ++r) values.insert(values.end(), row(r).begin(), row(r).end());
  return values;
}

void InputWindow::set_values(std::vector<float> values) noexcept {
  ring_ = std::move(values);
  first_ = recorded_ = 0;
}

void InputWindow::clear() noexcept {
  std::ranges::fill(ring_, 0.0F);
  first_ = recorded_ = 0;
}

}  // namespace quiver
