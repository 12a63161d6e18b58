// Layers that keep keys and values in different forms, and newest tokens kept in a finer one.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "core/decode/kv_config.hpp"
#include "tests/support/conv_model.hpp"
#include "tests/support/float_pages.hpp"
#include "tests/support/kv.hpp"
#include "tests/support/models.hpp"
#include "tests/support/texts.hpp"

namespace quiver::test {
namespace {

constexpr int kPage = KvStrategy::kTokens;
const std::string kLlama = "reference/llama/llama/checkpoint";

/// An engine on a plan.
struct PlannedEngine {
  ThreadPool threads;
  Engine engine;
  PlannedEngine(std::shared_ptr<const LoadedModel> model, KvPlan plan, int thread_count = 2,
                std::size_t cache_limit_bytes = 0)
      : threads(thread_count),
        engine(std::move(model), std::move(plan), threads, {ComputeMode::exact},
               cache_limit_bytes) {}
};

KvPlan recent_plan(int recent, std::shared_ptr<const KvStrategy> stored) {
  KvPlan plan(std::move(stored));
  plan.fresh = float_kv("f16");
  plan.recent = recent;
  return plan;
}

/// Logits of tokens that are fed `chunk` at a time, behind what the sequence holds.
std::vector<float> fed(Engine& engine, Sequence& sequence, std::span<const std::int32_t> ids,
                       std::size_t chunk, RowForm form = RowForm::prompt) {
  std::vector<float> values;
  for (std::size_t done = 0; done < ids.size(); done += chunk) {
    const auto tokens = ids.subspan(done, std::min(chunk, ids.size() - done));
    const Feed feed{&sequence, tokens, Wanted::all, form};
    const Logits logits = engine.forward({&feed, 1});
    sequence.accept(static_cast<int>(tokens.size()));
    values.insert(values.end(), logits.values.begin(), logits.values.end());
  }
  return values;
}
std::vector<float> fed(Engine& engine, std::span<const std::int32_t> ids, std::size_t chunk) {
  Sequence sequence = engine.new_sequence();
  return fed(engine, sequence, ids, chunk);
}

/// The last rows of logits.
std::vector<float> tail(const std::vector<float>& values, std::size_t rows, Engine& engine) {
  const auto width = static_cast<std::size_t>(engine.info().vocabulary);
  return {values.end() - static_cast<std::ptrdiff_t>(rows * width), values.end()};
}

/// Stores as float32 does, but as not a number the first key of the ninth page that is begun.
class NanKey final : public FloatPages {
 public:
  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    std::vector<float> own(keys.begin(), keys.end());
    if (slot == 0 && ++begun_ == 9) {
      std::ranges::fill(own, std::numeric_limits<float>::quiet_NaN());
    }
    FloatPages::write(shape, page, slot, own, values);
  }

