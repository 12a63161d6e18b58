// Convolution windows: the state that sequences keep beside their pages, on a family made here.
#include <gtest/gtest.h>

#include <random>

#include "core/decode/engine.hpp"
#include "tests/support/checkpoint_folder.hpp"
#include "tests/support/models.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {
namespace {

constexpr int kHidden = 24;
constexpr int kVocabulary = 31;
constexpr int kLayers = 2;
constexpr int kKernel = 4;

/// Blocks of x += linear(silu(conv(norm(x))) + norm(x)), and one of attention between them.
class ConvModel : public Model, public TextModel {
 public:
  ConvModel(const Config& config, Weights& weights) {
    const bool has_bias = config.flag("conv_bias", false);
    weights.begin_block(-1);
    embedding_ = weights.embedding("embed", kVocabulary, kHidden);
    for (int i = 0; i < kLayers; ++i) {
      weights.begin_block(i);
      const std::string at = "layers." + std::to_string(i) + ".";
      norms_[i] = weights.norm(at + "norm", kHidden, {1e-5F, true});
      convs_[i] = weights.causal_conv(at + "conv", kHidden, kKernel, {has_bias});
      mixes_[i] = weights.linear(at + "mix", kHidden, kHidden, {Role::mlp, Bias::none});
    }
    cache_ = weights.kv_cache({2, kHidden / 2, 0});
    weights.begin_block(-1);
    final_ = weights.norm("final", kHidden, {1e-5F, false});
  }

  int block_count() const override { return kLayers; }
  void block(int index, Ops& ops, Stream& stream) const override {
    const Tensor h = ops.rms_norm(stream.x, norms_[index]);
    Tensor y = ops.causal_conv(h, convs_[index], {Activation::silu, true});
    if (index == 1) y = ops.attention(cache_, y, h, y, {.scale = 0.3F});
    stream.x = ops.add(stream.x, ops.linear(y, mixes_[index]));
  }
  const void* extension(std::string_view id) const override {
    return id == TextModel::kInterfaceId ? static_cast<const TextModel*>(this) : nullptr;
  }
  TextModelInfo info() const override { return {kHidden, kVocabulary, 0}; }
  Stream embed(Ops& ops) const override { return {.x = ops.embed(embedding_), .side = {}}; }
  Tensor finish(Ops& ops, const Stream& stream) const override {
    return ops.rms_norm(stream.x, final_);
  }
  Tensor logits(Ops& ops, Tensor hidden) const override { return ops.project(hidden, embedding_); }

 private:
  Embedding embedding_;
  Norm norms_[kLayers];
  CausalConv convs_[kLayers];
  Linear mixes_[kLayers];
  KvCache cache_;
  Norm final_;
};

class ConvArchitecture : public Architecture {
 public:
  Model* create(std::string_view, const Config& config, Weights& weights) const override {
    return new ConvModel(config, weights);
  }
  std::span<const TensorRule> checkpoint_rules(std::string_view) const override { return {}; }
  const void* extension(std::string_view) const override { return nullptr; }
};

FloatTensor random_tensor(std::mt19937& random, std::vector<std::int64_t> shape, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::int64_t count = 1;
  for (const auto length : shape) count *= length;
  FloatTensor tensor{std::move(shape), std::vector<float>(static_cast<std::size_t>(count))};
  for (float& value : tensor.values) value = normal(random);
  return tensor;
}

class StateSlots : public testing::Test {
 protected:
  StateSlots() {
    std::mt19937 random(1);
    tensors["embed.weight"] = random_tensor(random, {kVocabulary, kHidden}, 1);
    for (int i = 0; i < kLayers; ++i) {
      const std::string at = "layers." + std::to_string(i) + ".";
      tensors[at + "norm.weight"] = random_tensor(random, {kHidden}, 1);
      tensors[at + "conv.weight"] = random_tensor(random, {kHidden, 1, kKernel}, 0.5F);
      tensors[at + "conv.bias"] = random_tensor(random, {kHidden}, 0.5F);
      tensors[at + "mix.weight"] = random_tensor(random, {kHidden, kHidden}, 0.2F);
    }
    folder.write("config.json", R"({"model_type": "conv", "conv_bias": true})");
    write_tensors(folder.path() / "model.safetensors", tensors);
    for (int i = 0; i < 90; ++i) ids.push_back(static_cast<std::int32_t>(random() % kVocabulary));
  }

