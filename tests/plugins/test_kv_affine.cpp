// kv-affine: codes against the formula in double, errors, sizes, options.
#include "kv_fixture.hpp"

namespace quiver::test {
namespace {

std::shared_ptr<const KvStrategy> make(const Numbers& options, const char* isa = "avx512vnni") {
  return make_kv({KV_AFFINE_SO, "affine", options}, isa);
}

/// One group by the formula: bias = least number, scale = range / greatest code, both as float16,
/// x ~ scale * round((x - bias) / scale) + bias. Counts numbers within `slack` of a tie as right
/// either way.
std::size_t wrong_numbers(std::span<const float> written, std::span<const float> stored, int bits) {
  const double levels = std::ldexp(1.0, bits) - 1;
  const double low = *std::ranges::min_element(written);
  const double high = *std::ranges::max_element(written);
  const double bias = rounded_f16(low);
  const double scale = rounded_f16(std::max(high - bias, 0.0) / levels);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < written.size(); ++i) {
    const double step = scale > 0 ? (written[i] - bias) / scale : 0;
    const double code = std::clamp(std::nearbyint(step), 0.0, levels);
    const bool is_tie = std::abs(step - std::floor(step) - 0.5) < 1e-3;
    const double allowed = 1e-5 * (high - low) + 1e-6 * std::abs(high) + (is_tie ? scale : 0);
    wrong += std::abs(stored[i] - (scale * code + bias)) <= allowed ? 0U : 1U;
  }
  return wrong;
}

std::size_t expected_group(int dims, int asked) {
  if (dims % asked == 0) return static_cast<std::size_t>(asked);
  return static_cast<std::size_t>(asked == 64 && dims % 32 == 0 ? 32 : dims);
}

TEST(KvAffine, numbers_are_those_of_the_formula) {
  for (const int bits : {4, 8}) {
    for (const int group : {32, 64}) {
      for (const int dims : {1, 3, 32, 48, 64, 80, 96, 128, 200, 256, 300}) {
        FilledPage filled(make({{"bits", bits}, {"group", group}}), {2, dims});
        const auto keys = filled.stored_keys(1);
        const auto values = filled.stored_values(1);
        const std::size_t size = expected_group(dims, group);
        std::size_t wrong = 0;
        for (int slot = 0; slot < kTokens; ++slot) {
          for (std::size_t d = 0; d < filled.dims(); d += size) {
            const std::size_t from = filled.at(slot, 1, static_cast<int>(d));
            const std::size_t to = static_cast<std::size_t>(slot) * filled.dims() + d;
            wrong += wrong_numbers(std::span(filled.keys).subspan(from, size),
                                   std::span(keys).subspan(to, size), bits);
            wrong += wrong_numbers(std::span(filled.values).subspan(from, size),
                                   std::span(values).subspan(to, size), bits);
          }
        }
        EXPECT_EQ(wrong, 0U) << bits << " bits, group " << group << ", head " << dims;
      }
    }
  }
}

TEST(KvAffine, errors_on_normal_numbers_are_those_known) {
  // Shares of the mean square, from a simulation of the formula in double.
  struct Known {
    int bits, group;
    double share;
  };
  for (const auto& [bits, group, share] :
       {Known{4, 64, 8.01e-3}, {4, 32, 6.14e-3}, {8, 64, 2.778e-5}, {8, 32, 2.110e-5}}) {
    FilledPage filled(make({{"bits", bits}, {"group", group}}), {16, 128});
    double keys = 0, values = 0;
    for (int head = 0; head < 16; ++head) {
      keys += error_share(filled, filled.keys, filled.stored_keys(head), head) / 16;
      values += error_share(filled, filled.values, filled.stored_values(head), head) / 16;
    }
    EXPECT_NEAR(keys / share, 1, 0.03) << bits << " bits, group " << group;
    EXPECT_NEAR(values / share, 1, 0.03) << bits << " bits, group " << group;
  }
}

TEST(KvAffine, a_channel_of_outliers_costs_its_group_only) {
  const KvShape shape{1, 128};
  auto keys = FilledPage::random_tokens(shape, 5);
  for (std::size_t i = 7; i < keys.size(); i += 128) keys[i] *= 15;
  FilledPage filled(make({{"bits", 4}}), shape, keys, keys);
  const auto stored = filled.stored_keys(0);
  EXPECT_NEAR(error_share(filled, filled.keys, stored, 0, 7), 0.0573, 0.012);
  // Numbers 64 to 127 have a scale of their own.
  double errors = 0, squares = 0;
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t d = 64; d < 128; ++d) {
      errors += std::pow(stored[t * 128 + d] - keys[t * 128 + d], 2);
      squares += std::pow(keys[t * 128 + d], 2);
    }
  }
  EXPECT_NEAR(errors / squares, 0.0083, 0.001);
}

