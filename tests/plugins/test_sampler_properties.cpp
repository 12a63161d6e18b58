// The filters of sampler-standard against naive long double versions on random rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "sampler_fixture.hpp"

namespace quiver::test {
namespace {

/// One random row: a few shapes of distribution, many ties, some tokens ruled out.
std::vector<float> random_logits(std::mt19937& random) {
  const std::size_t count = std::uniform_int_distribution<std::size_t>(1, 700)(random);
  const double spread = std::pow(10.0, std::uniform_real_distribution<double>(-2, 1.5)(random));
  const bool is_rounded = random() % 3 == 0;
  std::normal_distribution<double> normal(random() % 2 == 0 ? 0 : -300, spread);
  std::vector<float> logits(count);
  for (float& logit : logits) {
    const double value = normal(random);
    logit = static_cast<float>(is_rounded ? std::round(value) : value);
    if (random() % 16 == 0) logit = kMinusInfinity;
  }
  logits[random() % count] = static_cast<float>(normal(random));
  return logits;
}

std::vector<long double> softmax(const std::vector<float>& logits) {
  const long double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<long double> p;
  long double total = 0;
  for (const float logit : logits) total += p.emplace_back(std::exp(logit - largest));
  for (long double& value : p) value /= total;
  return p;
}

/// Ids ordered by ascending key, equal keys by id.
Ids ordered(const std::vector<long double>& keys) {
  Ids ids(keys.size());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
  std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
    return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)];
  });
  return ids;
}

std::vector<long double> negated(const std::vector<float>& logits) {
  std::vector<long double> keys;
  for (const float logit : logits) keys.push_back(-static_cast<long double>(logit));
  return keys;
}

Ids sorted(Ids ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

TEST(Filters, top_k_equals_a_full_sort) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const auto logits = random_logits(random);
    const std::size_t k = random() % (logits.size() + 2) + 1;
    Ids expected = ordered(negated(logits));
    expected.resize(std::min(k, expected.size()));
    EXPECT_EQ(survivors("top-k", {{"k", static_cast<double>(k)}}, logits), sorted(expected));
  }
}

TEST(Filters, top_p_equals_a_naive_version) {
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) {
    const auto logits = random_logits(random);
    const auto p = softmax(logits);
    const double limit = std::uniform_real_distribution<double>(0.001, 0.999)(random);
    Ids expected;
    for (std::size_t a = 0; a < p.size(); ++a) {
      long double likelier = 0;
      for (std::size_t b = 0; b < p.size(); ++b) likelier += logits[b] > logits[a] ? p[b] : 0;
      if (likelier < limit) expected.push_back(static_cast<std::int32_t>(a));
    }
    EXPECT_EQ(survivors("top-p", {{"p", limit}}, logits), expected);
  }
}

TEST(Filters, typical_equals_a_naive_version) {
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    const auto logits = random_logits(random);
    const auto p = softmax(logits);
    const double limit = std::uniform_real_distribution<double>(0.001, 0.999)(random);
    long double entropy = 0;
    for (const long double value : p) entropy -= value > 0 ? value * std::log(value) : 0;
    std::vector<long double> keys;
    for (const long double value : p) keys.push_back(std::abs(-std::log(value) - entropy));
    // Compare masses and counts: tokens on both sides of the average may be equally far from it up
    // to rounding, and then only their order is in doubt.
    long double mass = 0;
    std::size_t count = 0;
    for (const std::int32_t id : ordered(keys)) {
      ++count;
      mass += p[static_cast<std::size_t>(id)];
      if (mass > limit) break;
    }
    const auto kept = survivors("typical", {{"p", limit}}, logits);
    long double farthest_kept = 0;
    for (const std::int32_t id : kept) {
      farthest_kept = std::max(farthest_kept, keys[static_cast<std::size_t>(id)]);
    }
    EXPECT_EQ(kept.size(), count);
    for (std::size_t id = 0; id < p.size(); ++id) {
      const bool is_kept =
          std::binary_search(kept.begin(), kept.end(), static_cast<std::int32_t>(id));
      EXPECT_TRUE(is_kept || keys[id] >= farthest_kept - 1e-9L * (1 + farthest_kept));
    }
  }
}

