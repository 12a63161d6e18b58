// Checks of strategies for keys and values.
#include "core/plugin/check_kv_page.hpp"
#include "core/plugin/check_support.hpp"

#include <quiver/error.hpp>
#include <quiver/kv_strategy.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

namespace quiver {
namespace {

constexpr int kThreads = 4;
constexpr int kTokens = KvStrategy::kTokens;
constexpr int kQueries = 5;

// Strategies may store in a single bit, whose error is at least half of the signal, so this tells
// garbage from a lossy codec, nothing finer. The error itself is reported.
constexpr double kMostRelativeError = 0.8;

struct Instance {
  std::string label;
  std::shared_ptr<const KvStrategy> strategy;
};

/// A page of an instance.
KvPage page_of(const Instance& instance, const KvShape& shape, GuardSide side = GuardSide::after) {
  return KvPage(*instance.strategy, instance.label, shape, side);
}

std::vector<Instance> instances(const PluginLibrary& library, const PluginOffer& offer,
                                const std::vector<OptionChoice>& choices) {
  std::vector<Instance> made;
  for (const OptionChoice& choice : choices) {
    auto strategy = try_create<KvStrategy, KvStrategyFactory>(library, offer.name, choice);
    if (strategy) made.push_back({choice.label, std::move(strategy)});
  }
  return made;
}

/// The offer with each choice of options that it accepts.
std::vector<Instance> lively(const PluginLibrary& library, const PluginOffer& offer) {
  create_default<KvStrategy, KvStrategyFactory>(library, offer.name);
  const auto specs = provider_of<KvStrategyFactory>(library).options(offer.name);
  return instances(library, offer, lively_options(specs));
}

std::vector<float> queries_for(const KvShape& shape) {
  return check_noise(static_cast<std::size_t>(kQueries * shape.head_dim), 7);
}

std::vector<float> weights_for() {
  std::vector<float> weights = check_noise(static_cast<std::size_t>(kQueries * kTokens), 8);
  for (float& weight : weights) weight = (weight + 1) / 64;
  return weights;
}

/// Runs `work` for every instance and shape that the strategy takes. A strategy may refuse a shape
/// with an Error, but not all of them.
template <class Work>
int for_all(const std::vector<Instance>& all, const Work& work) {
  constexpr std::array<KvShape, 4> kShapes{{{1, 64}, {2, 128}, {4, 32}, {3, 80}}};
  int used = 0;
  for (const Instance& instance : all) {
    bool takes_any = false;
    for (const KvShape& shape : kShapes) {
      try {
        instance.strategy->page_bytes(shape);
      } catch (const Error&) {
        continue;
      }
      takes_any = true;
      work(instance, shape);
      ++used;
    }
    require(takes_any, "takes none of the usual shapes with " + instance.label);
  }
  return used;
}

std::string check_options(const PluginLibrary& library, const PluginOffer& offer) {
  const auto& factory = provider_of<KvStrategyFactory>(library);
  require_sane_options(factory.options(offer.name));
  create_default<KvStrategy, KvStrategyFactory>(library, offer.name);
  return std::to_string(factory.options(offer.name).size()) + " options";
}

std::string check_bad_options(const PluginLibrary& library, const PluginOffer& offer) {
  const auto& factory = provider_of<KvStrategyFactory>(library);
  require_refuses_unknown_offer(factory);
  const auto choices = extreme_options(factory.options(offer.name));
  const auto made = instances(library, offer, choices);
  for_all(made, [](const Instance& instance, const KvShape& shape) {
    page_of(instance, shape).write_all();
  });
  return std::to_string(choices.size() - made.size()) + " choices of options refused";
}

/// Root of the mean squared difference relative to that of `expected`.
struct RelativeError {
  double errors = 0;
  double squares = 0;

