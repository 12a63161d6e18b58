// Conversions of the Qwen3.5 family: what layers cost, and what is written where.
#include <gmock/gmock.h>

#include <quiver/draft_head.hpp>

#include "core/quantize/kv_sensitivity.hpp"
#include "core/tensor/half.hpp"
#include "core/tensor/safetensors_set.hpp"
#include "core/tensor/safetensors_writer.hpp"
#include "tests/quantize/sweep_fixture.hpp"
#include "tests/qwen3_5/qwen3_5_models.hpp"
#include "tests/support/kv.hpp"
#include "tests/support/whole_passes.hpp"

namespace quiver::test {
namespace {

namespace fs = std::filesystem;

Conversion convert_qwen3_5(const fs::path& source, const Texts& texts, const fs::path& out,
                           const ConvertOptions& options) {
  ThreadPool threads(2);
  return convert(load_qwen3_5(source), texts, out, options,
                 {exact_encoder(), {}, false, float_kv(), threads, nullptr, {}, load_qwen3_5});
}

ConvertOptions by_rules(double target) {
  ConvertOptions options;
  options.method = ConvertMethod::by_rules;
  options.target_bpw = target;
  return options;
}

void expect_same(const TensorView& got, const TensorView& want) {
  EXPECT_EQ(got.dtype, want.dtype) << want.name;
  EXPECT_EQ(got.shape, want.shape) << want.name;
  EXPECT_TRUE(std::ranges::equal(got.data, want.data)) << want.name;
}

/// A checkpoint, and the folder that stock converters have made of it.
struct MadeElsewhere {
  const char* name;
  const char* source;
  const char* converted;
};

class Qwen3_5MadeElsewhere : public testing::TestWithParam<MadeElsewhere> {
 protected:
  fs::path source_ = shared(GetParam().source);
  fs::path converted_ = shared(GetParam().converted);
  nlohmann::json config_ = read_json_file(converted_ / "config.json");
  TemporaryFolder folder_;
  fs::path out_ = folder_.path() / "out";

  /// Converts with the very bits of the other folder.
  void convert(const fs::path& source) const {
    ConvertOptions options = by_rules(32);
    for (const auto& [name, entry] : config_.at("quantization").items()) {
      if (!entry.is_object()) continue;
      options.rules.pins.push_back({name, entry.at("bits").get<int>()});
    }
    convert_qwen3_5(source, {}, out_, options);
  }

