// Writes and reads a page of keys and values on behalf of the checks.
#include "core/plugin/check_kv_page.hpp"

#include "core/plugin/check_support.hpp"

#include <algorithm>
#include <array>

namespace quiver {
namespace {

constexpr int kTokens = KvStrategy::kTokens;
constexpr std::size_t kMostPageBytes = std::size_t{1} << 26U;

std::string label_of(const std::string& label, const KvShape& shape) {
  return label + ", " + std::to_string(shape.kv_heads) + " heads of " +
         std::to_string(shape.head_dim);
}

std::size_t page_bytes(const KvStrategy& strategy, const KvShape& shape, const std::string& label) {
  const std::size_t bytes = strategy.page_bytes(shape);
  require(bytes > 0 && bytes <= kMostPageBytes,
          "wants pages of " + std::to_string(bytes) + " bytes (" + label + ")");
  return bytes;
}

}  // namespace

KvPage::KvPage(const KvStrategy& strategy, const std::string& label, const KvShape& shape,
               GuardSide side)
    : strategy_(strategy),
      label_(label_of(label, shape)),
      shape_(shape),
      row_size_(static_cast<std::size_t>(shape.kv_heads) *
                static_cast<std::size_t>(shape.head_dim)),
      page_(page_bytes(strategy, shape, label_), side, 64),
      keys_(check_noise(kTokens * row_size_, 5)),
      values_(check_noise(kTokens * row_size_, 6)) {
  // Bytes that the strategy does not write must not matter.
  std::ranges::fill(page_.span(), side == GuardSide::after ? std::byte{0x00} : std::byte{0xFF});
}

std::span<const float> KvPage::row(const std::vector<float>& rows, int token) const {
  return std::span<const float>(rows).subspan(static_cast<std::size_t>(token) * row_size_,
                                              row_size_);
}

void KvPage::write(int slot, std::span<const float> keys, std::span<const float> values) {
  GuardedBuffer<float> k(keys.size(), GuardSide::after);
  GuardedBuffer<float> v(values.size(), GuardSide::after);
  std::ranges::copy(keys, k.data());
  std::ranges::copy(values, v.data());
  k.make_read_only();
  v.make_read_only();
  strategy_.write(shape_, page_.data(), slot, k.span(), v.span());
  require(page_.is_intact(), "writes beside its page (" + label_ + ")");
}

void KvPage::write_all() {
  for (int slot = 0; slot < kTokens; ++slot) write(slot, keys(slot), values(slot));
}

std::vector<float> KvPage::scores_of(const KvStrategy::Slots& slots, std::span<const float> queries,
                                     int count, GuardSide side) const {
  GuardedBuffer<float> input(queries.size(), side);
  GuardedBuffer<float> output(static_cast<std::size_t>(count * slots.stride()), side);
  std::ranges::copy(queries, input.data());
  std::ranges::fill(output.span(), -1.0F);
  strategy_.transform_queries(shape_, input.data(), count);
  require(input.is_intact(), "transform_queries writes beside the queries (" + label_ + ")");
  input.make_read_only();
  strategy_.scores(shape_, slots, input.data(), count, output.data());
  require(output.is_intact(), "scores writes beside the scores (" + label_ + ")");
  return {output.span().begin(), output.span().end()};
}

std::vector<float> KvPage::sums_of(const KvStrategy::Slots& slots, std::span<const float> weights,
                                   int count, float start, GuardSide side) const {
  GuardedBuffer<float> input(weights.size(), side);
  GuardedBuffer<float> output(static_cast<std::size_t>(count * shape_.head_dim), side);
  std::ranges::copy(weights, input.data());
  std::ranges::fill(output.span(), start);
  input.make_read_only();
  strategy_.accumulate(shape_, slots, input.data(), count, output.data(), slots.pages[0]);
  strategy_.transform_outputs(shape_, output.data(), count);
  require(output.is_intact(), "accumulate writes beside the outputs (" + label_ + ")");
  return {output.span().begin(), output.span().end()};
}

std::vector<float> KvPage::scores(int head, int first, int last, std::span<const float> queries,
                                  int count, GuardSide side) const {
  const std::array<const std::byte*, 1> page{page_.data()};
  return scores_of({page, head, first, last}, queries, count, side);
}

std::vector<float> KvPage::sums(int head, int first, int last, std::span<const float> weights,
                                int count, float start, GuardSide side) const {
  const std::array<const std::byte*, 1> page{page_.data()};
  return sums_of({page, head, first, last}, weights, count, start, side);
}

std::vector<float> KvPage::scores_with(const KvPage& other, int head, int first, int last,
                                       std::span<const float> queries, int count) const {
  const std::array<const std::byte*, 2> pages{page_.data(), other.page_.data()};
  return scores_of({pages, head, first, last}, queries, count, GuardSide::after);
}

std::vector<float> KvPage::sums_with(const KvPage& other, int head, int first, int last,
                                     std::span<const float> weights, int count) const {
  const std::array<const std::byte*, 2> pages{page_.data(), other.page_.data()};
  return sums_of({pages, head, first, last}, weights, count, 0.0F, GuardSide::after);
}

std::vector<float> KvPage::sums_one_by_one(const KvPage& other, int head, int first, int last,
                                           std::span<const float> weights, int count) const {
  GuardedBuffer<float> output(static_cast<std::size_t>(count * shape_.head_dim), GuardSide::after);
  std::ranges::fill(output.span(), 0.0F);
  const std::array<const KvPage*, 2> pages{this, &other};
  for (int page = 0; page < 2; ++page) {
    GuardedBuffer<float> input(static_cast<std::size_t>(count * kTokens), GuardSide::after);
    for (int query = 0; query < count; ++query) {
      const auto from = weights.begin() + (2 * query + page) * kTokens;
      std::copy_n(from, kTokens, input.data() + query * kTokens);
    }
    const std::array<const std::byte*, 1> bytes{
        pages[static_cast<std::size_t>(page)]->page_.data()};
    const int begin = std::clamp(first - page * kTokens, 0, kTokens);
    const int end = std::clamp(last - page * kTokens, begin, kTokens);
    strategy_.accumulate(shape_, {bytes, head, begin, end}, input.data(), count, output.data(),
                         nullptr);
  }
  strategy_.transform_outputs(shape_, output.data(), count);
  return {output.span().begin(), output.span().end()};
}

std::vector<float> KvPage::turned(int count, float start) const {
  std::vector<float> outputs(static_cast<std::size_t>(count * shape_.head_dim), start);
  strategy_.transform_outputs(shape_, outputs.data(), count);
  return outputs;
}

}  // namespace quiver
