// A row's bits depend on its own sequence only: not on neighbours, chunks, threads or rejected
// rows.
#include <gtest/gtest.h>

#include <random>

#include "core/decode/engine.hpp"
#include "tests/support/models.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {
namespace {

std::vector<std::int32_t> random_ids(std::mt19937& random, int count, int vocabulary) {
  std::vector<std::int32_t> ids;
  for (int i = 0; i < count; ++i) {
    ids.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary)));
  }
  return ids;
}

struct Subject {
  const char* name;
  const char* folder;
  ComputeOptions compute;
};

class RowIndependence : public testing::TestWithParam<Subject> {
 protected:
  std::shared_ptr<const LoadedModel> model = load_model(shared(GetParam().folder));
  ComputeOptions compute = GetParam().compute;
};

TEST_P(RowIndependence, a_batch_of_eight_mixed_sequences_is_bit_identical_to_each_alone) {
  TestEngine test{model, 2, "f32", compute};
  Engine& engine = test.engine;
  std::mt19937 random(1);
  const int vocabulary = engine.info().vocabulary;
  std::vector<std::vector<std::int32_t>> texts;
  for (const int length : {1, 2, 7, 20, 64, 65, 90, 130}) {
    texts.push_back(random_ids(random, length, vocabulary));
  }
  std::vector<Logits> alone;
  for (const auto& text : texts) alone.push_back(all_logits(engine, text, text.size()));

  // All sequences advance together, each by a different number of tokens a pass.
  std::vector<Sequence> sequences(texts.size(), engine.new_sequence());
  std::vector<std::size_t> done(texts.size(), 0);
  std::vector<std::vector<float>> together(texts.size());
  for (bool is_done = false; !is_done;) {
    std::vector<Feed> feeds;
    std::vector<std::size_t> who;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::size_t count = std::min(1 + (random() % 19), texts[i].size() - done[i]);
      if (count == 0) continue;
      feeds.push_back({&sequences[i], std::span(texts[i]).subspan(done[i], count), Wanted::all});
      who.push_back(i);
    }
    is_done = feeds.empty();
    if (is_done) break;
    const Logits logits = engine.forward(feeds);
    int row = 0;
    for (std::size_t f = 0; f < feeds.size(); ++f) {
      const std::size_t i = who[f];
      for (std::size_t r = 0; r < feeds[f].tokens.size(); ++r, ++row) {
        together[i].insert(together[i].end(), logits.row(row).begin(), logits.row(row).end());
      }
      sequences[i].accept(static_cast<int>(feeds[f].tokens.size()));
      done[i] += feeds[f].tokens.size();
    }
  }
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(together[i], alone[i].values) << i;
}

TEST_P(RowIndependence, the_number_of_threads_changes_no_bit) {
  std::mt19937 random(2);
  TestEngine one{model, 1, "f32", compute};
  TestEngine four{model, 4, "f32", compute};
  const auto ids = random_ids(random, 150, one.engine.info().vocabulary);
  EXPECT_EQ(all_logits(one.engine, ids, 150).values, all_logits(four.engine, ids, 150).values);
}

TEST_P(RowIndependence, chunks_across_the_pieces_of_attention_change_no_bit) {
  // Pages are worked through eight at a time; one of the models has a window.
  std::mt19937 random(6);
  TestEngine test{model, 2, "f32", compute};
  const auto ids = random_ids(random, 560, test.engine.info().vocabulary);
  const auto whole = all_logits(test.engine, ids, 560).values;
  for (const std::size_t chunk : {509U, 100U, 6U}) {
    EXPECT_EQ(all_logits(test.engine, ids, chunk).values, whole) << chunk;
  }
}

TEST_P(RowIndependence, chunks_of_whole_blocks_and_canvases_change_no_bit) {
  // The eleventh block lies across the pieces of attention, and one page's end in most others.
  constexpr int kBlock = 49;
  const Visibility blocks{VisibilityKind::block_causal, kBlock};
  std::mt19937 random(7);
  TestEngine test{model, 2, "f32", compute};
  const auto ids = random_ids(random, 12 * kBlock, test.engine.info().vocabulary);
  const auto whole = all_logits(test.engine, ids, ids.size(), blocks).values;
  EXPECT_NE(all_logits(test.engine, ids, ids.size()).values, whole);
  for (const std::size_t chunk : {1U, 3U, 10U}) {
    EXPECT_EQ(all_logits(test.engine, ids, chunk * kBlock, blocks).values, whole) << chunk;
  }
  // A block that is fed on its own is a canvas.
  const Visibility canvas{VisibilityKind::canvas};
  EXPECT_EQ(all_logits(test.engine, ids, kBlock, canvas).values, whole);
}

TEST_P(RowIndependence, rejected_rows_leave_no_trace) {
  TestEngine test{model, 2, "f32", compute};
  Engine& engine = test.engine;
  std::mt19937 random(3);
  const auto text = random_ids(random, 140, engine.info().vocabulary);
  const auto wrong = random_ids(random, 8, engine.info().vocabulary);
  const Logits want = all_logits(engine, text, text.size());
  Sequence sequence = engine.new_sequence();
  std::vector<float> got;
  for (std::size_t done = 0; done < text.size();) {
    // Feed some right tokens followed by wrong ones; keep the right ones only.
    const std::size_t right = std::min<std::size_t>(random() % 5, text.size() - done);
    std::vector<std::int32_t> ids(text.begin() + static_cast<std::ptrdiff_t>(done),
                                  text.begin() + static_cast<std::ptrdiff_t>(done + right));
    ids.insert(ids.end(), wrong.begin(),
               wrong.begin() + 1 + static_cast<std::ptrdiff_t>(random() % 7));
    const Feed feed{&sequence, ids, Wanted::all};
    const Logits logits = engine.forward({&feed, 1});
    sequence.accept(static_cast<int>(right));
    for (std::size_t r = 0; r < right; ++r) {
      const auto row = logits.row(static_cast<int>(r));
      got.insert(got.end(), row.begin(), row.end());
    }
    done += right;
  }
  EXPECT_EQ(got, want.values);
}