TEST(KvAffine, rounding_queries_costs_little) {
  // Against the exact product with the stored keys, relative to the size of scores.
  FilledPage filled(make({}), {1, 128});
  const auto stored = filled.stored_keys(0);
  const auto queries = random_floats(std::size_t{128} * 16, 31);
  const auto scores = filled.scores(0, 0, kTokens, queries);
  double errors = 0, squares = 0;
  for (std::size_t q = 0; q < 16; ++q) {
    for (std::size_t t = 0; t < kTokens; ++t) {
      double exact = 0;
      for (std::size_t d = 0; d < 128; ++d) {
        exact += static_cast<double>(queries[q * 128 + d]) * stored[t * 128 + d];
      }
      errors += std::pow(exact - scores[q * kTokens + t], 2);
      squares += exact * exact;
    }
  }
  EXPECT_LT(std::sqrt(errors / squares), 4e-5);
}

TEST(KvAffine, integer_loops_agree_to_the_bit) {
  FilledPage one(make({{"bits", 4}}, "avx512"), {1, 96});
  FilledPage other(make({{"bits", 4}}, "avx512vnni"), {1, 96});
  const auto queries = random_floats(std::size_t{96} * 9, 33);
  EXPECT_EQ(one.scores(0, 0, kTokens, queries), other.scores(0, 0, kTokens, queries));
}

TEST(KvAffine, the_greatest_sums_of_integers_do_not_overflow) {
  // Codes and queries at their ends, in groups that are cut into pieces too.
  for (const int dims : {64, 128, 256, 1000}) {
    for (const char* isa : kIsas) {
      const KvShape shape{1, dims};
      std::vector<float> keys(static_cast<std::size_t>(dims * kTokens), 255.0F);
      for (int t = 0; t < kTokens; ++t) keys[static_cast<std::size_t>(t * dims)] = 0;
      FilledPage filled(make({{"bits", 8}}, isa), shape, keys, keys);
      const std::vector<float> queries(filled.dims(), -3.0F);
      const double exact = -3.0 * 255 * (dims - 1);
      for (const float score : filled.scores(0, 0, kTokens, queries)) {
        // Whole groups of one value have it as their bias; the others are exact in integers.
        ASSERT_NEAR(score / exact, 1, 1e-4) << isa << " " << dims;
      }
    }
  }
}

TEST(KvAffine, pages_are_really_packed) {
  // Codes, and 4 bytes of scale and bias a group, for 64 keys and 64 values.
  EXPECT_EQ(make({{"bits", 8}})->page_bytes({1, 64}), 64U * 2 * (64 + 4));
  EXPECT_EQ(make({{"bits", 4}})->page_bytes({3, 128}), 3U * 64 * 2 * (64 + 8));
  EXPECT_EQ(make({{"bits", 4}, {"group", 32}})->page_bytes({1, 64}), 64U * 2 * (32 + 8));
  EXPECT_EQ(make({{"key-bits", 8}, {"value-bits", 4}})->page_bytes({1, 64}), 64U * (68 + 36));
  // Whole heads that no group divides have one group.
  EXPECT_EQ(make({{"bits", 8}})->page_bytes({1, 80}), 64U * 2 * (80 + 4));
}

TEST(KvAffine, options_that_do_not_exist_are_refused) {
  for (const Numbers& options :
       {Numbers{{"bits", 5}}, {{"key-bits", 2}}, {{"value-bits", 7}}, {{"group", 48}}}) {
    EXPECT_THROW(make(options), Error);
  }
  const auto& factory = open_interface<KvStrategyFactory>(KV_AFFINE_SO);
  EXPECT_THROW(factory.options("affine4"), Error);
}

}  // namespace
}  // namespace quiver::test
