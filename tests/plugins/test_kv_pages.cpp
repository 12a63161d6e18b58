// What every strategy for keys and values owes: scores and sums of what is stored, the same bits
// whatever is computed beside them, and the same page from every instruction set.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>

#include "kv_fixture.hpp"

namespace quiver::test {
namespace {

const KvConfig kConfigs[] = {
    {KV_FLOAT_SO, "f32"},
    {KV_FLOAT_SO, "f16"},
    {KV_FLOAT_SO, "bf16"},
    {KV_AFFINE_SO, "affine"},
    {KV_AFFINE_SO, "affine", {{"bits", 4}}},
    {KV_AFFINE_SO, "affine", {{"bits", 4}, {"group", 32}, {"value-bits", 8}}},
    {KV_AFFINE_SO, "affine", {{"key-bits", 8}, {"group", 32}, {"value-bits", 4}}},
    {KV_TURBOQUANT_SO, "turboquant"},
    {KV_TURBOQUANT_SO, "turboquant", {{"bits", 3}}},
    {KV_TURBOQUANT_SO, "turboquant", {{"bits", 2}}, {{"rotation", "orthogonal"}}},
    {KV_TURBOQUANT_SO, "turboquant", {{"key-bits", 1}, {"value-bits", 3}}},
    {KV_TURBOQUANT_SO, "turboquant", {{"key-bits", 2}, {"value-bits", 1}}},
};
constexpr int kHeadDims[] = {1, 3, 32, 48, 64, 80, 96, 128, 200, 256};

struct Case {
  KvConfig config;
  const char* isa;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const KvConfig& config : kConfigs) {
    for (const char* isa : kIsas) cases.push_back({config, isa});
  }
  return cases;
}

class KvPages : public testing::TestWithParam<Case> {
 protected:
  std::shared_ptr<const KvStrategy> strategy() const {
    return make_kv(GetParam().config, GetParam().isa);
  }
};

INSTANTIATE_TEST_SUITE_P(All, KvPages, testing::ValuesIn(all_cases()), [](const auto& one) {
  std::string name = one.param.config.label() + " " + one.param.isa;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
});

/// Greatest error relative to the length of the terms that make a sum.
class WorstError {
 public:
  void add(double exact, double found, double size) {
    worst_ = std::max(worst_, std::abs(exact - found) / std::max(size, 1e-20));
  }
  double value() const { return worst_; }

