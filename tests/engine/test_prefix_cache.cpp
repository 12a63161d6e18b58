// Kept beginnings of texts: what is shared, what is told apart, and what has to go first.
#include <gtest/gtest.h>

#include "core/cache/prefix_cache.hpp"
#include "tests/support/conv_model.hpp"
#include "tests/support/models.hpp"
#include "tests/support/texts.hpp"

namespace quiver::test {
namespace {

constexpr int kGrid = Engine::kPromptGrid;
constexpr std::size_t kMany = std::size_t{1} << 30U;

class Prefixes : public testing::Test {
 protected:
  Prefixes() : ids(random_tokens(random, 1100, kConvVocabulary)) {}

  /// A sequence of the first `count` tokens, whose blocks are kept on the way.
  Sequence feed(PrefixCache& cache, const std::string& key, const std::vector<std::int32_t>& tokens,
                std::size_t count) {
    Sequence sequence = test.engine.new_sequence();
    cache.extend(sequence, key, std::span(tokens).first(count));
    while (static_cast<std::size_t>(sequence.length()) < count) {
      const auto held = static_cast<std::size_t>(sequence.length());
      test.engine.feed_prompt(
          sequence, std::span(tokens).subspan(held, std::min<std::size_t>(kGrid, count - held)));
      if (sequence.length() % kGrid == 0) cache.keep(sequence, key, tokens);
    }
    return sequence;
  }
  int shared(PrefixCache& cache, const std::string& key, const std::vector<std::int32_t>& tokens) {
    Sequence sequence = test.engine.new_sequence();
    return cache.extend(sequence, key, tokens);
  }
  /// Bytes that one kept block counts.
  std::size_t block_bytes() {
    PrefixCache cache(kGrid, kMany);
    feed(cache, "", ids, kGrid);
    return cache.size_bytes();
  }