  void add(double expected, double got) {
    errors += (expected - got) * (expected - got);
    squares += expected * expected;
  }
  double value() const { return squares > 0 ? std::sqrt(errors / squares) : 0.0; }
};

double score_error(KvPage& page, int head) {
  const KvShape shape = page.shape();
  const std::vector<float> queries = queries_for(shape);
  const std::vector<float> scores = page.scores(head, 0, kTokens, queries, kQueries);
  RelativeError error;
  for (int query = 0; query < kQueries; ++query) {
    for (int slot = 0; slot < kTokens; ++slot) {
      const auto key = page.keys(slot).subspan(static_cast<std::size_t>(head * shape.head_dim));
      double exact = 0;
      for (int d = 0; d < shape.head_dim; ++d) {
        exact +=
            static_cast<double>(queries[static_cast<std::size_t>(query * shape.head_dim + d)]) *
            key[static_cast<std::size_t>(d)];
      }
      error.add(exact, scores[static_cast<std::size_t>(query * kTokens + slot)]);
    }
  }
  return error.value();
}

double sum_error(KvPage& page, int head) {
  const KvShape shape = page.shape();
  const std::vector<float> weights = weights_for();
  const std::vector<float> sums = page.sums(head, 0, kTokens, weights, kQueries);
  RelativeError error;
  for (int query = 0; query < kQueries; ++query) {
    for (int d = 0; d < shape.head_dim; ++d) {
      double exact = 0;
      for (int slot = 0; slot < kTokens; ++slot) {
        const auto value = page.values(slot);
        exact += static_cast<double>(weights[static_cast<std::size_t>(query * kTokens + slot)]) *
                 value[static_cast<std::size_t>(head * shape.head_dim + d)];
      }
      error.add(exact, sums[static_cast<std::size_t>(query * shape.head_dim + d)]);
    }
  }
  return error.value();
}

std::string check_round_trip(const PluginLibrary& library, const PluginOffer& offer) {
  double worst = 0;
  for_all(lively(library, offer), [&](const Instance& instance, const KvShape& shape) {
    KvPage page = page_of(instance, shape);
    page.write_all();
    for (int head = 0; head < shape.kv_heads; ++head) {
      const double scores = score_error(page, head);
      const double sums = sum_error(page, head);
      // Written so that NaN fails too.
      require(scores <= kMostRelativeError && sums <= kMostRelativeError,
              "relative error " + std::to_string(scores) + " of scores and " +
                  std::to_string(sums) + " of sums (" + page.label() + ")");
      worst = std::max({worst, scores, sums});
    }
  });
  return "relative error at most " + std::to_string(worst);
}

std::string check_slots(const PluginLibrary& library, const PluginOffer& offer) {
  for_all(lively(library, offer), [](const Instance& instance, const KvShape& shape) {
    KvPage page = page_of(instance, shape);
    page.write_all();
    const std::vector<float> queries = queries_for(shape);
    const std::vector<float> before = page.scores(0, 0, kTokens, queries, kQueries);
    // Other rows into slot 20, then the first ones again.
    page.write(20, page.values(1), page.keys(1));
    const std::vector<float> between = page.scores(0, 0, kTokens, queries, kQueries);
    for (std::size_t i = 0; i < before.size(); ++i) {
      const bool is_written = i % kTokens == 20;
      require(is_written ? before[i] != between[i] : before[i] == between[i],
              is_written ? "writing a slot again has no effect (" + page.label() + ")"
                         : "writing a slot changes another (" + page.label() + ")");
    }
    page.write(20, page.keys(20), page.values(20));
    require(has_same_bits(before, page.scores(0, 0, kTokens, queries, kQueries)),
            "a slot depends on what was in it before (" + page.label() + ")");
    const std::vector<float> part = page.scores(0, 10, 30, queries, kQueries);
    for (std::size_t i = 0; i < part.size(); ++i) {
      const bool is_asked = i % kTokens >= 10 && i % kTokens < 30;
      require(part[i] == (is_asked ? before[i] : -1.0F),
              "scores of a part of the slots differ (" + page.label() + ")");
    }
  });
  return {};
}

std::string check_queries(const PluginLibrary& library, const PluginOffer& offer) {
  for_all(lively(library, offer), [](const Instance& instance, const KvShape& shape) {
    KvPage page = page_of(instance, shape);
    page.write_all();
    const std::vector<float> queries = queries_for(shape);
    const std::vector<float> weights = weights_for();
    const int head = shape.kv_heads - 1;
    const auto scores = page.scores(head, 0, kTokens, queries, kQueries);
    const auto sums = page.sums(head, 0, kTokens, weights, kQueries);
    const auto dim = static_cast<std::size_t>(shape.head_dim);
    for (std::size_t q = 0; q < kQueries; ++q) {
      const std::span<const float> query(queries.data() + q * dim, dim);
      const std::span<const float> weight(weights.data() + q * kTokens, kTokens);
      const auto alone = page.scores(head, 0, kTokens, query, 1);
      require(has_same_bits(std::span<const float>(alone),
                            std::span<const float>(scores.data() + q * kTokens, kTokens)),
              "a query's scores depend on the others (" + page.label() + ")");
      const auto sum = page.sums(head, 0, kTokens, weight, 1);
      require(has_same_bits(std::span<const float>(sum),
                            std::span<const float>(sums.data() + q * dim, dim)),
              "a query's sum depends on the others (" + page.label() + ")");
    }
  });
  return {};
}

std::string check_pages(const PluginLibrary& library, const PluginOffer& offer) {
  constexpr std::array<std::pair<int, int>, 4> kRanges{
      {{0, 2 * kTokens}, {20, kTokens + 36}, {kTokens, 2 * kTokens}, {70, 70}}};
  std::vector<float> weights = check_noise(static_cast<std::size_t>(2 * kQueries * kTokens), 9);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    // One page's are far smaller.
    weights[i] = (weights[i] + 1) / (i / kTokens % 2 == 0 ? 64 : 8192);
  }
  for_all(lively(library, offer), [&](const Instance& instance, const KvShape& shape) {
    KvPage page = page_of(instance, shape);
    KvPage other = page_of(instance, shape, GuardSide::before);
    page.write_all();
    for (int slot = 0; slot < kTokens; ++slot) {
      other.write(slot, page.values(slot), page.keys(slot));
    }
    const std::vector<float> queries = queries_for(shape);
    const int head = shape.kv_heads - 1;
    const auto front = page.scores(head, 0, kTokens, queries, kQueries);
    const auto back = other.scores(head, 0, kTokens, queries, kQueries);
    for (const auto& [first, last] : kRanges) {
      const auto together = page.scores_with(other, head, first, last, queries, kQueries);
      for (std::size_t i = 0; i < together.size(); ++i) {
        const int slot = static_cast<int>(i % (2 * kTokens));
        const std::size_t at = i / (2 * kTokens) * kTokens + i % kTokens;
        const float own = (slot < kTokens ? front : back)[at];
        require(together[i] == (slot >= first && slot < last ? own : -1.0F),
                "scores depend on the pages handed over together (" + page.label() + ")");
      }
      require(has_same_bits(page.sums_with(other, head, first, last, weights, kQueries),
                            page.sums_one_by_one(other, head, first, last, weights, kQueries)),
              "sums depend on the pages handed over together (" + page.label() + ")");
    }
  });
  return {};
}

std::string check_accumulates(const PluginLibrary& library, const PluginOffer& offer) {
  for_all(lively(library, offer), [](const Instance& instance, const KvShape& shape) {
    KvPage page = page_of(instance, shape);
    page.write_all();
    const std::vector<float> nothing(static_cast<std::size_t>(kQueries * kTokens), 0.0F);
    const auto kept = page.sums(0, 0, kTokens, nothing, kQueries, 0.5F);
    const auto untouched = page.turned(kQueries, 0.5F);
    const auto empty = page.sums(0, 7, 7, weights_for(), kQueries, 0.5F);
    require(has_same_bits(untouched, empty) && has_same_bits(untouched, kept),
            "sums over nothing change the output (" + page.label() + ")");
    const auto sums = page.sums(0, 0, kTokens, weights_for(), kQueries, 0.0F);
    const auto added = page.sums(0, 0, kTokens, weights_for(), kQueries, 0.5F);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      require(std::fabs(added[i] - sums[i] - kept[i]) < 1e-4F * (1 + std::fabs(sums[i])),
              "overwrites the output instead of adding to it (" + page.label() + ")");
    }
  });
  return {};
}

