// A small family with convolution windows beside its attention, made for tests, and a checkpoint of
// it.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/model/loaded_model.hpp"
#include "tests/support/checkpoint_folder.hpp"
#include "tests/support/models.hpp"

namespace quiver::test {

inline constexpr int kConvHidden = 24;
inline constexpr int kConvVocabulary = 31;
inline constexpr int kConvLayers = 2;
inline constexpr int kConvKernel = 4;

/// Blocks of x += linear(silu(conv(norm(x))) + norm(x)), and one of attention between them.
class ConvModel : public Model, public TextModel {
 public:
  ConvModel(const Config& config, Weights& weights) {
    const bool has_bias = config.flag("conv_bias", false);
    weights.begin_block(-1);
    embedding_ = weights.embedding("embed", kConvVocabulary, kConvHidden);
    for (int i = 0; i < kConvLayers; ++i) {
      weights.begin_block(i);
      const std::string at = "layers." + std::to_string(i) + ".";
      norms_[i] = weights.norm(at + "norm", kConvHidden, {1e-5F, true});
      convs_[i] = weights.causal_conv(at + "conv", kConvHidden, kConvKernel, {has_bias});
      mixes_[i] = weights.linear(at + "mix", kConvHidden, kConvHidden, {Role::mlp, Bias::none});
    }
    cache_ = weights.kv_cache({2, kConvHidden / 2, 0});
    weights.begin_block(-1);
    final_ = weights.norm("final", kConvHidden, {1e-5F, false});
  }

  int block_count() const override { return kConvLayers; }
  void block(int index, Ops& ops, Stream& stream) const override {
    const Tensor h = ops.rms_norm(stream.x, norms_[index]);
    Tensor y = ops.causal_conv(h, convs_[index], {Activation::silu, true});
    if (index == 1) y = ops.attention(cache_, y, h, y, {.scale = 0.3F});
    stream.x = ops.add(stream.x, ops.linear(y, mixes_[index]));
  }
  const void* extension(std::string_view id) const override {
    return id == TextModel::kInterfaceId ? static_cast<const TextModel*>(this) : nullptr;
  }
  TextModelInfo info() const override { return {kConvHidden, kConvVocabulary, 0}; }
  Stream embed(Ops& ops) const override { return {.x = ops.embed(embedding_), .side = {}}; }
  Tensor finish(Ops& ops, const Stream& stream) const override {
    return ops.rms_norm(stream.x, final_);
  }
  Tensor logits(Ops& ops, Tensor hidden) const override { return ops.project(hidden, embedding_); }

 private:
  Embedding embedding_;
  Norm norms_[kConvLayers];
  CausalConv convs_[kConvLayers];
  Linear mixes_[kConvLayers];
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

inline FloatTensor random_tensor(std::mt19937& random, std::vector<std::int64_t> shape,
                                 float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::int64_t count = 1;
  for (const auto length : shape) count *= length;
  FloatTensor tensor{std::move(shape), std::vector<float>(static_cast<std::size_t>(count))};
  for (float& value : tensor.values) value = normal(random);
  return tensor;
}

/// A folder with random weights.
struct ConvCheckpoint {
  ConvCheckpoint() {
    std::mt19937 random(1);
    tensors["embed.weight"] = random_tensor(random, {kConvVocabulary, kConvHidden}, 1);
    for (int i = 0; i < kConvLayers; ++i) {
      const std::string at = "layers." + std::to_string(i) + ".";
      tensors[at + "norm.weight"] = random_tensor(random, {kConvHidden}, 1);
      tensors[at + "conv.weight"] = random_tensor(random, {kConvHidden, 1, kConvKernel}, 0.5F);
      tensors[at + "conv.bias"] = random_tensor(random, {kConvHidden}, 0.5F);
      tensors[at + "mix.weight"] = random_tensor(random, {kConvHidden, kConvHidden}, 0.2F);
    }
    folder.write("config.json", R"({"model_type": "conv", "conv_bias": true})");
    write();
  }

  void write() const { write_tensors(folder.path() / "model.safetensors", tensors); }

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
};

}  // namespace quiver::test