 private:
  mutable int begun_ = 0;  // The engines of these tests write with one thread.
};

TEST(KvPlan, a_key_that_is_not_a_number_is_seen_by_the_rows_behind_it_alone) {
  constexpr int kPlace = 8 * kPage;
  PlannedEngine test{load_model(shared(kLlama)), std::make_shared<NanKey>(), 1};
  std::mt19937 random(8);
  const auto width = static_cast<std::size_t>(test.engine.info().vocabulary);
  const auto ids = random_tokens(random, kPlace + 20, test.engine.info().vocabulary);
  const auto logits = fed(test.engine, ids, ids.size());
  for (std::size_t row = 0; row < ids.size(); ++row) {
    ASSERT_EQ(std::isnan(logits[row * width]), row >= kPlace) << row;
  }
}

TEST(KvPlan, a_plan_of_one_strategy_by_layer_is_that_strategy) {
  const auto model = load_model(shared(kLlama));
  PlannedEngine one{model, affine_kv(8, 4)};
  KvPlan plan(float_kv());
  plan.layers.assign(model->weights().kv_caches().size(), affine_kv(8, 4));
  PlannedEngine each{model, plan};
  std::mt19937 random(1);
  const auto ids = random_tokens(random, 150, one.engine.info().vocabulary);
  EXPECT_EQ(fed(one.engine, ids, 150), fed(each.engine, ids, 150));
  EXPECT_EQ(page_bytes(one.engine.layout(), 150), page_bytes(each.engine.layout(), 150));
}

TEST(KvPlan, a_layer_of_its_own_takes_its_own_pages_and_changes_what_follows) {
  const auto model = load_model(shared(kLlama));
  PlannedEngine plain{model, float_kv()};
  PlannedEngine packed{model, affine_kv(4, 4)};
  KvPlan plan(float_kv());
  plan.layers = {nullptr, affine_kv(4, 4)};
  PlannedEngine mixed{model, plan};
  ASSERT_EQ(plain.engine.layout().kv_layers.size(), 2U);
  EXPECT_EQ(mixed.engine.layout().kv_layers[0].page_bytes,
            plain.engine.layout().kv_layers[0].page_bytes);
  EXPECT_EQ(mixed.engine.layout().kv_layers[1].page_bytes,
            packed.engine.layout().kv_layers[1].page_bytes);
  std::mt19937 random(2);
  const auto ids = random_tokens(random, 80, plain.engine.info().vocabulary);
  std::map<std::string, std::vector<float>> streams[3];
  PlannedEngine* engines[] = {&plain, &packed, &mixed};
  for (int i = 0; i < 3; ++i) {
    Sequence sequence = engines[i]->engine.new_sequence();
    const Feed feed{&sequence, ids, Wanted::last};
    engines[i]->engine.forward({&feed, 1},
                               [&](std::string_view name, int, int, std::span<const float> values) {
                                 streams[i][std::string(name)].assign(values.begin(), values.end());
                               });
  }
  EXPECT_EQ(streams[2]["block.0"], streams[0]["block.0"]);
  EXPECT_NE(streams[2]["block.0"], streams[1]["block.0"]);
  EXPECT_NE(streams[2]["block.1"], streams[0]["block.1"]);
}

TEST(StoredTokens, depend_on_the_place_of_the_row_alone_and_leave_the_newest_out) {
  for (const int recent : {1, 64, 100, 256, 300}) {
    int before = 0;
    for (int position = 0; position < 2000; ++position) {
      const int stored = stored_tokens(position, recent);
      EXPECT_EQ(stored % kStoreGrid, 0);
      EXPECT_GE(stored, before);
      EXPECT_LE(stored + recent, std::max(position, recent));
      EXPECT_LT(position - stored, recent + kStoreGrid);
      EXPECT_EQ(stored_tokens(next_stored(position, recent) - 1, recent), stored);
      EXPECT_GT(stored_tokens(next_stored(position, recent), recent), stored);
      before = stored;
    }
  }
}

/// With strategies that turn queries and outputs, and those that do not.
class Recent : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<const KvStrategy> stored() const {
    return GetParam() == "affine" ? affine_kv(4, 4) : turboquant_kv(2);
  }
  KvPlan plan(int recent) const { return recent_plan(recent, stored()); }

  std::shared_ptr<const LoadedModel> model = load_model(shared(kLlama));
  std::mt19937 random{7};
};

TEST_P(Recent, logits_are_those_of_the_fine_form_until_tokens_are_stored) {
  PlannedEngine fine{model, float_kv("f16")};
  PlannedEngine packed{model, stored()};
  PlannedEngine mixed{model, plan(100)};
  const auto ids = random_tokens(random, 460, fine.engine.info().vocabulary);
  const auto width = static_cast<std::size_t>(fine.engine.info().vocabulary);
  const auto of_fine = fed(fine.engine, ids, 460);
  const auto of_mixed = fed(mixed.engine, ids, 460);
  const auto of_packed = fed(packed.engine, ids, 460);
  const auto row = [&](const std::vector<float>& all, std::size_t index) {
    return std::vector<float>(all.begin() + static_cast<std::ptrdiff_t>(index * width),
                              all.begin() + static_cast<std::ptrdiff_t>((index + 1) * width));
  };
  for (std::size_t i = 0; i < 356; ++i) ASSERT_EQ(row(of_mixed, i), row(of_fine, i)) << i;
  EXPECT_NE(row(of_mixed, 356), row(of_fine, 356));
  EXPECT_NE(row(of_mixed, 356), row(of_packed, 356));
}