TEST_P(RowIndependence, a_copied_sequence_shares_pages_and_diverges_without_harm) {
  TestEngine test{model, 2, "f32", compute};
  Engine& engine = test.engine;
  std::mt19937 random(4);
  const auto prefix = random_ids(random, 100, engine.info().vocabulary);
  const auto left = random_ids(random, 40, engine.info().vocabulary);
  const auto right = random_ids(random, 40, engine.info().vocabulary);
  Sequence trunk = engine.new_sequence();
  engine.feed_prompt(trunk, prefix);
  const std::size_t used = engine.pool().used_bytes();
  Sequence a = trunk;
  Sequence b = trunk;
  EXPECT_EQ(engine.pool().used_bytes(), used) << "copies share all pages";
  const auto continued = [&](Sequence& sequence, const std::vector<std::int32_t>& ids) {
    const Feed feed{&sequence, ids, Wanted::all};
    const Logits logits = engine.forward({&feed, 1});
    sequence.accept(static_cast<int>(ids.size()));
    return logits.values;
  };
  const auto of_a = continued(a, left);
  const auto of_b = continued(b, right);
  const auto fresh = [&](const std::vector<std::int32_t>& ids) {
    Sequence sequence = engine.new_sequence();
    engine.feed_prompt(sequence, prefix);
    return continued(sequence, ids);
  };
  EXPECT_EQ(of_a, fresh(left));
  EXPECT_EQ(of_b, fresh(right));
}

TEST_P(RowIndependence, a_truncated_sequence_goes_on_as_if_it_had_never_been_longer) {
  TestEngine test{model, 2, "f32", compute};
  Engine& engine = test.engine;
  std::mt19937 random(5);
  const auto ids = random_ids(random, 130, engine.info().vocabulary);
  Sequence sequence = engine.new_sequence();
  engine.feed_prompt(sequence, ids);
  sequence.truncate(70);
  const Feed feed{&sequence, std::span(ids).subspan(70), Wanted::all};
  const Logits again = engine.forward({&feed, 1});
  const Logits whole = all_logits(engine, ids, ids.size());
  const auto width = static_cast<std::size_t>(whole.vocabulary);
  EXPECT_EQ(again.values,
            std::vector<float>(whole.values.begin() + static_cast<std::ptrdiff_t>(70 * width),
                               whole.values.end()));
}

constexpr ComputeOptions kExact{ComputeMode::exact};
constexpr ComputeOptions kFast{};
constexpr ComputeOptions kFastInt8{ComputeMode::fast, ActivationChoice::int8};

INSTANTIATE_TEST_SUITE_P(
    all, RowIndependence,
    testing::Values(Subject{"llama", "reference/llama/llama/checkpoint", kExact},
                    Subject{"mistral", "reference/llama/mistral/checkpoint", kExact},
                    Subject{"qwen3", "reference/llama/qwen3/checkpoint", kExact},
                    Subject{"quantized", "reference/convert/llama_a/converted", kExact},
                    Subject{"quantized_fast", "reference/convert/llama_a/converted", kFast},
                    Subject{"quantized_int8", "reference/convert/llama_a/converted", kFastInt8}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Engine, a_full_cache_ends_the_pass_with_an_error_and_leaves_the_sequence_usable) {
  const auto model = load_model(shared("reference/llama/llama/checkpoint"));
  ThreadPool threads(1);
  const auto kv = float_kv();
  const CacheLayout layout = cache_layout(model->weights(), kv);
  std::size_t one_page_each = 0;
  for (const auto& layer : layout.kv_layers) one_page_each += layer.page_bytes;
  Engine engine(model, kv, threads, {ComputeMode::exact}, one_page_each);
  std::mt19937 random(6);
  const auto ids = random_ids(random, 65, engine.info().vocabulary);
  Sequence sequence = engine.new_sequence();
  const Feed too_long{&sequence, ids, Wanted::last};
  EXPECT_THROW(engine.forward({&too_long, 1}), Error);
  EXPECT_EQ(sequence.length(), 0);
  EXPECT_EQ(sequence.pending(), 0);
  const Feed fits{&sequence, std::span(ids).first(64), Wanted::last};
  EXPECT_EQ(engine.forward({&fits, 1}).rows, 1);
}

TEST(Engine, a_token_outside_the_vocabulary_is_named) {
  TestEngine test{load_model(shared("reference/llama/llama/checkpoint"))};
  Sequence sequence = test.engine.new_sequence();
  for (const std::int32_t id : {-1, test.engine.info().vocabulary}) {
    const Feed feed{&sequence, {&id, 1}, Wanted::last};
    try {
      test.engine.forward({&feed, 1});
      FAIL() << "accepted " << id;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_input);
      EXPECT_NE(std::string(error.what()).find(std::to_string(id)), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace quiver::test
