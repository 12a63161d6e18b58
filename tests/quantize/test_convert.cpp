// Conversions as a whole: what is written, what it is worth, and what interruptions leave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/eval/divergence.hpp"
#include "core/quantize/named_encoder.hpp"
#include "core/tensor/half.hpp"
#include "core/tensor/safetensors_set.hpp"
#include "tests/quantize/convert_fixture.hpp"
#include "tests/support/checkpoint_folder.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {
namespace {

/// KL(source || written) over texts, by two engines that know nothing of conversions.
double divergence_of(const std::filesystem::path& written, const std::filesystem::path& source,
                     const Texts& texts) {
  TestEngine engine(load_model(written));
  TestEngine reference(load_model(source));
  double sum = 0;
  for (const auto& text : texts) sum += divergence(engine.engine, reference.engine, text, {}).mean;
  return sum / static_cast<double>(texts.size());
}

const ConvertedLayer& layer_of(const Conversion& conversion, const std::string& name) {
  const auto found = std::ranges::find(conversion.layers, name, &ConvertedLayer::name);
  if (found == conversion.layers.end()) throw std::runtime_error("no layer " + name);
  return *found;
}

std::string refusal(const TestConversion& conversion, const std::filesystem::path& out) {
  try {
    conversion.run(out);
  } catch (const Error& error) {
    return std::string(error.what());
  }
  return "none";
}

class Converting : public testing::Test {
 protected:
  TemporaryFolder folder;
  std::filesystem::path out = folder.path() / "out";
  TestConversion conversion;
};

TEST_F(Converting, writes_a_folder_whose_divergence_is_the_one_it_reports) {
  conversion.options.target_bpw = 6;
  const Conversion result = conversion.run(out);
  EXPECT_NEAR(result.kl_measured, divergence_of(out, conversion.source, conversion.texts),
              1e-6 + 1e-3 * result.kl_measured);
  EXPECT_GT(result.kl_measured, 1e-4);
}

TEST_F(Converting, meets_the_target_in_bits_of_everything_written) {
  for (const double target : {5.2, 6.0, 7.5}) {
    conversion.options.target_bpw = target;
    conversion.options.bits = {3, 4, 5, 6, 8};
    conversion.options.replaces = true;
    const Conversion result = conversion.run(out);
    const auto files = SafetensorsSet::open(out);
    std::uint64_t bytes = 0;
    for (const TensorView* tensor : files.tensors()) bytes += tensor->data.size();
    std::uint64_t parameters = 0;
    const auto source = SafetensorsSet::open(conversion.source);
    for (const TensorView* tensor : source.tensors()) {
      parameters += static_cast<std::uint64_t>(tensor->elements());
    }
    const double bpw = 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
    EXPECT_NEAR(result.bpw_true, bpw, 1e-9);
    EXPECT_LE(bpw, target);
    EXPECT_GT(bpw, target - 0.25);
  }
}

TEST_F(Converting, writes_what_metadata_config_and_tensors_agree_on) {
  conversion.options.target_bpw = 6.5;
  const Conversion result = conversion.run(out);
  const nlohmann::json config = read_json_file(out / "config.json");
  const nlohmann::json metadata = read_json_file(out / "optiq_metadata.json");
  EXPECT_EQ(config.at("quantization"), config.at("quantization_config"));
  EXPECT_EQ(config.at("quantization").at("mode"), "affine");
  const auto files = SafetensorsSet::open(out);
  for (const ConvertedLayer& layer : result.layers) {
    const nlohmann::json entry = {{"bits", layer.format.bits}, {"group_size", 64}};
    EXPECT_EQ(config.at("quantization").at(layer.name), entry);
    EXPECT_EQ(metadata.at("per_layer").at(layer.name), entry);
    EXPECT_EQ(files.at(layer.name + ".weight").columns() * 32, layer.columns * layer.format.bits);
    EXPECT_EQ(files.at(layer.name + ".scales").columns(), layer.columns / 64);
  }
  const nlohmann::json index = read_json_file(out / "model.safetensors.index.json");
  EXPECT_EQ(index.at("weight_map").size(), files.tensors().size());
  EXPECT_EQ(index.at("metadata").at("total_size"), result.bytes);
}

TEST_F(Converting, gives_wider_layers_to_the_more_sensitive_ones) {
  conversion.options.target_bpw = 6.5;
  const Conversion result = conversion.run(out);
  double uniform = 0;
  double chosen = 0;
  for (const ConvertedLayer& layer : result.layers) {
    uniform += layer.kl.at(4);
    chosen += layer.kl.at(layer.format.bits);
  }
  EXPECT_LT(chosen, uniform);
  EXPECT_DOUBLE_EQ(result.kl_predicted, chosen);
}

TEST_F(Converting, compares_with_all_layers_at_one_width) {
  conversion.options.bits = {3, 4, 5, 6, 8};
  conversion.options.target_bpw = 6;
  conversion.options.compares = true;
  const Conversion result = conversion.run(out);
  ASSERT_EQ(result.uniform.size(), 5U);
  // A folder with all layers at 4 bits, made by way of pins.
  conversion.options.rules.pins = {{"*", 4}};
  const Conversion four = conversion.run(folder.path() / "four");
  EXPECT_EQ(result.uniform[1].bits, 4);
  EXPECT_EQ(result.uniform[1].bytes, four.bytes);
  EXPECT_DOUBLE_EQ(result.uniform[1].kl, four.kl_measured);
  EXPECT_DOUBLE_EQ(result.uniform[1].perplexity, four.perplexity);
  EXPECT_LT(result.kl_measured, 0.75 * uniform_kl_at(result.uniform, result.bytes));
  EXPECT_NEAR(result.perplexity, result.source_perplexity, 0.1 * result.source_perplexity);
}

TEST_F(Converting, measures_an_embedding_and_a_tied_one_in_both_its_uses) {
  conversion.source = shared("reference/llama/qwen2/checkpoint");
  conversion.texts = some_texts(297, 3, 40);
  conversion.options.bits = {4, 16};
  conversion.options.target_bpw = 16;
  conversion.options.group_size = 32;
  conversion.options.refinement = 0;
  conversion.options.rules.pins = {{"model.layers.*", 16}, {"model.embed_tokens", 4}};
  const Conversion result = conversion.run(out);
  EXPECT_FALSE(SafetensorsSet::open(out).find("lm_head.weight"));
  const double alone = layer_of(result, "model.embed_tokens").kl.at(4);
  EXPECT_NEAR(alone, divergence_of(out, conversion.source, conversion.texts), 1e-6 + 1e-3 * alone);
  EXPECT_GT(alone, 1e-4);
}

TEST_F(Converting, keeps_layers_and_their_biases_as_they_are_at_16_bits) {
  conversion.source = shared("reference/llama/qwen2/checkpoint");
  conversion.texts = some_texts(297, 2, 32);
  conversion.options.bits = {4, 16};
  conversion.options.group_size = 32;
  conversion.options.target_bpw = 10;
  conversion.run(out);
  const auto source = SafetensorsSet::open(conversion.source);
  const auto written = SafetensorsSet::open(out);
  std::size_t equal = 0;
  for (const TensorView* tensor : source.tensors()) {
    const TensorView* found = written.find(tensor->name);
    ASSERT_NE(found, nullptr) << tensor->name;
    if (found->dtype != tensor->dtype) continue;
    EXPECT_TRUE(std::ranges::equal(found->data, tensor->data)) << tensor->name;
    ++equal;
  }
  EXPECT_GT(equal, 10U);
}

TEST_F(Converting, gives_equal_bytes_whatever_the_threads) {
  conversion.options.target_bpw = 6;
  conversion.run(out);
  conversion.threads = 1;
  conversion.run(folder.path() / "alone");
  EXPECT_EQ(contents(out), contents(folder.path() / "alone"));
}

TEST_F(Converting, gives_equal_bytes_when_interrupted_and_resumed_anywhere) {
  conversion.options.target_bpw = 6;
  conversion.options.refinement = 0.5;
  const Conversion whole = conversion.run(folder.path() / "whole");
  EXPECT_GT(whole.swaps_tried, 0);
  int calls = 0;
  TestConversion counted = conversion;
  counted.progress = [&](auto...) { return ++calls, false; };
  counted.run(folder.path() / "counted");
  for (const double part : {0.1, 0.35, 0.6, 0.8, 0.97}) {
    TestConversion interrupted = conversion;
    int left = static_cast<int>(part * calls);
    interrupted.progress = [&](auto...) { return --left < 0; };
    EXPECT_EQ(refusal(interrupted, out), "interrupted");
    EXPECT_FALSE(std::filesystem::exists(out));
    TestConversion resumed = conversion;
    resumed.options.resumes = true;
    int again = 0;
    resumed.progress = [&](auto...) { return ++again, false; };
    resumed.run(out);
    EXPECT_EQ(contents(out), contents(folder.path() / "whole"));
    if (part > 0.3) {
      EXPECT_LT(again, calls);
    }
    std::filesystem::remove_all(out);
  }
  EXPECT_THAT(folder.list(), testing::UnorderedElementsAre("whole", "counted"));
}

TEST_F(Converting, refuses_to_resume_under_other_settings) {
  conversion.options.target_bpw = 6;
  conversion.progress = [](std::string_view stage, std::uint64_t done, auto...) {
    return stage == "measuring" && done > 0;
  };
  EXPECT_EQ(refusal(conversion, out), "interrupted");
  conversion.progress = {};
  EXPECT_THAT(refusal(conversion, out), testing::HasSubstr("--resume"));
  conversion.options.resumes = true;
  conversion.options.bits = {3, 8};
  conversion.texts.pop_back();
  EXPECT_THAT(refusal(conversion, out),
              testing::AllOf(testing::HasSubstr("texts"), testing::HasSubstr("widths")));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(Converting, refuses_an_existing_folder_unless_told_to_replace_it) {
  conversion.options.target_bpw = 6;
  conversion.run(out);
  EXPECT_THAT(refusal(conversion, out), testing::HasSubstr("--force"));
  conversion.options.replaces = true;
  EXPECT_EQ(refusal(conversion, out), "none");
}

TEST_F(Converting, tells_a_target_that_cannot_be_met) {
  conversion.options.target_bpw = 3;
  EXPECT_THAT(refusal(conversion, out), testing::HasSubstr("at least"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(Converting, tells_widths_that_the_scheme_lacks) {
  conversion.options.bits = {4, 7};
  EXPECT_THAT(refusal(conversion, out), testing::HasSubstr("7 bits"));
  conversion.options.bits = {4, 8};
  conversion.options.group_size = 48;
  EXPECT_THAT(refusal(conversion, out), testing::HasSubstr("groups of 48"));
  EXPECT_THAT(folder.list(), testing::IsEmpty());
}

TEST_F(Converting, falls_back_to_smaller_groups_and_says_so) {
  conversion.options.group_size = 128;  // down_proj has 192 columns
  conversion.options.target_bpw = 6;
  const Conversion result = conversion.run(out);
  EXPECT_EQ(layer_of(result, "model.layers.0.mlp.down_proj").format.group_size, 64);
  EXPECT_EQ(layer_of(result, "model.layers.0.mlp.up_proj").format.group_size, 128);
  EXPECT_THAT(result.warnings, testing::Contains(testing::HasSubstr("down_proj has groups of 64")));
  EXPECT_NEAR(result.kl_measured, divergence_of(out, conversion.source, conversion.texts),
              1e-6 + 1e-3 * result.kl_measured);
}

TEST_F(Converting, names_the_layer_whose_weights_are_not_finite) {
  const auto source = folder.path() / "source";
  std::filesystem::copy(conversion.source, source, std::filesystem::copy_options::recursive);
  const auto file = SafetensorsFile::open(source / "model.safetensors");
  std::map<std::string, FloatTensor> tensors;
  for (const TensorView& tensor : file.tensors()) {
    tensors[std::string(tensor.name)] = {tensor.shape, floats(file, std::string(tensor.name))};
  }
  tensors.at("model.layers.1.mlp.up_proj.weight").values[77] = NAN;
  write_tensors(source / "model.safetensors", tensors);
  conversion.source = source;
  EXPECT_THAT(refusal(conversion, out), testing::HasSubstr("model.layers.1.mlp.up_proj"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(Converting, writes_with_another_encoder_than_it_measures_with_where_told) {
  conversion.options.bits = {3, 8};
  conversion.options.target_bpw = 6;
  const Conversion plain = conversion.run(folder.path() / "plain");
  const auto scheme = affine_scheme({});
  const NamedEncoder search(*scheme, "search");
  conversion.writer = [&](auto... what) { search.encode(what...); };
  const Conversion result = conversion.run(out);
  EXPECT_EQ(result.kl_predicted, plain.kl_predicted);
  EXPECT_NE(result.kl_measured, plain.kl_measured);
  for (std::size_t i = 0; i < result.layers.size(); ++i) {
    EXPECT_EQ(result.layers[i].kl, plain.layers[i].kl);
  }
  EXPECT_NEAR(result.kl_measured, divergence_of(out, conversion.source, conversion.texts),
              1e-6 + 1e-3 * result.kl_measured);
}

TEST_F(Converting, splits_files_at_the_limit_and_reads_them_back) {
  const auto model = load_model(conversion.source);
  ThreadPool pool(2);
  const MatrixEncoder encoder = exact_encoder();
  const auto layers = quantizable_layers(*model, *encoder.scheme, 64);
  const std::vector<LayerFormat> formats(layers.size(), LayerFormat{4, 64});
  const QuantizedFolder folder_of_shards{*model, layers, formats, encoder, 40000};
  std::filesystem::create_directory(out);
  const WrittenFolder written = write_quantized_folder(folder_of_shards, out, pool, {});
  int shards = 0;
  for (const auto& entry : std::filesystem::directory_iterator(out)) {
    if (entry.path().extension() != ".safetensors") continue;
    std::uint64_t bytes = 0;
    const auto shard = SafetensorsFile::open(entry.path());
    for (const TensorView& tensor : shard.tensors()) bytes += tensor.data.size();
    EXPECT_LE(bytes, 40000U);
    ++shards;
  }
  EXPECT_GE(shards, 3);
  EXPECT_EQ(load_model(out)->weights().linears().size(), 22U);
  EXPECT_GT(written.bytes, 0U);
}

TEST_F(Converting, notices_when_what_is_read_back_is_not_what_was_written) {
  const auto model = load_model(conversion.source);
  ThreadPool pool(2);
  const MatrixEncoder encoder = exact_encoder();
  const auto layers = quantizable_layers(*model, *encoder.scheme, 64);
  const std::vector<LayerFormat> formats(layers.size(), LayerFormat{4, 64});
  const QuantizedFolder quantized{*model, layers, formats, encoder};
  std::filesystem::create_directory(out);
  const WrittenFolder written = write_quantized_folder(quantized, out, pool, {});
  nlohmann::json metadata = {{"per_layer", nlohmann::json::object()}};
  for (const QuantizableLayer& layer : layers) {
    metadata["per_layer"][layer.name] = {{"bits", 4}, {"group_size", 64}};
  }
  write_json_file(out / "optiq_metadata.json", metadata);
  EXPECT_NO_THROW(verify_quantized_folder(quantized, written, out));
  nlohmann::json config = read_json_file(out / "config.json");
  const nlohmann::json good = config;
  config["quantization"]["lm_head"]["bits"] = 8;
  config["quantization_config"]["lm_head"]["bits"] = 8;
  write_json_file(out / "config.json", config);
  EXPECT_THROW(verify_quantized_folder(quantized, written, out), Error);
  write_json_file(out / "config.json", good);
  metadata["per_layer"]["lm_head"]["bits"] = 8;
  write_json_file(out / "optiq_metadata.json", metadata);
  EXPECT_THROW(verify_quantized_folder(quantized, written, out), Error);
  metadata["per_layer"]["lm_head"]["bits"] = 4;
  write_json_file(out / "optiq_metadata.json", metadata);
  std::string bytes = read_text(out / "model.safetensors");
  bytes.back() = static_cast<char>(bytes.back() + 1);
  folder.write("out/model.safetensors", bytes);
  EXPECT_THROW(verify_quantized_folder(quantized, written, out), Error);
}

}  // namespace
}  // namespace quiver::test
