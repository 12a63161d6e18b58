// Convolution windows: the state that sequences keep beside their pages, on a family made for
// tests.
#include <gtest/gtest.h>

#include <random>

#include "core/decode/engine.hpp"
#include "tests/support/conv_model.hpp"
#include "tests/support/models.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {
namespace {

class StateSlots : public testing::Test {
 protected:
  StateSlots() {
    std::mt19937 random(2);
    for (int i = 0; i < 90; ++i) {
      ids.push_back(static_cast<std::int32_t>(random() % kConvVocabulary));
    }
  }

  ConvCheckpoint checkpoint;
  std::vector<std::int32_t> ids;
};

TEST_F(StateSlots, chunks_of_any_size_give_the_bits_of_the_whole) {
  TestEngine test{checkpoint.load()};
  const Logits whole = all_logits(test.engine, ids, ids.size());
  for (const std::size_t chunk : {1, 2, 3, 4, 5, 17}) {
    EXPECT_EQ(all_logits(test.engine, ids, chunk).values, whole.values) << chunk;
  }
}

TEST_F(StateSlots, accepting_n_rows_leaves_the_state_of_having_fed_only_those) {
  TestEngine test{checkpoint.load()};
  const Logits whole = all_logits(test.engine, ids, ids.size());
  for (const int accepted : {0, 1, 2, 3, 4, 6}) {
    Sequence sequence = test.engine.new_sequence();
    test.engine.feed_prompt(sequence, std::span(ids).first(10));
    std::vector<std::int32_t> draft(ids.begin() + 10, ids.begin() + 10 + accepted);
    draft.resize(7, 5);
    const Feed tentative{&sequence, draft, Wanted::all, RowForm::decode};
    test.engine.forward({&tentative, 1});
    sequence.accept(accepted);
    const auto rest = std::span(ids).subspan(10 + static_cast<std::size_t>(accepted));
    const Feed feed{&sequence, rest, Wanted::all};
    const Logits got = test.engine.forward({&feed, 1});
    const std::vector<float> want(
        whole.values.end() - static_cast<std::ptrdiff_t>(got.values.size()), whole.values.end());
    EXPECT_EQ(got.values, want) << accepted << " of 7 accepted";
  }
}

TEST_F(StateSlots, a_batch_of_ragged_sequences_is_bit_identical_to_each_alone) {
  TestEngine test{checkpoint.load()};
  const std::size_t lengths[] = {1, 3, 30, 70};
  std::vector<Sequence> sequences(4, test.engine.new_sequence());
  std::vector<Feed> feeds;
  for (std::size_t i = 0; i < 4; ++i) {
    feeds.push_back({&sequences[i], std::span(ids).first(lengths[i]), Wanted::last});
  }
  const Logits together = test.engine.forward(feeds);
  for (std::size_t i = 0; i < 4; ++i) {
    const Logits alone = all_logits(test.engine, std::span(ids).first(lengths[i]), lengths[i]);
    const auto last = alone.row(alone.rows - 1);
    const auto got = together.row(static_cast<int>(i));
    EXPECT_TRUE(std::ranges::equal(got, last)) << i;
  }
}

TEST_F(StateSlots, the_convolution_follows_its_formula) {
  // Checks block 0 at one position against c[t] = sum_j w[j] x[t-3+j] + bias, silu, residual.
  TestEngine test{checkpoint.load()};
  std::vector<float> embedded;
  std::vector<float> after;
  Sequence sequence = test.engine.new_sequence();
  const Feed feed{&sequence, std::span(ids).first(6), Wanted::none};
  test.engine.forward({&feed, 1},
                      [&](std::string_view name, int, int, std::span<const float> values) {
                        if (name == "embed") embedded.assign(values.begin(), values.end());
                        if (name == "block.0") after.assign(values.begin(), values.end());
                      });
  const auto& norm = checkpoint.tensors.at("layers.0.norm.weight").values;
  const auto& conv = checkpoint.tensors.at("layers.0.conv.weight").values;
  const auto& bias = checkpoint.tensors.at("layers.0.conv.bias").values;
  const auto& mix = checkpoint.tensors.at("layers.0.mix.weight").values;
  const auto normed = [&](int t, int c) -> double {
    if (t < 0) return 0;
    double mean = 0;
    for (int i = 0; i < kConvHidden; ++i)
      mean += std::pow(double{embedded[static_cast<std::size_t>(t * kConvHidden + i)]}, 2) /
              kConvHidden;
    return double{embedded[static_cast<std::size_t>(t * kConvHidden + c)]} /
           std::sqrt(mean + 1e-5) * double{norm[static_cast<std::size_t>(c)]};
  };
  for (const int t : {0, 2, 5}) {
    std::vector<double> y(kConvHidden);
    for (int c = 0; c < kConvHidden; ++c) {
      double sum = double{bias[static_cast<std::size_t>(c)]};
      for (int j = 0; j < kConvKernel; ++j)
        sum += double{conv[static_cast<std::size_t>(c * kConvKernel + j)]} * normed(t - 3 + j, c);
      y[static_cast<std::size_t>(c)] = sum / (1 + std::exp(-sum)) + normed(t, c);
    }
    for (int c = 0; c < kConvHidden; ++c) {
      double want = double{embedded[static_cast<std::size_t>(t * kConvHidden + c)]};
      for (int i = 0; i < kConvHidden; ++i)
        want += double{mix[static_cast<std::size_t>(c * kConvHidden + i)]} *
                y[static_cast<std::size_t>(i)];
      EXPECT_NEAR(double{after[static_cast<std::size_t>(t * kConvHidden + c)]}, want, 1e-5);
    }
  }
}

TEST_F(StateSlots, a_convolution_stored_with_its_taps_before_the_last_axis_is_the_same) {
  TestEngine test{checkpoint.load()};
  const Logits want = all_logits(test.engine, ids, ids.size());
  for (int i = 0; i < kConvLayers; ++i) {
    checkpoint.tensors["layers." + std::to_string(i) + ".conv.weight"].shape = {kConvHidden,
                                                                                kConvKernel, 1};
  }
  checkpoint.write();
  TestEngine other{checkpoint.load()};
  EXPECT_EQ(all_logits(other.engine, ids, ids.size()).values, want.values);
}

TEST_F(StateSlots, a_saved_sequence_goes_on_with_the_same_bits) {
  TestEngine test{checkpoint.load()};
  const Logits whole = all_logits(test.engine, ids, ids.size());
  for (const std::size_t at : {0, 1, 2, 63, 64, 70}) {
    Sequence sequence = test.engine.new_sequence();
    test.engine.feed_prompt(sequence, std::span(ids).first(at));
    const SavedSequence saved = sequence.save();
    sequence = test.engine.new_sequence();
    EXPECT_EQ(test.engine.pool().used_bytes(), 0U) << "what is saved is not in the pool";
    // Other texts use the pages in between.
    Sequence other = test.engine.new_sequence();
    test.engine.feed_prompt(other, std::span(ids).last(80));
    sequence.restore(saved);
    EXPECT_EQ(sequence.length(), static_cast<int>(at));
    const Feed feed{&sequence, std::span(ids).subspan(at), Wanted::all};
    const Logits got = test.engine.forward({&feed, 1});
    const std::vector<float> want(
        whole.values.end() - static_cast<std::ptrdiff_t>(got.values.size()), whole.values.end());
    EXPECT_EQ(got.values, want) << "saved at " << at;
  }
}

TEST_F(StateSlots, restoring_shares_what_the_sequence_holds_already) {
  TestEngine test{checkpoint.load()};
  Sequence sequence = test.engine.new_sequence();
  test.engine.feed_prompt(sequence, std::span(ids).first(64));
  const SequencePart page = sequence.part(0);
  test.engine.feed_prompt(sequence, std::span(ids).subspan(64, 10));
  const SavedSequence saved = sequence.save();
  const std::size_t used = test.engine.pool().used_bytes();
  const SequencePart* const parts[] = {&page};
  Sequence twin = test.engine.new_sequence();
  twin.extend(parts);
  EXPECT_EQ(test.engine.pool().used_bytes(), used);
  twin.restore(saved);
  EXPECT_EQ(test.engine.pool().used_bytes(), used + page_bytes(test.engine.layout(), 1));
  const auto rest = std::span(ids).subspan(74);
  EXPECT_EQ(test.engine.feed_prompt(twin, rest).values,
            test.engine.feed_prompt(sequence, rest).values);
}

TEST_F(StateSlots, restoring_without_room_leaves_the_sequence_as_it_was) {
  TestEngine roomy{checkpoint.load()};
  Sequence sequence = roomy.engine.new_sequence();
  roomy.engine.feed_prompt(sequence, ids);
  const SavedSequence saved = sequence.save();
  TestEngine tight{
      checkpoint.load(), 1, "f32", {ComputeMode::exact}, page_bytes(roomy.engine.layout(), 64)};
  Sequence target = tight.engine.new_sequence();
  EXPECT_THROW(target.restore(saved), Error);
  EXPECT_EQ(target.length(), 0);
  EXPECT_EQ(tight.engine.pool().used_bytes(), 0U);
  EXPECT_EQ(target.growth_bytes(64), tight.engine.pool().available_bytes());
}

TEST_F(StateSlots, only_whole_pages_are_shared) {
  TestEngine test{checkpoint.load()};
  Sequence sequence = test.engine.new_sequence();
  test.engine.feed_prompt(sequence, std::span(ids).first(64));
  EXPECT_THROW(sequence.part(32), Error);
  const SequencePart part = sequence.part(0);
  const SequencePart* const parts[] = {&part};
  test.engine.feed_prompt(sequence, std::span(ids).first(1));
  EXPECT_THROW(sequence.part(0), Error);
  EXPECT_THROW(sequence.extend(parts), Error);
  EXPECT_THROW(sequence.restore(SavedSequence{}), Error);
  EXPECT_EQ(sequence.length(), 65);
}

TEST(StateSlotSizes, that_no_convolution_has_are_refused_by_name) {
  const ModelConfig config = ModelConfig::parse("{}", "test");
  WeightStore weights(nullptr, config, {});
  for (const auto& [channels, kernel] : {std::pair{0, 4}, {-3, 4}, {8, 0}, {8, -1}}) {
    try {
      weights.causal_conv("mixer.conv", channels, kernel, {});
      ADD_FAILURE() << channels << " channels, " << kernel << " taps";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_input);
      EXPECT_EQ(error.where(), "mixer.conv");
    }
  }
}

}  // namespace
}  // namespace quiver::test
