// An architecture whose defect is chosen by an environment variable; good without one.
#include <quiver/architecture.hpp>
#include <quiver/plugin.hpp>
#include <quiver/text_model.hpp>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

namespace {

using namespace quiver;

std::string_view defect() {
  const char* name = std::getenv("QUIVER_TEST_DEFECT");
  return name != nullptr ? name : "";
}

std::atomic<int> creations{0};
volatile int* nowhere = nullptr;

class Tiny final : public Model, public TextModel {
 public:
  Tiny(const Config& config, Weights& weights) {
    if (defect() == "throws-int") throw 42;
    if (defect() == "other-code") throw Error(ErrorCode::usage, "no", "config.json");
    if (defect() == "names-nothing") throw Error(ErrorCode::bad_input, "the config is bad");
    double width = 16;
    config.read_number("hidden_size", width);
    if (defect() == "crashes" && width < 0) *nowhere = 1;
    if (!(width >= 1 && width <= 4096) || width != static_cast<int>(width)) {
      throw Error(ErrorCode::bad_input, "not a width", "config.json, hidden_size");
    }
    width_ = static_cast<int>(width);
    vocabulary_ = config.integer("vocab_size");
    const std::string name =
        defect() == "renames" ? "table" + std::to_string(++creations) : "table";
    weights.begin_block(-1);
    embedding_ = weights.embedding(name, vocabulary_, width_);
    conv_ = weights.causal_conv("conv", width_, 3, {});
    mix_ = weights.linear("mix", width_, width_, {});
  }

  int block_count() const override { return 1; }
  Stream embed(Ops& ops) const override { return {.x = ops.embed(embedding_), .side = {}}; }

  void block(int, Ops& ops, Stream& stream) const override {
    Tensor h = ops.causal_conv(stream.x, conv_, {});
    if (defect() == "counts-passes") h = ops.scale(h, 1.0F + 0.01F * static_cast<float>(++passes_));
    if (defect() == "late-passes" && ++passes_ > 4) h = ops.scale(h, 1.5F);
    stream.x = ops.add(stream.x, ops.linear(h, mix_));
  }

  Tensor finish(Ops&, const Stream& stream) const override { return stream.x; }
  Tensor logits(Ops& ops, Tensor hidden) const override {
    if (defect() == "constant") hidden = ops.scale(hidden, 0);
    return ops.project(hidden, embedding_);
  }
  TextModelInfo info() const override {
    return {defect() == "no-width" ? 0 : width_, vocabulary_, 0};
  }
  const void* extension(std::string_view id) const override {
    return provide<TextModel>(id, *this);
  }

 private:
  int width_ = 0;
  int vocabulary_ = 0;
  mutable int passes_ = 0;
  Embedding embedding_;
  CausalConv conv_;
  Linear mix_;
};

class Family final : public Architecture {
 public:
  Model* create(std::string_view, const Config& config, Weights& weights) const override {
    return defect() == "makes-nothing" ? nullptr : new Tiny(config, weights);
  }
  std::span<const TensorRule> checkpoint_rules(std::string_view) const override {
    static constexpr TensorRule kBad[] = {
        {TensorRuleKind::rename, "a.*", "b.*.*", nullptr, nullptr}};
    return defect() == "bad-rule" ? std::span<const TensorRule>(kBad)
                                  : std::span<const TensorRule>();
  }
  const void* extension(std::string_view) const override {
    return defect() == "answers" ? this : nullptr;
  }
};

const void* get(std::string_view id) {
  static const Family family;
  return provide<Architecture>(id, family);
}

}  // namespace

QUIVER_PLUGIN(get, "bad-architecture", "1.0.0", "Apache-2.0", "A family with a defect on request",
              QUIVER_OFFER_ARCHITECTURE("tiny", "A convolution and a matrix", "tiny", ""));