std::string check_copies(const PluginLibrary& library, const PluginOffer& offer) {
  for_all(lively(library, offer), [](const Instance& instance, const KvShape& shape) {
    KvPage first = page_of(instance, shape, GuardSide::after);
    KvPage second = page_of(instance, shape, GuardSide::before);
    first.write_all();
    second.write_all();
    const std::vector<float> queries = queries_for(shape);
    const std::vector<float> weights = weights_for();
    const auto scores = first.scores(0, 0, kTokens, queries, kQueries);
    const auto sums = first.sums(0, 0, kTokens, weights, kQueries);
    require(
        has_same_bits(scores, second.scores(0, 0, kTokens, queries, kQueries, GuardSide::before)) &&
            has_same_bits(sums,
                          second.sums(0, 0, kTokens, weights, kQueries, 0.0F, GuardSide::before)),
        "the same rows in another page give other bits (" + first.label() + ")");
    std::ranges::copy(first.bytes(), second.bytes().begin());
    second.make_read_only();
    require(has_same_bits(scores, second.scores(0, 0, kTokens, queries, kQueries)) &&
                has_same_bits(sums, second.sums(0, 0, kTokens, weights, kQueries)),
            "a copied page gives other bits (" + first.label() + ")");
  });
  return {};
}

std::string check_threads(const PluginLibrary& library, const PluginOffer& offer) {
  for_all(lively(library, offer), [](const Instance& instance, const KvShape& shape) {
    KvPage alone = page_of(instance, shape);
    alone.write_all();
    const std::vector<float> queries = queries_for(shape);
    const auto scores = alone.scores(0, 0, kTokens, queries, kQueries);
    const auto sums = alone.sums(0, 0, kTokens, weights_for(), kQueries);
    run_in_threads(kThreads, [&](int) {
      KvPage page = page_of(instance, shape);
      page.write_all();
      require(has_same_bits(scores, page.scores(0, 0, kTokens, queries, kQueries)) &&
                  has_same_bits(sums, page.sums(0, 0, kTokens, weights_for(), kQueries)),
              "other threads change the bits (" + page.label() + ")");
    });
  });
  return std::to_string(kThreads) + " threads";
}

