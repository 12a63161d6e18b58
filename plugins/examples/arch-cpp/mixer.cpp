// A small model family: causal convolutions mix what neighbouring tokens say, gated MLPs think.
#include <quiver/architecture.hpp>
#include <quiver/plugin.hpp>
#include <quiver/text_model.hpp>

#include <string>
#include <vector>

namespace {

using namespace quiver;

/// Sizes from config.json. The file may be damaged or hostile, so whatever is multiplied or looped
/// over below is bounded here; the host refuses tensors of other sizes by itself.
struct Shape {
  int hidden, ffn, kernel, layers, vocabulary, context_length;
  float epsilon;

  explicit Shape(const Config& config)
      : hidden(config.integer("hidden_size")),
        ffn(config.integer("intermediate_size")),
        kernel(config.integer("kernel_size", 2)),
        layers(config.integer("num_hidden_layers")),
        vocabulary(config.integer("vocab_size")),
        context_length(config.integer_or("max_position_embeddings", 0, 0)),
        epsilon(static_cast<float>(config.number("norm_eps", 1e-5))) {
    if (layers > 1024) fail("num_hidden_layers", "more layers than any model has");
    if (kernel > 64) fail("kernel_size", "wider than any convolution of this kind");
    if (!(epsilon >= 0 && epsilon < 1)) fail("norm_eps", "not a small number");
  }

  [[noreturn]] static void fail(const char* path, const char* what) {
    throw Error(ErrorCode::bad_input, what, std::string("config.json, ") + path,
                "correct the file");
  }
};

/// Handles of one layer's parts. The weights themselves are the host's: it loads, quantizes and
/// adapts them without this code knowing.
struct Layer {
  Norm mix_norm, mlp_norm;
  CausalConv conv;
  Linear mix, gate, up, down;
};

class Mixer final : public Model, public TextModel {
 public:
  Mixer(const Config& config, Weights& weights) : shape_(config) {
    const NormSpec norm{.epsilon = shape_.epsilon};
    const LinearSpec mlp{.role = Role::mlp};
    const int hidden = shape_.hidden;
    weights.begin_block(-1);
    embedding_ = weights.embedding("embedding", shape_.vocabulary, hidden);
    norm_ = weights.norm("norm", hidden, norm);
    head_ = weights.linear("head", shape_.vocabulary, hidden, {.role = Role::head});
    for (int i = 0; i < shape_.layers; ++i) {
      const std::string at = "layers." + std::to_string(i) + ".";
      weights.begin_block(i);
      layers_.push_back(
          {.mix_norm = weights.norm(at + "mix_norm", hidden, norm),
           .mlp_norm = weights.norm(at + "mlp_norm", hidden, norm),
           .conv = weights.causal_conv(at + "conv", hidden, shape_.kernel, {.has_bias = true}),
           .mix = weights.linear(at + "mix", hidden, hidden, {.role = Role::other}),
           .gate = weights.linear(at + "gate", shape_.ffn, hidden, mlp),
           .up = weights.linear(at + "up", shape_.ffn, hidden, mlp),
           .down = weights.linear(at + "down", hidden, shape_.ffn, mlp)});
    }
  }

  int block_count() const override { return shape_.layers; }

  Stream embed(Ops& ops) const override { return {.x = ops.embed(embedding_), .side = {}}; }

  // The whole family: what one layer does to the stream. Batches, caches and prompts of any length
  // are the host's business.
  void block(int index, Ops& ops, Stream& stream) const override {
    const Layer& l = layers_[static_cast<std::size_t>(index)];
    Tensor h = ops.rms_norm(stream.x, l.mix_norm);
    h = ops.causal_conv(h, l.conv, {.activation = Activation::silu, .residual = true});
    stream.x = ops.add(stream.x, ops.linear(h, l.mix));
    h = ops.gated(ops.rms_norm(stream.x, l.mlp_norm), l.gate, l.up, Activation::silu);
    stream.x = ops.add(stream.x, ops.linear(h, l.down));
  }

  Tensor finish(Ops& ops, const Stream& stream) const override {
    return ops.rms_norm(stream.x, norm_);
  }

  Tensor logits(Ops& ops, Tensor hidden) const override { return ops.linear(hidden, head_); }

  TextModelInfo info() const override {
    return {.hidden = shape_.hidden,
            .vocabulary = shape_.vocabulary,
            .context_length = shape_.context_length};
  }

  const void* extension(std::string_view id) const override {
    return provide<TextModel>(id, *this);
  }

 private:
  Shape shape_;
  Embedding embedding_;
  Norm norm_;
  Linear head_;
  std::vector<Layer> layers_;
};

class Family final : public Architecture {
 public:
  Model* create(std::string_view, const Config& config, Weights& weights) const override {
    return new Mixer(config, weights);
  }

  // Checkpoints of this family name their tensors as the constructor above does, but for a prefix
  // that older ones have.
  std::span<const TensorRule> checkpoint_rules(std::string_view) const override {
    static constexpr TensorRule kRules[] = {
        {TensorRuleKind::rename, "mixer.layers.*.*.*", "layers.*.*.*", nullptr, nullptr}};
    return kRules;
  }

  const void* extension(std::string_view) const override { return nullptr; }
};

const void* get(std::string_view id) {
  static const Family family;
  return provide<Architecture>(id, family);
}

}  // namespace

QUIVER_PLUGIN(get, "example-mixer", "1.0.0", "Apache-2.0", "An example of a model family",
              QUIVER_OFFER_ARCHITECTURE("example-mixer", "Causal convolutions and gated MLPs",
                                        "example_mixer", ""));