TEST_P(Recent, chunks_and_threads_change_no_bit) {
  const auto ids = random_tokens(random, 700, 61);
  for (const int recent : {1, 130, 256}) {
    PlannedEngine one{model, plan(recent), 1};
    PlannedEngine two{model, plan(recent), 2};
    const auto whole = fed(one.engine, ids, 700);
    EXPECT_EQ(fed(two.engine, ids, 700), whole) << recent;
    for (const std::size_t chunk : {256, 97, 5}) {
      EXPECT_EQ(fed(two.engine, ids, chunk), whole) << recent << ", by " << chunk;
    }
  }
}

TEST_P(Recent, token_by_token_changes_no_bit) {
  const auto ids = random_tokens(random, 530, 61);
  PlannedEngine test{model, plan(10), 1};
  const auto whole = fed(test.engine, ids, 530);
  EXPECT_EQ(fed(test.engine, ids, 1), whole);
}

TEST_P(Recent, rows_that_are_taken_back_leave_nothing_behind) {
  PlannedEngine test{model, plan(40)};
  Engine& engine = test.engine;
  const auto ids = random_tokens(random, 620, 61);
  const auto wrong = random_tokens(random, 60, 61);
  const auto whole = fed(engine, ids, 620);
  Sequence sequence = engine.new_sequence();
  // The rejected rows reach beyond the places where tokens are stored.
  fed(engine, sequence, std::span(ids).first(280), 280);
  for (const int kept : {0, 5, 11}) {
    const auto length = static_cast<std::size_t>(sequence.length());
    std::vector<std::int32_t> draft(ids.begin() + static_cast<std::ptrdiff_t>(length),
                                    ids.begin() + static_cast<std::ptrdiff_t>(length) + kept);
    draft.insert(draft.end(), wrong.begin(), wrong.end());
    const Feed feed{&sequence, draft, Wanted::all, RowForm::decode};
    engine.forward({&feed, 1});
    sequence.accept(kept);
  }
  const auto left = std::span(ids).subspan(296);
  EXPECT_EQ(fed(engine, sequence, left, 50), tail(whole, left.size(), engine));
}

TEST_P(Recent, copies_share_pages_and_diverge_without_harm) {
  PlannedEngine test{model, plan(40)};
  Engine& engine = test.engine;
  const auto prefix = random_tokens(random, 290, 61);
  Sequence trunk = engine.new_sequence();
  fed(engine, trunk, prefix, 290);
  const std::size_t used = engine.pool().used_bytes();
  Sequence copies[] = {trunk, trunk};
  EXPECT_EQ(engine.pool().used_bytes(), used);
  for (Sequence& copy : copies) {
    auto ids = prefix;
    const auto more = random_tokens(random, 330, 61);
    ids.insert(ids.end(), more.begin(), more.end());
    EXPECT_EQ(fed(engine, copy, more, 110), tail(fed(engine, ids, 620), more.size(), engine));
  }
}