  void expect_same_folder() const {
    const auto got = SafetensorsSet::open(out_);
    const auto want = SafetensorsSet::open(converted_);
    EXPECT_EQ(got.tensors().size(), want.tensors().size());
    for (const TensorView* tensor : want.tensors()) {
      const TensorView* found = got.find(tensor->name);
      ASSERT_NE(found, nullptr) << tensor->name;
      EXPECT_EQ(found->dtype, tensor->dtype) << tensor->name;
      EXPECT_EQ(found->shape, tensor->shape) << tensor->name;
      EXPECT_TRUE(std::ranges::equal(found->data, tensor->data)) << tensor->name;
    }
  }
};

TEST_P(Qwen3_5MadeElsewhere, is_written_here_byte_for_byte) {
  convert(source_);
  expect_same_folder();
  const nlohmann::json config = read_json_file(out_ / "config.json");
  for (const auto& [name, entry] : config_.at("quantization").items()) {
    if (!entry.is_object()) continue;
    EXPECT_EQ(config.at("quantization").at(name).at("bits"), entry.at("bits")) << name;
  }
  // Readers of that layout know no type of the text part alone.
  EXPECT_FALSE(config.at("model_type").get<std::string>().ends_with("_text"));
}

INSTANTIATE_TEST_SUITE_P(all, Qwen3_5MadeElsewhere,
                         testing::Values(MadeElsewhere{"hybrid",
                                                       "reference/convert/qwen35_a/checkpoint",
                                                       "reference/convert/qwen35_a/converted"},
                                         MadeElsewhere{"text", "reference/qwen3_5/text/checkpoint",
                                                       "reference/qwen3_5/text/quant"},
                                         MadeElsewhere{"moe", "reference/qwen3_5/moe/checkpoint",
                                                       "reference/qwen3_5/moe/quant"}),
                         [](const auto& param) { return std::string(param.param.name); });

/// Writes a checkpoint's fused experts as those that are stored one by one.
void unfuse_experts(const fs::path& from, const fs::path& to) {
  struct Piece {
    TensorInfo info;
    std::span<const std::byte> data;
  };
  const auto file = SafetensorsFile::open(from / "model.safetensors");
  std::vector<Piece> pieces;
  for (const TensorView& tensor : file.tensors()) {
    const std::string name(tensor.name);
    const std::size_t at = name.find("experts.") + std::strlen("experts.");
    const bool is_fused = name.ends_with("experts.gate_up_proj");
    if (!is_fused && !name.ends_with("experts.down_proj")) {
      pieces.push_back({{name, tensor.dtype, tensor.shape}, tensor.data});
      continue;
    }
    const std::vector<std::string> parts = is_fused
                                               ? std::vector<std::string>{"gate_proj", "up_proj"}
                                               : std::vector<std::string>{"down_proj"};
    const auto count = static_cast<std::int64_t>(parts.size());
    const std::size_t bytes =
        tensor.data.size() / static_cast<std::size_t>(tensor.shape[0] * count);
    std::size_t first = 0;
    for (std::int64_t expert = 0; expert < tensor.shape[0]; ++expert) {
      for (const std::string& part : parts) {
        pieces.push_back({{name.substr(0, at) + std::to_string(expert) + "." + part + ".weight",
                           tensor.dtype,
                           {tensor.shape[1] / count, tensor.shape[2]}},
                          tensor.data.subspan(first, bytes)});
        first += bytes;
      }
    }
  }
  std::vector<TensorInfo> infos;
  for (const Piece& piece : pieces) infos.push_back(piece.info);
  fs::create_directories(to);
  SafetensorsWriter writer(to / "model.safetensors", infos);
  for (const Piece& piece : pieces) writer.write(piece.info.name, piece.data);
  writer.commit();
  fs::copy_file(from / "config.json", to / "config.json");
}

using Qwen3_5Unfused = Qwen3_5MadeElsewhere;

TEST_P(Qwen3_5Unfused, experts_are_written_as_stacks) {
  unfuse_experts(source_, folder_.path() / "unfused");
  const auto files = SafetensorsSet::open(folder_.path() / "unfused");
  ASSERT_NE(files.find("model.layers.0.mlp.experts.6.up_proj.weight"), nullptr);
  convert(folder_.path() / "unfused");
  expect_same_folder();
}

INSTANTIATE_TEST_SUITE_P(all, Qwen3_5Unfused,
                         testing::Values(MadeElsewhere{"moe", "reference/qwen3_5/moe/checkpoint",
                                                       "reference/qwen3_5/moe/quant"}),
                         [](const auto& param) { return std::string(param.param.name); });

/// The ids that the trained model's first recorded prompts begin with.
Texts trained_texts() {
  const nlohmann::json expected = read_json_file(shared("models/qwen3_5-tiny-real/expected.json"));
  Texts texts;
  for (const nlohmann::json& entry : expected.at("greedy").at("cases")) {
    texts.push_back(ids_of(entry.at("input_ids")));
    if (texts.size() == 2) break;
  }
  return texts;
}

TEST(Qwen3_5Conversion, keeps_the_draft_head_in_a_file_of_its_own_that_is_found_again) {
  const fs::path source = shared("models/qwen3_5-tiny-real");
  const TemporaryFolder folder;
  const fs::path out = folder.path() / "out";
  ConvertOptions options = by_rules(6);
  options.group_size = 32;
  const Conversion result = convert_qwen3_5(source, {}, out, options);
  EXPECT_GT(result.sidecar_bytes, 0U);
  for (const ConvertedLayer& layer : result.layers)
    EXPECT_THAT(layer.name, testing::Not(testing::StartsWith("mtp")));

  const nlohmann::json config = read_json_file(out / "config.json");
  EXPECT_EQ(config.at("mtp_file"), "optiq/mtp.safetensors");
  EXPECT_EQ(config.at("mlx_lm_extra_tensors").at("mtp_file"), "optiq/mtp.safetensors");
  const nlohmann::json& packed = config.at("mtplx_mtp_quantization");
  EXPECT_EQ(packed.at("bits"), config.at("quantization").at("bits"));
  EXPECT_EQ(packed.at("group_size"), 32);
  EXPECT_EQ(packed.at("policy"), "cyankiwi");

  const auto weights = SafetensorsSet::open(out);
  for (const TensorView* tensor : weights.tensors()) {
    EXPECT_THAT(std::string(tensor->name), testing::Not(testing::HasSubstr("mtp")));
  }
  // What is not packed lies there as its authors have it.
  const auto head = SafetensorsFile::open(out / "optiq/mtp.safetensors");
  const auto original = SafetensorsFile::open(source / "model.safetensors");
  for (const char* name : {"mtp.fc.weight", "mtp.norm.weight", "mtp.pre_fc_norm_hidden.weight",
                           "mtp.layers.0.self_attn.q_norm.weight"}) {
    expect_same(head.at(name), original.at(name));
  }
  EXPECT_EQ(head.at("mtp.layers.0.mlp.up_proj.weight").dtype, DType::u32);
}

TEST(Qwen3_5Conversion, of_a_converted_folder_takes_the_draft_head_over_as_it_is) {
  const TemporaryFolder folder;
  const fs::path first = folder.path() / "first";
  const fs::path second = folder.path() / "second";
  ConvertOptions options = by_rules(10);
  options.group_size = 32;
  options.rules.pins = {{"*", 8}};
  convert_qwen3_5(shared("models/qwen3_5-tiny-real"), {}, first, options);
  options.rules.pins = {{"*", 4}};
  convert_qwen3_5(first, {}, second, options);
  const auto was = SafetensorsFile::open(first / "optiq/mtp.safetensors");
  const auto is = SafetensorsFile::open(second / "optiq/mtp.safetensors");
  EXPECT_EQ(was.tensors().size(), is.tensors().size());
  for (const TensorView& tensor : was.tensors()) expect_same(is.at(tensor.name), tensor);
  const nlohmann::json config = read_json_file(second / "config.json");
  EXPECT_EQ(config.at("mtplx_mtp_quantization").at("bits"), 8);
  EXPECT_EQ(config.at("quantization").at("bits"), 4);
}

/// The largest relative difference between the norms of two models.
double norm_difference(const LoadedModel& before, const LoadedModel& after) {
  const auto was = before.weights().norms();
  const auto is = after.weights().norms();
  EXPECT_EQ(was.size(), is.size());
  double largest = 0;
  for (std::size_t n = 0; n < was.size(); ++n) {
    EXPECT_EQ(was[n].name, is[n].name);
    for (std::size_t i = 0; i < was[n].weight.size(); ++i) {
      const double want = was[n].weight[i];
      largest = std::max(largest, std::abs(is[n].weight[i] - want) / std::abs(want));
    }
  }
  return largest;
}

TEST(Qwen3_5Conversion, rounds_norms_with_their_one_to_the_stored_type) {
  const fs::path source = shared("models/qwen3_5-tiny-real");
  const TemporaryFolder folder;
  convert_qwen3_5(source, {}, folder.path() / "out", by_rules(9));
  const double difference =
      norm_difference(*load_qwen3_5(source), *load_qwen3_5(folder.path() / "out"));
  EXPECT_GT(difference, 1e-4);
  EXPECT_LE(difference, 1.0 / 256);  // half a unit in the last place of bfloat16
}

/// A folder in the MLX layout whose draft head stands among the weights, with norms as that layout
/// has them: values and one.
void write_joined(const fs::path& converted, const fs::path& to) {
  const auto weights = SafetensorsFile::open(converted / "model.safetensors");
  const auto head = SafetensorsFile::open(converted / "optiq/mtp.safetensors");
  std::vector<TensorInfo> infos;
  for (const SafetensorsFile* file : {&weights, &head}) {
    for (const TensorView& tensor : file->tensors()) {
      infos.push_back({std::string(tensor.name), tensor.dtype, tensor.shape});
    }
  }
  fs::create_directories(to);
  SafetensorsWriter writer(to / "model.safetensors", infos);
  for (const TensorView& tensor : weights.tensors()) writer.write(tensor.name, tensor.data);
  for (const TensorView& tensor : head.tensors()) {
    std::vector<std::byte> bytes(tensor.data.begin(), tensor.data.end());
    for (std::size_t at = 0; tensor.shape.size() == 1 && at < bytes.size(); at += 2) {
      std::uint16_t value = 0;
      std::memcpy(&value, bytes.data() + at, 2);
      value = f32_to_bf16(bf16_to_f32(value) + 1.0F);
      std::memcpy(bytes.data() + at, &value, 2);
    }
    writer.write(tensor.name, bytes);
  }
  writer.commit();
  nlohmann::json config = read_json_file(converted / "config.json");
  for (const char* key : {"mtp_file", "mlx_lm_extra_tensors"}) config.erase(key);
  write_json_file(to / "config.json", config);
}

TEST(Qwen3_5Conversion, takes_the_one_off_a_draft_heads_norms_that_have_it_already) {
  const TemporaryFolder folder;
  ConvertOptions options = by_rules(32);
  options.bits = {8, 16};
  options.rules.pins = {{"*", 16}};
  convert_qwen3_5(shared("models/qwen3_5-tiny-real"), {}, folder.path() / "whole", options);
  EXPECT_FALSE(
      read_json_file(folder.path() / "whole/config.json").contains("mtplx_mtp_quantization"));
  write_joined(folder.path() / "whole", folder.path() / "joined");
  convert_qwen3_5(folder.path() / "joined", {}, folder.path() / "out", options);
  const auto joined = load_qwen3_5(folder.path() / "joined");
  const auto out = load_qwen3_5(folder.path() / "out");
  EXPECT_EQ(norm_difference(*joined, *out), 0.0);
  EXPECT_NE(joined->model().extension(DraftHead::kInterfaceId), nullptr);
  EXPECT_NE(out->model().extension(DraftHead::kInterfaceId), nullptr);
}

TEST(Qwen3_5Conversion, reports_the_divergence_of_what_was_written_norms_and_all) {
  const fs::path source = shared("models/qwen3_5-tiny-real");
  const Texts texts = trained_texts();
  const TemporaryFolder folder;
  const fs::path out = folder.path() / "out";
  ConvertOptions options;
  options.bits = {16};
  options.target_bpw = 32;
  const Conversion result = convert_qwen3_5(source, texts, out, options);
  TestEngine reference{load_qwen3_5(source)};
  TestEngine written{load_qwen3_5(out)};
  const double want = divergence_by_hand(reference.engine, written.engine, plain_inputs(texts));
  EXPECT_GT(want, 1e-7);
  EXPECT_NEAR(result.kl_measured, want, 1e-9);
}

/// What does not change any more when it is written: all matrices kept, norms rounded.
std::shared_ptr<const LoadedModel> settled(const fs::path& source, const fs::path& out) {
  ConvertOptions options = by_rules(32);
  options.bits = {8, 16};
  options.rules.pins = {{"*", 16}};
  convert_qwen3_5(source, {}, out, options);
  return load_qwen3_5(out);
}

TEST(Qwen3_5Sweep, of_experts_equals_whole_passes) {
  const TemporaryFolder folder;
  const auto model = settled(shared("reference/qwen3_5/moe/checkpoint"), folder.path() / "model");
  const MatrixEncoder encoder = exact_encoder();
  const auto inputs = plain_inputs(some_texts(211, 2, 40));
  ThreadPool threads(2);
  auto layers = quantizable_layers(*model, *encoder.scheme, 64);
  BlockRunner runner(model, float_kv(), threads, inputs, 0);
  trace_layers(runner, layers, true);
  std::map<std::size_t, double> measured;
  SweepHooks hooks;
  hooks.wants = [&](std::size_t index) {
    return layers[index].block == 2 || layers[index].block == 3;
  };
  hooks.measured = [&](std::size_t index, const auto& kl) { measured[index] = kl.at(4); };
  measure_layers(runner, layers, {{4}, encoder}, 0, threads, hooks);
  ASSERT_EQ(measured.size(), 24U);
  TestEngine reference{model};
  std::set<Role> roles;
  for (const auto& [index, kl] : measured) {
    const QuantizableLayer& layer = layers[index];
    EXPECT_EQ(layer.experts, layer.role == Role::expert ? 7 : 0) << layer.name;
    EXPECT_FALSE(layer.importance.empty()) << layer.name;
    if (!roles.insert(layer.role).second && layer.role != Role::expert) continue;
    const TemporaryFolder out;
    write_with_layer(*model, layers, index, {4, layer.group_size}, encoder, out.path());
    TestEngine changed{load_qwen3_5(out.path())};
    EXPECT_NEAR(kl, divergence_by_hand(reference.engine, changed.engine, inputs), 1e-12)
        << layer.name;
  }
  EXPECT_EQ(roles, (std::set<Role>{Role::recurrent, Role::attention, Role::router, Role::expert,
                                   Role::shared_expert}));
}

class Qwen3_5RecordedSweep : public testing::Test {
 protected:
  fs::path folder_ = shared("reference/convert/qwen35_a");
  nlohmann::json expected_ = read_json_file(folder_ / "expected.json");
  Sweep sweep_{load_qwen3_5(folder_ / "checkpoint"), recorded_texts("qwen35_a")};
};

TEST_F(Qwen3_5RecordedSweep, gives_the_recorded_divergences) {
  sweep_.bits = {2, 4, 8};
  expect_recorded_table(sweep_.run(), expected_, "sensitivity");
}

TEST_F(Qwen3_5RecordedSweep, gives_the_recorded_divergences_from_a_4_bit_stand_in) {
  sweep_.reference_bits = 4;
  // That package keeps what the stand-in predicts as float16: rounded likewise here, the figures
  // are within the usual tolerance.
  expected_["kl_tolerance"]["relative"] = 0.02;
  expect_recorded_table(sweep_.run(), expected_, "sensitivity_uniform4");
}

TEST(Qwen3_5Sweep, knows_experts_that_a_stand_in_replaces) {
  Sweep sweep{load_qwen3_5(shared("reference/qwen3_5/moe/checkpoint")), some_texts(211, 1, 24)};
  sweep.reference_bits = 4;
  const Table table = sweep.run();
  const auto found = table.find("language_model.model.layers.1.mlp.switch_mlp.up_proj");
  ASSERT_NE(found, table.end());
  EXPECT_GT(found->second.at(8), 0.0);
}

TEST(Qwen3_5KvSweep, finds_the_layers_with_attention_alone) {
  const auto model = load_qwen3_5(shared("models/qwen3_5-tiny-real"));
  ThreadPool threads(2);
  const KvSweep sweep{model, float_kv(), affine_kv, threads, {}};
  const std::array<int, 2> bits{4, 8};
  const auto layers = measure_kv(sweep, plain_inputs(trained_texts()), bits, false);
  ASSERT_EQ(layers.size(), 2U);
  EXPECT_EQ(layers[0].block, 3);
  EXPECT_EQ(layers[1].block, 7);
  for (const KvLayerSensitivity& layer : layers) EXPECT_GT(layer.kl.at(4), layer.kl.at(8));
}

}  // namespace
}  // namespace quiver::test