 private:
  double worst_ = 0;
};

TEST_P(KvPages, scores_are_products_with_the_stored_keys) {
  WorstError worst;
  for (const int dims : kHeadDims) {
    FilledPage filled(strategy(), {2, dims});
    EXPECT_TRUE(filled.page.is_guarded());
    const auto stored = filled.stored_keys(1);
    const std::size_t count = 5;
    const auto queries = random_floats(count * filled.dims(), 9);
    const auto scores = filled.scores(1, 0, kTokens, queries);
    for (std::size_t q = 0; q < count; ++q) {
      for (std::size_t t = 0; t < kTokens; ++t) {
        double exact = 0, squares = 0;
        for (std::size_t d = 0; d < filled.dims(); ++d) {
          const double product =
              static_cast<double>(queries[q * filled.dims() + d]) * stored[t * filled.dims() + d];
          exact += product;
          squares += product * product;
        }
        worst.add(exact, scores[q * kTokens + t], std::sqrt(squares));
      }
    }
  }
  // Queries of affine pages are rounded to 16 bits.
  EXPECT_LT(worst.value(), GetParam().config.offer == std::string("affine") ? 4e-4 : 2e-5);
}

TEST_P(KvPages, sums_are_those_of_the_stored_values) {
  WorstError worst;
  for (const int dims : kHeadDims) {
    FilledPage filled(strategy(), {3, dims});
    const auto stored = filled.stored_values(2);
    const std::size_t count = 6;
    const auto weights = random_floats(count * kTokens, 11);
    for (const auto& [first, last] : {std::pair{0, 64}, {3, 61}, {17, 18}, {16, 48}}) {
      const auto sums = filled.sums(2, first, last, weights);
      for (std::size_t q = 0; q < count; ++q) {
        for (std::size_t d = 0; d < filled.dims(); ++d) {
          double exact = 0, squares = 0;
          for (int t = first; t < last; ++t) {
            const auto token = static_cast<std::size_t>(t);
            const double product = static_cast<double>(weights[q * kTokens + token]) *
                                   stored[token * filled.dims() + d];
            exact += product;
            squares += product * product;
          }
          worst.add(exact, sums[q * filled.dims() + d], std::sqrt(squares) + 0.1);
        }
      }
    }
  }
  // Weights of affine pages are rounded to 16 bits.
  EXPECT_LT(worst.value(), GetParam().config.offer == std::string("affine") ? 2e-4 : 3e-5);
}

TEST_P(KvPages, results_do_not_depend_on_queries_together_or_on_the_range) {
  for (const int dims : {3, 64, 80}) {
    FilledPage filled(strategy(), {2, dims});
    const int most = 64;
    const auto queries = random_floats(static_cast<std::size_t>(most) * filled.dims(), 15);
    const auto weights = random_floats(static_cast<std::size_t>(most * kTokens), 16);
    const auto scores = filled.scores(1, 0, kTokens, queries);
    const auto sums = filled.raw_sums(1, 0, kTokens, weights, 0.25F);
    for (const std::size_t count : {1U, 2U, 3U, 4U, 5U, 7U, 8U, 9U, 33U}) {
      const std::size_t skip = count % 3;
      const auto own = filled.scores(
          1, 0, kTokens, std::span(queries).subspan(skip * filled.dims(), count * filled.dims()));
      EXPECT_TRUE(std::ranges::equal(own, std::span(scores).subspan(skip * kTokens, own.size())))
          << count << " queries of " << dims;
      const auto sum = filled.raw_sums(
          1, 0, kTokens, std::span(weights).subspan(skip * kTokens, count * kTokens), 0.25F);
      EXPECT_TRUE(
          std::ranges::equal(sum, std::span(sums).subspan(skip * filled.dims(), sum.size())))
          << count << " queries of " << dims;
    }
    for (const auto& [first, last] :
         {std::pair{0, 64}, {0, 1}, {5, 5}, {15, 17}, {16, 32}, {7, 41}, {63, 64}}) {
      const auto part = filled.scores(1, first, last, queries);
      for (std::size_t i = 0; i < part.size(); ++i) {
        const int slot = static_cast<int>(i % kTokens);
        ASSERT_EQ(part[i], slot >= first && slot < last ? scores[i] : -77.0F) << slot;
      }
    }
  }
}

/// Numbers [query, tokens of all pages] for one of the pages: [query, kTokens].
std::vector<float> of_page(std::span<const float> numbers, int pages, int page) {
  std::vector<float> result;
  for (std::size_t at = static_cast<std::size_t>(page * kTokens); at < numbers.size();
       at += static_cast<std::size_t>(pages * kTokens)) {
    result.insert(result.end(), numbers.begin() + static_cast<std::ptrdiff_t>(at),
                  numbers.begin() + static_cast<std::ptrdiff_t>(at + kTokens));
  }
  return result;
}

TEST_P(KvPages, results_do_not_depend_on_the_pages_together) {
  constexpr int kPages = 3;
  // The longest has more pieces than are rounded at a time.
  const int longest = GetParam().config.offer == std::string("affine") ? 640 : 96;
  for (const int dims : {3, 64, 80, longest}) {
    std::vector<FilledPage> filled;
    std::array<const std::byte*, kPages> pages{};
    filled.reserve(kPages);
    for (int page = 0; page < kPages; ++page) {
      filled.emplace_back(strategy(), KvShape{2, dims}, static_cast<std::uint32_t>(20 + page));
    }
    for (std::size_t page = 0; page < kPages; ++page) pages[page] = filled[page].page.data();
    const KvShape shape = filled[0].shape;
    const std::shared_ptr<const KvStrategy> by = filled[0].strategy;
    for (const int count : {1, 4, 9}) {
      auto queries = random_floats(static_cast<std::size_t>(count * dims), 15);
      const auto weights = random_floats(static_cast<std::size_t>(count * kPages * kTokens), 16);
      for (const auto& [first, last] :
           {std::pair{0, 192}, {10, 150}, {70, 128}, {63, 65}, {64, 128}, {90, 90}, {191, 192}}) {
        const KvStrategy::Slots slots{pages, 1, first, last};
        std::vector<float> turned = queries;
        by->transform_queries(shape, turned.data(), count);
        std::vector<float> scores(weights.size(), -77.0F);
        by->scores(shape, slots, turned.data(), count, scores.data());
        std::vector<float> sums(queries.size(), 0.25F), one_by_one = sums;
        by->accumulate(shape, slots, weights.data(), count, sums.data(), pages[0]);
        for (int page = 0; page < kPages; ++page) {
          const int begin = std::clamp(first - page * kTokens, 0, kTokens);
          const int end = std::clamp(last - page * kTokens, begin, kTokens);
          FilledPage& own = filled[static_cast<std::size_t>(page)];
          EXPECT_EQ(of_page(scores, kPages, page), own.scores(1, begin, end, queries))
              << dims << " " << count << " " << first << " " << last;
          by->accumulate(shape, own.page.slots(1, begin, end),
                         of_page(weights, kPages, page).data(), count, one_by_one.data(), nullptr);
        }
        EXPECT_EQ(sums, one_by_one) << dims << " " << count << " " << first << " " << last;
      }
    }
  }
}

TEST_P(KvPages, tokens_of_weight_zero_change_no_sum) {
  FilledPage filled(strategy(), {1, 96});
  for (const std::size_t count : {1U, 4U, 9U}) {
    auto weights = random_floats(count * kTokens, 17);
    const auto sums = filled.raw_sums(0, 9, 50, weights);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (i % kTokens < 9 || i % kTokens >= 50) weights[i] = 0;
    }
    EXPECT_EQ(filled.raw_sums(0, 9, 50, weights), sums);
    EXPECT_EQ(filled.raw_sums(0, 0, 64, weights), sums);
    EXPECT_EQ(filled.raw_sums(0, 2, 51, weights), sums);
  }
}