TEST_P(Recent, a_sequence_is_cut_where_its_fine_pages_are_still_there) {
  PlannedEngine test{model, plan(100)};
  Engine& engine = test.engine;
  const auto ids = random_tokens(random, 700, 61);
  const auto whole = fed(engine, ids, 700);
  Sequence sequence = engine.new_sequence();
  fed(engine, sequence, std::span(ids).first(600), 256);  // 256 of them are stored
  EXPECT_TRUE(sequence.can_truncate(356));
  EXPECT_FALSE(sequence.can_truncate(355)) << "that row sees all tokens as they were written";
  EXPECT_THROW(sequence.truncate(355), Error);
  EXPECT_EQ(sequence.length(), 600);
  sequence.truncate(356);
  EXPECT_EQ(fed(engine, sequence, std::span(ids).subspan(356), 200), tail(whole, 344, engine));
  sequence.truncate(0);
  EXPECT_EQ(engine.pool().used_bytes(), 0U);
  EXPECT_EQ(fed(engine, sequence, ids, 700), whole);
}

TEST_P(Recent, a_saved_sequence_goes_on_with_the_same_bits) {
  PlannedEngine test{model, plan(70)};
  Engine& engine = test.engine;
  const auto ids = random_tokens(random, 800, 61);
  const auto whole = fed(engine, ids, 800);
  for (const std::size_t length : {1, 200, 326, 327, 512, 600}) {
    Sequence sequence = engine.new_sequence();
    fed(engine, sequence, std::span(ids).first(length), 256);
    const SavedSequence saved = sequence.save();
    sequence.truncate(0);
    const std::size_t bytes = sequence.restore_bytes(saved, 0);
    sequence.restore(saved);
    EXPECT_EQ(sequence.size_bytes(), bytes) << length;
    const auto rest = std::span(ids).subspan(length);
    EXPECT_EQ(fed(engine, sequence, rest, 90), tail(whole, rest.size(), engine)) << length;
  }
}

TEST_P(Recent, memory_is_what_the_layout_says) {
  PlannedEngine test{model, plan(70)};
  Engine& engine = test.engine;
  const auto ids = random_tokens(random, 700, 61);
  Sequence sequence = engine.new_sequence();
  for (std::size_t done = 0; done < ids.size(); done += 20) {
    const std::size_t before = engine.pool().used_bytes();
    const std::size_t growth = sequence.growth_bytes(20);
    const Feed feed{&sequence, std::span(ids).subspan(done, 20), Wanted::none};
    engine.forward({&feed, 1});
    EXPECT_EQ(engine.pool().used_bytes(), before + growth) << done;
    sequence.accept(20);
  }
  // 700 - 70 tokens ago, the second block was complete.
  const auto& layer = engine.layout().kv_layers[0];
  const std::size_t pages = (700 + kPage - 1) / kPage;
  EXPECT_EQ(sequence.size_bytes(), 2 * (8 * layer.page_bytes + (pages - 8) * layer.fresh_bytes));
  EXPECT_EQ(sequence.size_bytes(), page_bytes(engine.layout(), 700));
}

INSTANTIATE_TEST_SUITE_P(all, Recent, testing::Values("affine", "turboquant"),
                         [](const auto& param) { return param.param; });

TEST(KvPlan, newest_tokens_are_not_kept_apart_where_that_would_save_nothing) {
  const auto model = load_model(shared(kLlama));
  PlannedEngine plain{model, float_kv("f32")};
  PlannedEngine same{model, recent_plan(64, float_kv("f32"))};
  EXPECT_EQ(page_bytes(same.engine.layout(), 700), page_bytes(plain.engine.layout(), 700));
}

/// Recent tokens beside convolution windows, under the scheduler.
class RecentScheduling : public testing::Test {
 protected:
  TestText text(int length, int max_tokens) {
    return {random_tokens(random, length, kConvVocabulary), max_tokens, true, random()};
  }
  Alone alone(const TestText& text) {
    PlannedEngine plain{model, plan, 1};
    return generate_alone(plain.engine, text);
  }

  std::mt19937 random{3};
  ConvCheckpoint checkpoint;
  std::shared_ptr<const LoadedModel> model = checkpoint.load();
  KvPlan plan = recent_plan(50, affine_kv(4, 4));
};