TEST(Filters, min_p_top_n_sigma_and_xtc_equal_naive_versions) {
  std::mt19937 random(4);
  for (int i = 0; i < 300; ++i) {
    const auto logits = random_logits(random);
    const auto p = softmax(logits);
    const long double largest = *std::max_element(logits.begin(), logits.end());
    const double limit = std::uniform_real_distribution<double>(0.001, 0.5)(random);
    const double n = std::uniform_real_distribution<double>(0.01, 4)(random);
    long double sum = 0, squares = 0, finite = 0, least = 2;
    for (const float l : logits) std::isfinite(l) ? (sum += l, finite += 1) : sum;
    for (const float l : logits) {
      squares += std::isfinite(l) ? (l - sum / finite) * (l - sum / finite) : 0;
    }
    for (const long double value : p) least = value > limit ? std::min(least, value) : least;
    Ids by_p, by_n, by_xtc;
    for (std::size_t id = 0; id < p.size(); ++id) {
      const auto token = static_cast<std::int32_t>(id);
      if (logits[id] >= largest + std::log(static_cast<long double>(limit))) by_p.push_back(token);
      if (logits[id] >= largest - n * std::sqrt(squares / finite)) by_n.push_back(token);
      if (p[id] <= least) by_xtc.push_back(token);
    }
    EXPECT_EQ(survivors("min-p", {{"p", limit}}, logits), by_p);
    EXPECT_EQ(survivors("top-n-sigma", {{"n", n}}, logits), by_n);
    EXPECT_EQ(survivors("xtc", {{"probability", 1}, {"threshold", limit}}, logits), by_xtc);
  }
}

/// Whether the softmax over a row's survivors is the full one, divided by their mass.
bool is_renormalized(const Row& row, const std::vector<long double>& p) {
  const Ids kept = row.survivors();
  long double mass = 0;
  for (const std::int32_t id : kept) mass += p[static_cast<std::size_t>(id)];
  const auto probabilities = row.probabilities();
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const auto expected = static_cast<double>(p[static_cast<std::size_t>(kept[i])] / mass);
    if (std::abs(probabilities[i] - expected) > 1e-12) return false;
  }
  return true;
}

TEST(Filters, a_looser_limit_keeps_a_superset_and_probabilities_renormalize) {
  const std::pair<const char*, Numbers> tight_and_loose[][2] = {
      {{"top-k", {{"k", 5}}}, {"top-k", {{"k", 30}}}},
      {{"top-p", {{"p", 0.3}}}, {"top-p", {{"p", 0.8}}}},
      {{"min-p", {{"p", 0.3}}}, {"min-p", {{"p", 0.02}}}},
      {{"typical", {{"p", 0.3}}}, {"typical", {{"p", 0.8}}}},
      {{"top-n-sigma", {{"n", 0.5}}}, {"top-n-sigma", {{"n", 1.5}}}}};
  std::mt19937 random(5);
  for (int i = 0; i < 60; ++i) {
    const auto logits = random_logits(random);
    const auto p = softmax(logits);
    for (const auto& [tight, loose] : tight_and_loose) {
      Row few(logits);
      Row many(logits);
      apply(tight.first, tight.second, few);
      apply(loose.first, loose.second, many);
      const Ids few_ids = few.survivors();
      const Ids many_ids = many.survivors();
      EXPECT_TRUE(std::includes(many_ids.begin(), many_ids.end(), few_ids.begin(), few_ids.end()))
          << tight.first;
      EXPECT_TRUE(is_renormalized(few, p) && is_renormalized(many, p)) << tight.first;
    }
  }
}

TEST(Filters, the_order_of_candidates_does_not_change_who_survives) {
  std::mt19937 random(6);
  const std::pair<const char*, Numbers> filters[] = {
      {"top-k", {{"k", 7}}}, {"min-p", {{"p", 0.2}}}, {"top-n-sigma", {{"n", 1}}}};
  for (int i = 0; i < 60; ++i) {
    const auto logits = random_logits(random);
    Ids order(logits.size());
    for (std::size_t at = 0; at < order.size(); ++at) order[at] = static_cast<std::int32_t>(at);
    std::shuffle(order.begin(), order.end(), random);
    std::vector<float> shuffled;
    for (const std::int32_t id : order) shuffled.push_back(logits[static_cast<std::size_t>(id)]);
    for (const auto& [name, options] : filters) {
      Row row(shuffled, order);
      apply(name, options, row);
      EXPECT_EQ(sorted(row.survivors()), survivors(name, options, logits)) << name;
    }
  }
}

}  // namespace
}  // namespace quiver::test