TEST_P(KvPages, slots_outside_the_range_may_hold_anything) {
  for (const int dims : {48, 64}) {
    FilledPage filled(strategy(), {1, dims});
    const auto queries = random_floats(filled.dims() * 5, 19);
    auto weights = random_floats(kTokens * 5, 20);
    const auto scores = filled.scores(0, 7, 10, queries);
    const auto sums = filled.raw_sums(0, 7, 10, weights);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (i % kTokens < 7 || i % kTokens >= 10) weights[i] = std::nanf("");
    }
    const std::vector<float> junk(filled.dims(), std::nanf(""));
    for (int slot = 0; slot < kTokens; ++slot) {
      if (slot < 7 || slot >= 10) filled.write(slot, junk, junk);
    }
    EXPECT_EQ(filled.scores(0, 7, 10, queries), scores);
    EXPECT_EQ(filled.raw_sums(0, 7, 10, weights), sums);
  }
}

TEST_P(KvPages, slots_are_independent_and_can_be_written_again) {
  for (const int dims : {3, 40, 64}) {
    FilledPage filled(strategy(), {2, dims});
    const std::vector<std::byte> before(filled.page.bytes().begin(), filled.page.bytes().end());
    const auto keys = filled.stored_keys(0);
    const auto values = filled.stored_values(1);
    const auto other = random_floats(filled.width(), 18);
    filled.write(37, other, other);
    const auto new_keys = filled.stored_keys(0);
    const auto new_values = filled.stored_values(1);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (i / filled.dims() == 37) continue;
      ASSERT_EQ(keys[i], new_keys[i]) << i / filled.dims();
      ASSERT_EQ(values[i], new_values[i]) << i / filled.dims();
    }
    EXPECT_NE(keys, new_keys);
    EXPECT_NE(values, new_values);
    filled.write(37, std::span(filled.keys).subspan(filled.at(37, 0, 0), filled.width()),
                 std::span(filled.values).subspan(filled.at(37, 0, 0), filled.width()));
    EXPECT_TRUE(std::ranges::equal(before, filled.page.bytes()));
    EXPECT_TRUE(filled.page.is_guarded());
  }
}