TEST_F(RecentScheduling, shared_prefixes_change_no_bit) {
  PlannedEngine test{model, plan};
  Scheduler scheduler(test.engine);
  const TestText first = text(1100, 4);
  expect_same(submit(scheduler, first.request()), alone(first));
  for (const std::size_t shared : {300, 600, 1100}) {
    TestText next = text(500, 6);
    next.prompt.insert(next.prompt.begin(), first.prompt.begin(),
                       first.prompt.begin() + static_cast<std::ptrdiff_t>(shared));
    const RequestEnd end = expect_same(submit(scheduler, next.request()), alone(next));
    EXPECT_EQ(end.shared_tokens, shared / 256 * 256);
  }
}

TEST_F(RecentScheduling, stored_pages_of_a_shared_beginning_are_not_made_again) {
  PlannedEngine test{model, plan};
  PrefixCache cache(Engine::kPromptGrid, std::size_t{1} << 30U);
  const auto ids = random_tokens(random, 1100, kConvVocabulary);
  Sequence first = test.engine.new_sequence();
  for (int block = 0; block < 4; ++block) {
    test.engine.feed_prompt(first,
                            std::span(ids).subspan(static_cast<std::size_t>(block) * 256, 256));
    cache.keep(first, "k", ids);
  }
  first.truncate(0);
  const std::size_t kept = test.engine.pool().used_bytes();
  EXPECT_LE(kept, cache.size_bytes());
  Sequence second = test.engine.new_sequence();
  EXPECT_EQ(cache.extend(second, "k", ids), 1024);
  EXPECT_EQ(second.pages(KvCache{0}).stored(), stored_tokens(1023, 50) / kPage);
  EXPECT_EQ(test.engine.pool().used_bytes(), kept);
  second.truncate(0);
  EXPECT_EQ(cache.evict_unused(kept), kept);
}

TEST_F(RecentScheduling, preemption_changes_no_bit) {
  std::vector<TestText> texts;
  for (int i = 0; i < 4; ++i) texts.push_back(text(200 + 170 * i, 100 + 40 * i));
  const std::size_t page = [&] {
    PlannedEngine sizes{model, plan, 1};
    return page_bytes(sizes.engine.layout(), 1);
  }();
  for (const bool shares : {false, true}) {
    PlannedEngine test{model, plan, 2, 14 * page};
    SchedulerOptions options;
    if (!shares) options.prefix_limit_bytes = 0;
    Scheduler scheduler(test.engine, options);
    std::vector<std::shared_ptr<Outcome>> outcomes;
    on_inference_thread(scheduler, [&] {
      for (const TestText& one : texts) outcomes.push_back(submit(scheduler, one.request()));
    });
    for (std::size_t i = 0; i < texts.size(); ++i) expect_same(outcomes[i], alone(texts[i]));
    EXPECT_GT(scheduler.counters().preemptions, 0U);
  }
}

TEST_F(RecentScheduling, a_text_that_just_fits_is_not_kept_out_by_its_own_prefix) {
  const TestText one = text(1000, 60);
  std::size_t most = 0;
  {
    PlannedEngine sizes{model, plan, 1};
    Sequence sequence = sizes.engine.new_sequence();
    for (std::size_t done = 0; done < one.prompt.size(); done += 256) {
      const auto tokens =
          std::span(one.prompt).subspan(done, std::min<std::size_t>(256, one.prompt.size() - done));
      const Feed feed{&sequence, tokens, Wanted::none};
      sizes.engine.forward({&feed, 1});
      most = std::max(most, sizes.engine.pool().used_bytes());
      sequence.accept(static_cast<int>(tokens.size()));
    }
    most = std::max(most, sequence.size_bytes() + sequence.growth_bytes(60));
  }
  PlannedEngine test{model, plan, 1, most};
  Scheduler scheduler(test.engine);
  expect_same(submit(scheduler, one.request()), alone(one));
}

}  // namespace
}  // namespace quiver::test
