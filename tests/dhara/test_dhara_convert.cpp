// Conversions of the dhara family: what layers cost in the ways the model is run, and what is
// written.
#include <gmock/gmock.h>

#include "core/eval/perplexity.hpp"
#include "tests/dhara/dhara_models.hpp"
#include "tests/quantize/convert_fixture.hpp"
#include "tests/support/whole_passes.hpp"

namespace quiver::test {
namespace {

std::filesystem::path trained() {
  return shared("models/dhara-tiny-real");
}

/// What was recorded of the trained model begins with these ids.
std::vector<std::int32_t> recorded_ids() {
  return ids_of(DharaReference("real").expected.at("logits").at("input_ids"));
}

/// A text each of the first four kinds.
std::vector<CalibrationInput> trained_inputs(const LoadedModel& model) {
  const auto ids = recorded_ids();
  Texts texts;
  for (const int length : {40, 38, 33, 40}) texts.emplace_back(ids.begin(), ids.begin() + length);
  return calibration_inputs(model, std::move(texts));
}

TEST(DharaSweep, equals_whole_passes_with_the_same_masks_and_visibility) {
  const auto model = load_dhara(trained());
  const MatrixEncoder encoder = exact_encoder();
  const auto inputs = trained_inputs(*model);
  EXPECT_EQ(inputs[1].visibility, (Visibility{VisibilityKind::block_causal, 32}));
  EXPECT_EQ(std::ranges::count(inputs[1].tokens, 2048), 32);
  EXPECT_EQ(std::ranges::count(inputs[3].tokens, 2048), 24);
  ThreadPool threads(2);
  auto layers = quantizable_layers(*model, *encoder.scheme, 64);
  BlockRunner runner(model, float_kv(), threads, inputs, 0);
  trace_layers(runner, layers, false);
  const std::set<std::string> wanted{"model.embed_tokens", "model.layers.2.self_attn.k_proj",
                                     "model.layers.5.mlp.down_proj"};
  std::map<std::size_t, double> measured;
  SweepHooks hooks;
  hooks.wants = [&](std::size_t index) { return wanted.contains(layers[index].name); };
  hooks.measured = [&](std::size_t index, const auto& kl) { measured[index] = kl.at(4); };
  measure_layers(runner, layers, {{4, 8}, encoder}, 0, threads, hooks);
  ASSERT_EQ(measured.size(), 3U);
  TestEngine reference{model};
  for (const auto& [index, kl] : measured) {
    const TemporaryFolder folder;
    write_with_layer(*model, layers, index, {4, 64}, encoder, folder.path());
    TestEngine changed{load_dhara(folder.path())};
    EXPECT_NEAR(kl, divergence_by_hand(reference.engine, changed.engine, inputs), 1e-12)
        << layers[index].name;
    EXPECT_GT(kl, 1e-5) << layers[index].name;
  }
}

struct WrittenTensors {
  SafetensorsFile source;
  SafetensorsFile written;

  WrittenTensors(const std::filesystem::path& from, const std::filesystem::path& to)
      : source(SafetensorsFile::open(from / "model.safetensors")),
        written(SafetensorsFile::open(to / "model.safetensors")) {}
};

Conversion convert_dhara(const std::filesystem::path& source, const Texts& texts,
                         const std::filesystem::path& out, const ConvertOptions& options) {
  ThreadPool threads(2);
  return convert(load_dhara(source), texts, out, options,
                 {exact_encoder(), {}, false, float_kv(), threads, nullptr, {}, load_dhara});
}

class DharaConversion : public testing::TestWithParam<const char*> {};

TEST_P(DharaConversion, quantizes_matrices_and_keeps_all_else_in_the_layout_of_mlx) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "out";
  ConvertOptions options;
  options.method = ConvertMethod::by_rules;
  options.group_size = 32;
  options.target_bpw = 8;
  convert_dhara(shared(GetParam()), {}, out, options);
  const WrittenTensors files(shared(GetParam()), out);
  std::map<std::string, int> seen;
  for (const TensorView& tensor : files.source.tensors()) {
    const TensorView& now = files.written.at(tensor.name);
    if (tensor.shape.size() == 2) {
      ++seen["matrix"];
      EXPECT_EQ(now.dtype, DType::u32) << tensor.name;
      const std::string stem(tensor.name.substr(0, tensor.name.rfind('.')));
      EXPECT_NE(files.written.find(stem + ".scales"), nullptr) << tensor.name;
      continue;
    }
    EXPECT_EQ(now.dtype, tensor.dtype) << tensor.name;
    EXPECT_TRUE(std::ranges::equal(now.data, tensor.data)) << tensor.name;
    const bool is_conv = tensor.name.ends_with(".conv.weight");
    const bool is_frequency = tensor.name.ends_with("inv_freq");
    ++seen[is_conv ? "conv" : is_frequency ? "frequency" : "norm"];
    if (is_conv) {
      EXPECT_EQ(now.shape, (std::vector<std::int64_t>{tensor.shape[0], 4, 1})) << tensor.name;
    } else {
      EXPECT_EQ(now.shape, tensor.shape) << tensor.name;
    }
    if (is_frequency) {
      EXPECT_EQ(now.dtype, DType::f32) << tensor.name;
    }
  }
  const auto blocks = load_dhara(out)->model().block_count();
  EXPECT_EQ(seen, (std::map<std::string, int>{{"matrix", 7 * blocks + 1},
                                              {"conv", 6 * blocks},
                                              {"frequency", blocks},
                                              {"norm", 4 * blocks + 1}}));
}

INSTANTIATE_TEST_SUITE_P(all, DharaConversion,
                         testing::Values("reference/dhara/base/checkpoint",
                                         "reference/dhara/bf16/checkpoint",
                                         "reference/dhara/quant_bf16/checkpoint",
                                         "models/dhara-tiny-real"));

TEST(DharaConverted, a_model_whose_widths_no_group_divides_is_refused) {
  const TemporaryFolder folder;
  ConvertOptions options;
  options.method = ConvertMethod::by_rules;
  options.group_size = 32;
  try {
    convert_dhara(shared("reference/dhara/headdim/checkpoint"), {}, folder.path() / "out", options);
    FAIL() << "something was quantized";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input);
    EXPECT_THAT(error.message(), testing::HasSubstr("group"));
  }
  EXPECT_TRUE(folder.list().empty());
}

TEST(DharaConverted, a_trained_model_diverges_by_what_is_reported) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "out";
  const auto model = load_dhara(trained());
  const auto ids = recorded_ids();
  const Texts texts(2, ids);
  ConvertOptions options;
  options.sensitivity = ConvertSensitivity::weight_error;
  options.target_bpw = 6;
  const Conversion result = convert_dhara(trained(), texts, out, options);
  TestEngine source{model};
  TestEngine written{load_dhara(out)};
  const double kl =
      divergence_by_hand(source.engine, written.engine, calibration_inputs(*model, texts));
  EXPECT_NEAR(result.kl_measured, kl, 1e-9);
  const auto plain = divergence_by_hand(source.engine, written.engine, plain_inputs(texts));
  EXPECT_GT(std::abs(kl - plain), 1e-6);
  // Of the two texts only the first is fed as text.
  EXPECT_NEAR(result.perplexity, perplexity(written.engine, ids, {}).perplexity,
              1e-6 * result.perplexity);
}

}  // namespace
}  // namespace quiver::test