TEST_P(KvPages, pages_are_those_of_plain_loops) {
  for (const int dims : kHeadDims) {
    FilledPage filled(strategy(), {2, dims});
    FilledPage plain(make_kv(GetParam().config, "generic"), {2, dims});
    ASSERT_TRUE(std::ranges::equal(filled.page.bytes(), plain.page.bytes())) << dims;
  }
}

TEST_P(KvPages, results_are_nearly_those_of_plain_loops) {
  for (const int dims : kHeadDims) {
    FilledPage filled(strategy(), {1, dims});
    FilledPage plain(make_kv(GetParam().config, "generic"), {1, dims});
    const auto queries = random_floats(filled.dims() * 3, 21);
    const auto weights = random_floats(kTokens * 3, 22);
    const auto scores = filled.scores(0, 1, 63, queries);
    const auto plain_scores = plain.scores(0, 1, 63, queries);
    const auto sums = filled.sums(0, 1, 63, weights);
    const auto plain_sums = plain.sums(0, 1, 63, weights);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      ASSERT_NEAR(scores[i], plain_scores[i], 2e-4) << dims;
    }
    for (std::size_t i = 0; i < sums.size(); ++i) ASSERT_NEAR(sums[i], plain_sums[i], 2e-4) << dims;
  }
}

TEST_P(KvPages, what_is_not_finite_stays_visible) {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    FilledPage filled(strategy(), {2, 64});
    auto key = random_floats(filled.width(), 23);
    auto value = random_floats(filled.width(), 24);
    const auto good_key = key;
    key[5] = bad;
    value[9] = bad;
    filled.write(20, key, value);
    const auto queries = random_floats(64, 25);
    const auto scores = filled.scores(0, 0, kTokens, queries);
    for (std::size_t t = 0; t < kTokens; ++t) EXPECT_EQ(std::isfinite(scores[t]), t != 20) << bad;
    const std::vector<float> weights(kTokens, 1.0F);
    const auto sums = filled.raw_sums(0, 0, kTokens, weights);
    EXPECT_FALSE(std::isfinite(std::accumulate(sums.begin(), sums.end(), 0.0F))) << bad;
    // The other head is not concerned, and a query that is no number gives none.
    for (const float score : filled.scores(1, 0, kTokens, queries)) {
      EXPECT_TRUE(std::isfinite(score));
    }
    filled.write(20, good_key, good_key);
    auto broken = queries;
    broken[3] = bad;
    for (const float score : filled.scores(0, 0, kTokens, broken)) {
      EXPECT_FALSE(std::isfinite(score)) << bad;
    }
  }
}

TEST_P(KvPages, zeros_are_stored_as_zeros) {
  for (const int dims : {1, 80, 128}) {
    const KvShape shape{1, dims};
    const std::vector<float> zeros(static_cast<std::size_t>(dims * kTokens), 0.0F);
    FilledPage filled(strategy(), shape, zeros, zeros);
    for (const float key : filled.stored_keys(0)) EXPECT_EQ(key, 0);
    for (const float value : filled.stored_values(0)) EXPECT_EQ(value, 0);
    const std::vector<float> no_query(filled.dims(), 0.0F);
    for (const float score : filled.scores(0, 0, kTokens, no_query)) EXPECT_EQ(score, 0);
  }
}

TEST_P(KvPages, shapes_that_no_model_has_are_refused) {
  const auto kv = strategy();
  EXPECT_THROW(kv->page_bytes({0, 64}), Error);
  EXPECT_THROW(kv->page_bytes({2, 0}), Error);
  EXPECT_THROW(kv->page_bytes({2, -1}), Error);
  EXPECT_THROW(kv->page_bytes({INT32_MAX, INT32_MAX}), Error);
  GuardedPage page(kv->page_bytes({1, 4}));
  const std::vector<float> four(4), five(5);
  EXPECT_THROW(kv->write({1, 4}, page.data(), 64, four, four), Error);
  EXPECT_THROW(kv->write({1, 4}, page.data(), -1, four, four), Error);
  EXPECT_THROW(kv->write({1, 4}, page.data(), 0, five, four), Error);
  EXPECT_THROW(kv->write({1, 4}, page.data(), 0, four, five), Error);
  EXPECT_TRUE(page.is_guarded());
}

}  // namespace
}  // namespace quiver::test
