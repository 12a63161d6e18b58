// kv-turboquant: maps, codebooks and stored vectors against the formula in double.
#include <numbers>
#include <thread>

#include "kv_fixture.hpp"

namespace quiver::test {
namespace {

std::shared_ptr<const KvStrategy> make(const Numbers& options, const char* rotation = "hadamard") {
  return make_kv({KV_TURBOQUANT_SO, "turboquant", options, {{"rotation", rotation}}});
}

constexpr const char* kRotations[] = {"hadamard", "orthogonal"};

double density(double x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
}
double tail(double x) {
  return std::erfc(x / std::numbers::sqrt2) / 2;
}

/// The positive half of the codebook with the least error for a standard normal distribution, by
/// Lloyd's and Max's iteration: each point the mean of the numbers nearest to it.
std::vector<double> codebook(int bits) {
  const std::size_t count = std::size_t{1} << (bits - 1);
  std::vector<double> points(count);
  for (std::size_t i = 0; i < count; ++i) {
    points[i] = (static_cast<double>(i) + 0.5) * 3 / static_cast<double>(count);
  }
  for (int round = 0; round < 3000; ++round) {
    double low = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double high = i + 1 < count ? (points[i] + points[i + 1]) / 2 : 40;
      points[i] = (density(low) - density(high)) / (tail(low) - tail(high));
      low = high;
    }
  }
  return points;
}

/// The matrix of a map: column d is what becomes of unit vector d.
std::vector<double> matrix_of(const KvStrategy& strategy, int dims, bool is_of_values) {
  const auto size = static_cast<std::size_t>(dims);
  std::vector<float> units(size * size, 0.0F);
  for (std::size_t d = 0; d < size; ++d) units[d * size + d] = 1;
  const KvShape shape{1, dims};
  if (is_of_values) strategy.transform_outputs(shape, units.data(), dims);
  if (!is_of_values) strategy.transform_queries(shape, units.data(), dims);
  std::vector<double> matrix(size * size);
  for (std::size_t d = 0; d < size; ++d) {
    for (std::size_t i = 0; i < size; ++i) {
      // Outputs are turned back, so their map is the inverse, which is the transpose.
      (is_of_values ? matrix[d * size + i] : matrix[i * size + d]) = units[d * size + i];
    }
  }
  return matrix;
}

/// x = |x| / sqrt(d) * R^T c, where c are the nearest points to sqrt(d) R x / |x|.
std::vector<double> formula(std::span<const float> x, const std::vector<double>& matrix,
                            const std::vector<double>& points) {
  const std::size_t size = x.size();
  double squares = 0;
  for (const float number : x) squares += static_cast<double>(number) * number;
  const double length = std::sqrt(squares);
  const double root = std::sqrt(static_cast<double>(size));
  std::vector<double> result(size, 0.0);
  for (std::size_t i = 0; i < size; ++i) {
    double turned = 0;
    for (std::size_t d = 0; d < size; ++d) turned += matrix[i * size + d] * x[d];
    turned *= root / length;
    const auto nearest = std::ranges::min_element(
        points, {}, [&](double point) { return std::abs(std::abs(turned) - point); });
    const double number = std::copysign(*nearest, turned) * length / root;
    for (std::size_t d = 0; d < size; ++d) result[d] += matrix[i * size + d] * number;
  }
  return result;
}

/// Greatest distance of a stored vector of head 0 from the formula's, by its length.
double worst_distance(const FilledPage& filled, std::span<const float> written,
                      std::span<const float> stored, const std::vector<double>& matrix,
                      const std::vector<double>& points) {
  double worst = 0;
  for (int slot = 0; slot < kTokens; ++slot) {
    const auto x = written.subspan(filled.at(slot, 0, 0), filled.dims());
    const auto expected = formula(x, matrix, points);
    double errors = 0, squares = 0;
    for (std::size_t d = 0; d < filled.dims(); ++d) {
      errors +=
          std::pow(stored[static_cast<std::size_t>(slot) * filled.dims() + d] - expected[d], 2);
      squares += std::pow(x[d], 2);
    }
    worst = std::max(worst, std::sqrt(errors / squares));
  }
  return worst;
}

TEST(KvTurboquant, maps_are_orthogonal_and_outputs_are_turned_back) {
  for (const char* rotation : kRotations) {
    const auto strategy = make({}, rotation);
    for (const int dims : {1, 3, 32, 48, 80, 96, 128}) {
      for (const bool is_of_values : {false, true}) {
        const auto matrix = matrix_of(*strategy, dims, is_of_values);
        const auto size = static_cast<std::size_t>(dims);
        for (std::size_t i = 0; i < size; ++i) {
          for (std::size_t j = 0; j <= i; ++j) {
            double dot = 0;
            for (std::size_t d = 0; d < size; ++d) {
              dot += matrix[i * size + d] * matrix[j * size + d];
            }
            ASSERT_NEAR(dot, i == j ? 1 : 0, 1e-5) << rotation << " " << dims;
          }
        }
      }
    }
  }
}

TEST(KvTurboquant, maps_are_the_same_at_every_run_and_differ_for_keys_and_values) {
  for (const char* rotation : kRotations) {
    const auto one = make({}, rotation);
    const auto other = make({{"bits", 2}}, rotation);
    EXPECT_EQ(matrix_of(*one, 96, false), matrix_of(*other, 96, false));
    EXPECT_NE(matrix_of(*one, 96, false), matrix_of(*one, 96, true));
  }
}

TEST(KvTurboquant, stored_vectors_are_those_of_the_formula) {
  for (const char* rotation : kRotations) {
    for (int bits = 1; bits <= 4; ++bits) {
      const auto points = codebook(bits);
      for (const int dims : {1, 3, 48, 64, 80}) {
        FilledPage filled(make({{"bits", bits}}, rotation), {1, dims});
        const double keys = worst_distance(filled, filled.keys, filled.stored_keys(0),
                                           matrix_of(*filled.strategy, dims, false), points);
        const double values = worst_distance(filled, filled.values, filled.stored_values(0),
                                             matrix_of(*filled.strategy, dims, true), points);
        // The length is a float16.
        EXPECT_LT(keys, 7e-4) << rotation << " " << bits << " bits, head " << dims;
        EXPECT_LT(values, 7e-4) << rotation << " " << bits << " bits, head " << dims;
      }
    }
  }
}

TEST(KvTurboquant, errors_are_those_known_whatever_the_vectors) {
  constexpr double kShares[] = {0.363380, 0.117482, 0.034548, 0.009501};
  for (const char* rotation : kRotations) {
    for (int bits = 1; bits <= 4; ++bits) {
      const auto strategy = make({{"bits", bits}}, rotation);
      const KvShape shape{1, 128};
      FilledPage normal(strategy, shape);
      EXPECT_NEAR(error_share(normal, normal.keys, normal.stored_keys(0), 0) / kShares[bits - 1], 1,
                  0.05);
      // A few large numbers and an offset, which a scale for all would suffer from.
      auto tokens = FilledPage::random_tokens(shape, 8);
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        tokens[i] = i % 128 == 17 ? 30 + tokens[i] : i % 128 == 90 ? -9 * tokens[i] : tokens[i] + 1;
      }
      FilledPage odd(strategy, shape, tokens, tokens);
      EXPECT_NEAR(error_share(odd, odd.values, odd.stored_values(0), 0) / kShares[bits - 1], 1,
                  0.2);
    }
  }
}