using KvCheck = std::string (*)(const PluginLibrary&, const PluginOffer&);

}  // namespace

void add_kv_checks(const PluginOffer& offer, std::vector<Check>& plan) {
  constexpr std::array<std::pair<const char*, KvCheck>, 9> kChecks{
      {{"options-valid", check_options},
       {"bad-options-are-errors", check_bad_options},
       {"round-trip-error", check_round_trip},
       {"slots-independent", check_slots},
       {"queries-independent", check_queries},
       {"pages-independent", check_pages},
       {"accumulate-adds", check_accumulates},
       {"page-copies-equal", check_copies},
       {"independent-of-threads", check_threads}}};
  for (const auto& [name, check] : kChecks) {
    plan.push_back({offer.name + "/" + name, [offer, check = check](const CheckSubject& subject) {
                      return check(*subject.load(), offer);
                    }});
  }
}

void exercise_kv(const PluginLibrary& library, const PluginOffer& offer) {
  const auto strategy = create_default<KvStrategy, KvStrategyFactory>(library, offer.name);
  for_all({{"default options", strategy}}, [](const Instance& instance, const KvShape& shape) {
    KvPage page = page_of(instance, shape);
    page.write_all();
    page.scores(0, 0, kTokens, queries_for(shape), kQueries);
  });
}

}  // namespace quiver
