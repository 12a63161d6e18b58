// What the parts of the first layer compute, tensor by tensor.
#include "tests/dhara/dhara_models.hpp"

namespace quiver::test {
namespace {

/// Passes all on to other Ops and keeps the results by operation.
class RecordingOps : public Ops {
 public:
  explicit RecordingOps(ForwardOps& ops) : ops_(ops) {}

  std::map<std::string, std::vector<std::vector<float>>> results;

  Tensor embed(Embedding table) override { return keep("embed", ops_.embed(table)); }
  Tensor linear(Tensor x, Linear weight) override { return keep("linear", ops_.linear(x, weight)); }
  void linears(Tensor x, std::span<const Linear> weights, std::span<Tensor> out) override {
    ops_.linears(x, weights, out);
    for (const Tensor& tensor : out) keep("linears", tensor);
  }
  Tensor gated(Tensor x, Linear gate, Linear up, Activation activation) override {
    return keep("gated", ops_.gated(x, gate, up, activation));
  }
  Tensor project(Tensor x, Embedding table) override { return ops_.project(x, table); }
  Tensor rms_norm(Tensor x, Norm norm) override { return keep("norm", ops_.rms_norm(x, norm)); }
  Tensor rms_norm_heads(Tensor x, Norm norm) override {
    return keep("head_norm", ops_.rms_norm_heads(x, norm));
  }
  Tensor rope(Tensor x, Rope rope, int head_dim) override {
    return keep("rope", ops_.rope(x, rope, head_dim));
  }
  Tensor attention(KvCache cache, Tensor q, Tensor k, Tensor v,
                   const AttentionSpec& spec) override {
    return keep("attention", ops_.attention(cache, q, k, v, spec));
  }
  Tensor causal_conv(Tensor x, CausalConv conv, const CausalConvUse& use) override {
    return keep("conv", ops_.causal_conv(x, conv, use));
  }
  Tensor add(Tensor a, Tensor b) override { return keep("add", ops_.add(a, b)); }
  Tensor multiply(Tensor a, Tensor b) override { return ops_.multiply(a, b); }
  Tensor scale(Tensor x, float factor) override { return ops_.scale(x, factor); }
  Tensor activate(Tensor x, Activation activation) override { return ops_.activate(x, activation); }
  Tensor gate(Tensor x, Tensor gates, Activation activation) override {
    return ops_.gate(x, gates, activation);
  }
  Tensor soft_cap(Tensor x, float cap) override { return ops_.soft_cap(x, cap); }
  Tensor softmax(Tensor x) override { return ops_.softmax(x); }
  Tensor slice_heads(Tensor x, int heads, int begin, int width) override {
    return ops_.slice_heads(x, heads, begin, width);
  }
  Tensor concat(std::span<const Tensor> parts) override { return ops_.concat(parts); }
  void* extension(std::string_view id) override { return ops_.extension(id); }

 private:
  Tensor keep(const std::string& name, Tensor tensor) {
    const auto values = ops_.values(tensor);
    results[name].emplace_back(values.begin(), values.end());
    return tensor;
  }
  ForwardOps& ops_;
};

/// [rows, heads, dim] -> [heads, rows, dim], as the recordings have it.
std::vector<float> by_head(const std::vector<float>& values, std::size_t rows, std::size_t heads) {
  const std::size_t dim = values.size() / (rows * heads);
  std::vector<float> turned(values.size());
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t head = 0; head < heads; ++head) {
      std::copy_n(values.begin() + static_cast<std::ptrdiff_t>((row * heads + head) * dim), dim,
                  turned.begin() + static_cast<std::ptrdiff_t>((head * rows + row) * dim));
    }
  }
  return turned;
}

class DharaActivations : public testing::TestWithParam<const char*> {
 protected:
  void expect(const std::string& name, const std::vector<float>& values) {
    ++compared;
    EXPECT_LE(largest_difference(values, floats(reference.tensors, "act." + name)), tolerance)
        << name;
  }

  DharaReference reference{GetParam()};
  double tolerance = reference.expected.at("tolerances").at("act_abs");
  std::shared_ptr<const LoadedModel> model = load_dhara(reference.folder / "checkpoint");
  std::size_t compared = 0;
};