  std::shared_ptr<const LoadedModel> load() const {
    return LoadedModel::load(
        folder.path(),
        [](std::string_view) -> ArchitectureOffer {
          return {std::make_shared<ConvArchitecture>(), "conv", "test"};
        },
        affine_scheme);
  }

  TemporaryFolder folder;
  std::map<std::string, FloatTensor> tensors;
  std::vector<std::int32_t> ids;
};

TEST_F(StateSlots, chunks_of_any_size_give_the_bits_of_the_whole) {
  TestEngine test{load()};
  const Logits whole = all_logits(test.engine, ids, ids.size());
  for (const std::size_t chunk : {1, 2, 3, 4, 5, 17}) {
    EXPECT_EQ(all_logits(test.engine, ids, chunk).values, whole.values) << chunk;
  }
}

TEST_F(StateSlots, accepting_n_rows_leaves_the_state_of_having_fed_only_those) {
  TestEngine test{load()};
  const Logits whole = all_logits(test.engine, ids, ids.size());
  for (const int accepted : {0, 1, 2, 3, 4, 6}) {
    Sequence sequence = test.engine.new_sequence();
    test.engine.feed_prompt(sequence, std::span(ids).first(10));
    std::vector<std::int32_t> draft(ids.begin() + 10, ids.begin() + 10 + accepted);
    draft.resize(7, 5);
    const Feed tentative{&sequence, draft, Wanted::all};
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
  TestEngine test{load()};
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
  TestEngine test{load()};
  std::vector<float> embedded;
  std::vector<float> after;
  Sequence sequence = test.engine.new_sequence();
  const Feed feed{&sequence, std::span(ids).first(6), Wanted::none};
  test.engine.forward({&feed, 1},
                      [&](std::string_view name, int, int, std::span<const float> values) {
                        if (name == "embed") embedded.assign(values.begin(), values.end());
                        if (name == "block.0") after.assign(values.begin(), values.end());
                      });
  const auto& norm = tensors.at("layers.0.norm.weight").values;
  const auto& conv = tensors.at("layers.0.conv.weight").values;
  const auto& bias = tensors.at("layers.0.conv.bias").values;
  const auto& mix = tensors.at("layers.0.mix.weight").values;
  const auto normed = [&](int t, int c) -> double {
    if (t < 0) return 0;
    double mean = 0;
    for (int i = 0; i < kHidden; ++i)
      mean += std::pow(double{embedded[static_cast<std::size_t>(t * kHidden + i)]}, 2) / kHidden;
    return double{embedded[static_cast<std::size_t>(t * kHidden + c)]} / std::sqrt(mean + 1e-5) *
           double{norm[static_cast<std::size_t>(c)]};
  };
  for (const int t : {0, 2, 5}) {
    std::vector<double> y(kHidden);
    for (int c = 0; c < kHidden; ++c) {
      double sum = double{bias[static_cast<std::size_t>(c)]};
      for (int j = 0; j < kKernel; ++j)
        sum += double{conv[static_cast<std::size_t>(c * kKernel + j)]} * normed(t - 3 + j, c);
      y[static_cast<std::size_t>(c)] = sum / (1 + std::exp(-sum)) + normed(t, c);
    }
    for (int c = 0; c < kHidden; ++c) {
      double want = double{embedded[static_cast<std::size_t>(t * kHidden + c)]};
      for (int i = 0; i < kHidden; ++i)
        want +=
            double{mix[static_cast<std::size_t>(c * kHidden + i)]} * y[static_cast<std::size_t>(i)];
      EXPECT_NEAR(double{after[static_cast<std::size_t>(t * kHidden + c)]}, want, 1e-5);
    }
  }
}

TEST_F(StateSlots, a_convolution_stored_with_its_taps_before_the_last_axis_is_the_same) {
  TestEngine test{load()};
  const Logits want = all_logits(test.engine, ids, ids.size());
  for (int i = 0; i < kLayers; ++i) {
    tensors["layers." + std::to_string(i) + ".conv.weight"].shape = {kHidden, kKernel, 1};
  }
  write_tensors(folder.path() / "model.safetensors", tensors);
  TestEngine other{load()};
  EXPECT_EQ(all_logits(other.engine, ids, ids.size()).values, want.values);
}

}  // namespace
}  // namespace quiver::test