  std::mt19937 random{5};
  TestEngine test{ConvCheckpoint().load()};
  std::vector<std::int32_t> ids;
};

TEST_F(Prefixes, a_shared_beginning_takes_no_page_and_leads_to_the_same_bits) {
  Sequence fresh = test.engine.new_sequence();
  const Logits want = test.engine.feed_prompt(fresh, ids);
  fresh.truncate(0);
  PrefixCache cache(kGrid, kMany);
  feed(cache, "k", ids, 700).truncate(0);
  const std::size_t used = test.engine.pool().used_bytes();
  EXPECT_EQ(used, page_bytes(test.engine.layout(), 2 * kGrid)) << "whole blocks alone are kept";
  Sequence sequence = test.engine.new_sequence();
  EXPECT_EQ(cache.extend(sequence, "k", ids), 2 * kGrid);
  EXPECT_EQ(sequence.length(), 2 * kGrid);
  EXPECT_EQ(test.engine.pool().used_bytes(), used);
  EXPECT_EQ(test.engine.feed_prompt(sequence, std::span(ids).subspan(2 * kGrid)).values,
            want.values);
}

TEST_F(Prefixes, what_shares_a_beginning_does_not_change_it) {
  PrefixCache cache(kGrid, kMany);
  feed(cache, "k", ids, kGrid);
  const auto continued = [&](const std::vector<std::int32_t>& more) {
    Sequence sequence = test.engine.new_sequence();
    EXPECT_EQ(cache.extend(sequence, "k", ids), kGrid);
    return test.engine.feed_prompt(sequence, more).values;
  };
  const auto one = random_tokens(random, 90, kConvVocabulary);
  const auto other = random_tokens(random, 90, kConvVocabulary);
  const auto want = continued(one);
  EXPECT_NE(continued(other), want);
  EXPECT_EQ(continued(one), want);
}

TEST_F(Prefixes, a_sequence_goes_on_sharing_from_where_it_stands) {
  PrefixCache cache(kGrid, kMany);
  const Sequence whole = feed(cache, "k", ids, 4 * kGrid);
  Sequence sequence = test.engine.new_sequence();
  EXPECT_EQ(cache.extend(sequence, "k", std::span(ids).first(kGrid + 7)), kGrid);
  EXPECT_EQ(cache.extend(sequence, "k", std::span(ids).first(4 * kGrid - 1)), 2 * kGrid);
  EXPECT_EQ(cache.extend(sequence, "k", std::span(ids).first(4 * kGrid - 1)), 0);
  EXPECT_EQ(sequence.length(), 3 * kGrid);
}

TEST_F(Prefixes, other_tokens_and_other_keys_share_nothing_beyond_what_is_equal) {
  PrefixCache cache(kGrid, kMany);
  feed(cache, "k", ids, 4 * kGrid);
  EXPECT_EQ(shared(cache, "k", ids), 4 * kGrid);
  EXPECT_EQ(shared(cache, "l", ids), 0);
  EXPECT_EQ(shared(cache, "", ids), 0);
  for (const int at : {0, kGrid - 1, kGrid, 2 * kGrid + 100, 4 * kGrid - 1}) {
    auto changed = ids;
    auto& token = changed[static_cast<std::size_t>(at)];
    token = (token + 1) % kConvVocabulary;
    EXPECT_EQ(shared(cache, "k", changed), at / kGrid * kGrid) << "token " << at;
  }
  EXPECT_EQ(shared(cache, "k", {ids.begin(), ids.begin() + 2 * kGrid - 1}), kGrid);
}

TEST_F(Prefixes, the_same_block_is_kept_once) {
  PrefixCache cache(kGrid, kMany);
  const Sequence one = feed(cache, "k", ids, 2 * kGrid);
  const std::size_t bytes = cache.size_bytes();
  cache.keep(one, "k", ids);
  EXPECT_EQ(cache.size_bytes(), bytes);
  EXPECT_EQ(bytes, 2 * block_bytes());
}

TEST_F(Prefixes, the_least_recently_used_goes_first_where_the_limit_is_reached) {
  PrefixCache cache(kGrid, 3 * block_bytes());
  auto others = ids;
  std::ranges::reverse(others);
  feed(cache, "a", ids, 2 * kGrid);
  feed(cache, "b", others, kGrid);
  EXPECT_EQ(shared(cache, "a", ids), 2 * kGrid) << "and is used";
  feed(cache, "c", ids, kGrid);
  EXPECT_EQ(shared(cache, "b", others), 0) << "was used least recently";
  EXPECT_EQ(shared(cache, "a", ids), 2 * kGrid);
  EXPECT_EQ(shared(cache, "c", ids), kGrid);
  feed(cache, "d", others, kGrid);
  EXPECT_EQ(shared(cache, "a", ids), kGrid) << "the end of a text goes before its beginning";
  EXPECT_LE(cache.size_bytes(), 3 * block_bytes());
}

TEST_F(Prefixes, a_text_longer_than_the_limit_keeps_its_beginning) {
  PrefixCache cache(kGrid, 2 * block_bytes());
  feed(cache, "k", ids, 4 * kGrid);
  EXPECT_EQ(shared(cache, "k", ids), 2 * kGrid);
  EXPECT_EQ(cache.size_bytes(), 2 * block_bytes());
}

TEST_F(Prefixes, a_limit_below_one_block_keeps_nothing) {
  for (const std::size_t limit : {std::size_t{0}, block_bytes() - 1}) {
    PrefixCache cache(kGrid, limit);
    feed(cache, "k", ids, kGrid);
    EXPECT_EQ(cache.size_bytes(), 0U);
    EXPECT_EQ(shared(cache, "k", ids), 0);
    EXPECT_EQ(test.engine.pool().used_bytes(), 0U);
  }
}

TEST_F(Prefixes, evicting_spares_what_a_sequence_uses) {
  PrefixCache cache(kGrid, kMany);
  auto others = ids;
  std::ranges::reverse(others);
  feed(cache, "k", ids, 3 * kGrid);
  feed(cache, "k", others, kGrid);
  const std::size_t block = page_bytes(test.engine.layout(), kGrid);
  Sequence user = test.engine.new_sequence();
  EXPECT_EQ(cache.extend(user, "k", std::span(ids).first(2 * kGrid)), 2 * kGrid);
  EXPECT_EQ(cache.evict_unused(1), block);
  EXPECT_EQ(shared(cache, "k", ids), 2 * kGrid) << "the last block was unused, and oldest";
  EXPECT_EQ(cache.evict_unused(kMany), block);
  EXPECT_EQ(shared(cache, "k", others), 0);
  EXPECT_EQ(cache.evict_unused(kMany), 0U) << "all that is left is in use";
  user.truncate(0);
  EXPECT_EQ(cache.evict_unused(kMany), 2 * block);
  EXPECT_EQ(test.engine.pool().used_bytes(), 0U);
  EXPECT_EQ(cache.size_bytes(), 0U);
}

TEST_F(Prefixes, a_block_whose_beginning_is_gone_is_not_kept) {
  PrefixCache cache(kGrid, kMany);
  Sequence sequence = feed(cache, "k", ids, kGrid);
  {
    PrefixCache empty(kGrid, kMany);
    test.engine.feed_prompt(sequence, std::span(ids).subspan(kGrid, kGrid));
    empty.keep(sequence, "k", ids);
    EXPECT_EQ(empty.size_bytes(), 0U);
  }
  cache.keep(sequence, "k", ids);
  EXPECT_EQ(shared(cache, "k", ids), 2 * kGrid);
}

TEST_F(Prefixes, nothing_is_shared_off_the_grid) {
  PrefixCache cache(kGrid, kMany);
  Sequence sequence = test.engine.new_sequence();
  test.engine.feed_prompt(sequence, std::span(ids).first(64));
  EXPECT_THROW(cache.keep(sequence, "k", ids), Error);
  EXPECT_THROW(cache.extend(sequence, "k", ids), Error);
  EXPECT_THROW(PrefixCache(100, kMany), Error) << "a block ends with a page";
}

TEST_F(Prefixes, a_text_of_many_blocks_is_evicted_from_its_end_in_one_go) {
  constexpr std::size_t kBlocks = 200;
  CacheLayout layout;
  layout.kv_layers.push_back({{1, 1}, 64, 0});
  PagePool pool;
  PrefixCache cache(kGrid, kMany);
  const std::vector<std::int32_t> zeros(kBlocks * kGrid, 0);
  Sequence sequence(pool, layout);
  for (std::size_t block = 0; block < kBlocks; ++block) {
    sequence.begin(kGrid);
    sequence.accept(kGrid);
    cache.keep(sequence, "k", zeros);
  }
  const std::size_t bytes = page_bytes(layout, sequence.length());
  sequence.truncate(0);
  EXPECT_EQ(pool.used_bytes(), bytes);
  EXPECT_EQ(cache.evict_unused(bytes), bytes);
  EXPECT_EQ(pool.used_bytes(), 0U);
}

}  // namespace
}  // namespace quiver::test