TEST_P(DharaActivations, of_the_first_layer_match) {
  const auto ids = ids_of(reference.expected.at("cases").at("prefill").at("input_ids"));
  const std::size_t rows = ids.size();
  const KvPlan kv(float_kv());
  ThreadPool threads(1);
  PagePool pool(0);
  const CacheLayout layout = cache_layout(model->weights(), kv);
  Sequence sequence(pool, layout);
  sequence.begin(static_cast<int>(rows));
  Batch batch;
  batch.segments.push_back({&sequence, 0, static_cast<int>(rows), 0, RowForm::prompt});
  for (std::size_t i = 0; i < rows; ++i) {
    const auto position = static_cast<std::int32_t>(i);
    batch.tokens.push_back(ids[i]);
    batch.positions.push_back({position, position, position});
  }
  ForwardMemory memory;
  ForwardOps forward(model->weights(), kv, batch, memory, {threads, {ComputeMode::exact}});
  RecordingOps ops(forward);
  Stream stream = model->text().embed(ops);
  model->model().block(0, ops, stream);
  auto& got = ops.results;
  const ModelConfig& config = model->config();
  const auto heads = static_cast<std::size_t>(config.integer("num_attention_heads"));
  const auto kv_heads = static_cast<std::size_t>(config.integer("num_key_value_heads"));

  expect("embed", got["embed"][0]);
  expect("l0.input_norm", got["norm"][0]);
  // Convolutions in the order of the block, as far as the config has them.
  const std::string canon = config.text("canon_set");
  std::vector<std::string> convs;
  if (canon.find('A') != std::string::npos) convs.emplace_back("canon_a");
  if (canon.find('B') != std::string::npos) {
    for (const char* name : {"canon_b_q", "canon_b_k", "canon_b_v"}) convs.emplace_back(name);
  }
  if (canon.find('C') != std::string::npos) convs.emplace_back("canon_c");
  if (canon.find('D') != std::string::npos) convs.emplace_back("canon_d");
  ASSERT_EQ(got["conv"].size(), convs.size());
  const std::map<std::string, std::string> recorded{{"canon_a", "canon_a"},
                                                    {"canon_b_q", "q_canon"},
                                                    {"canon_b_k", "k_canon"},
                                                    {"canon_b_v", "v_canon"},
                                                    {"canon_c", "canon_c"}};
  for (std::size_t i = 0; i < convs.size(); ++i) {
    const auto name = recorded.find(convs[i]);
    if (name != recorded.end()) expect("l0." + name->second, got["conv"][i]);
  }
  if (canon.find('B') == std::string::npos) {
    expect("l0.q_canon", got["linears"][0]);
    expect("l0.k_canon", got["linears"][1]);
    expect("l0.v_canon", got["linears"][2]);
  }
  expect("l0.q_rope", by_head(got["rope"][0], rows, heads));
  expect("l0.k_rope", by_head(got["rope"][1], rows, kv_heads));
  if (config.flag("use_qk_norm", true)) {
    expect("l0.q_normed", by_head(got["head_norm"][0], rows, heads));
    expect("l0.k_normed", by_head(got["head_norm"][1], rows, kv_heads));
  }
  expect("l0.attn_out", got["linear"][0]);
  expect("l0.mlp_out", got["linear"][1]);
  expect("l0.out", got["add"][1]);
  for (int i = 1; i < model->model().block_count(); ++i) {
    model->model().block(i, ops, stream);
    expect("l" + std::to_string(i) + ".out", got["add"].back());
  }
  model->text().finish(ops, stream);
  expect("final_norm", got["norm"].back());
  sequence.accept(static_cast<int>(rows));
  // The windows that are left behind; the first block's come first.
  for (std::size_t i = 0; i < convs.size(); ++i) {
    expect("l0.state." + convs[i], sequence.window({static_cast<std::int32_t>(i)}).values());
  }
  std::size_t stored = 0;
  for (const TensorView& tensor : reference.tensors.tensors()) {
    stored += tensor.name.starts_with("act.") ? 1 : 0;
  }
  EXPECT_EQ(compared, stored) << "not every recorded activation was compared";
}

INSTANTIATE_TEST_SUITE_P(all, DharaActivations, testing::ValuesIn(kDharaSets),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace quiver::test