TEST(KvTurboquant, outliers_in_keys_cost_other_channels_less_than_scales_do) {
  constexpr double kShares[] = {0.300, 0.092, 0.0251};  // 2, 3 and 4 bits, from a simulation.
  const KvShape shape{1, 128};
  auto keys = FilledPage::random_tokens(shape, 5);
  for (std::size_t i = 7; i < keys.size(); i += 128) keys[i] *= 15;
  for (int bits = 2; bits <= 4; ++bits) {
    FilledPage filled(make({{"bits", bits}}), shape, keys, keys);
    EXPECT_NEAR(error_share(filled, filled.keys, filled.stored_keys(0), 0, 7) / kShares[bits - 2],
                1, 0.2)
        << bits;
  }
}

TEST(KvTurboquant, pages_are_really_packed) {
  for (int bits = 1; bits <= 4; ++bits) {
    const auto b = static_cast<std::size_t>(bits);
    // Codes, and a length of 2 bytes, for 64 keys and 64 values.
    EXPECT_EQ(make({{"bits", bits}})->page_bytes({3, 128}), 3U * 64 * 2 * (128 * b / 8 + 2));
    EXPECT_EQ(make({{"bits", bits}})->page_bytes({1, 80}), 64U * 2 * (80 * b / 8 + 2));
  }
  EXPECT_EQ(make({{"key-bits", 4}, {"value-bits", 2}})->page_bytes({1, 64}), 64U * (34 + 18));
}

TEST(KvTurboquant, heads_too_long_to_turn_are_refused) {
  EXPECT_THROW(make({})->page_bytes({1, 8192}), Error);
  EXPECT_THROW(make({})->page_bytes({1, 2 * 521}), Error);
  EXPECT_THROW(make({}, "orthogonal")->page_bytes({1, 1024}), Error);
  EXPECT_NO_THROW(make({})->page_bytes({1, 4096}));
}

TEST(KvTurboquant, the_longest_heads_work) {
  for (const int dims : {4096, 511}) {
    const KvShape shape{1, dims};
    const auto strategy = make({});
    GuardedPage page(strategy->page_bytes(shape));
    auto key = random_floats(static_cast<std::size_t>(dims), 3);
    strategy->write(shape, page.data(), 63, key, key);
    double squares = 0;
    for (const float number : key) squares += static_cast<double>(number) * number;
    strategy->transform_queries(shape, key.data(), 1);
    std::vector<float> scores(kTokens);
    strategy->scores(shape, page.slots(0, 63, 64), key.data(), 1, scores.data());
    // A vector with itself: its square, short by the share of the error.
    EXPECT_NEAR(scores[63] / squares, 1 - 0.0095, 0.005) << dims;
    EXPECT_TRUE(page.is_guarded());
  }
}

TEST(KvTurboquant, threads_that_ask_for_a_size_first_get_the_same_map) {
  const auto strategy = make({});
  std::vector<std::vector<float>> results(4, random_floats(96, 1));
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&strategy, &result] {
      for (const int dims : {96, 48, 24, 3}) {
        strategy->transform_queries({1, dims}, result.data(), 96 / dims);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, results.front());
}

TEST(KvTurboquant, options_that_do_not_exist_are_refused) {
  EXPECT_THROW(make({}, "fourier"), Error);
  const auto& factory = open_interface<KvStrategyFactory>(KV_TURBOQUANT_SO);
  EXPECT_THROW(factory.options("turbo"), Error);
}

}  // namespace
}  // namespace quiver::test
