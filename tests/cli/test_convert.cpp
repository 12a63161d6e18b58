// quiver convert: its document, its table, its options, and the recorded results of the reference
// package.
#include "core/tensor/safetensors.hpp"
#include "core/tensor/safetensors_set.hpp"
#include "tests/cli/convert_program.hpp"

namespace quiver::test {
namespace {

using testing::HasSubstr;
using testing::Not;

class Convert : public ConvertProgram {
 protected:
  /// How many tensors of layers with these bits equal the recorded ones bit for bit.
  int equal_tensors(const std::map<std::string, int>& recorded_bits) const {
    const auto recorded =
        SafetensorsFile::open(shared_path("reference/convert/llama_a/converted/model.safetensors"));
    const auto files = SafetensorsSet::open(out_);
    const auto table = written("config.json").at("quantization");
    int equal = 0;
    for (const auto& [name, bits] : recorded_bits) {
      if (table.at(name).at("bits") != bits) continue;
      for (const char* part : {".weight", ".scales", ".biases"}) {
        const TensorView& ours = files.at(name + part);
        const TensorView& theirs = recorded.at(name + part);
        EXPECT_TRUE(ours.dtype == theirs.dtype && ours.shape == theirs.shape &&
                    std::ranges::equal(ours.data, theirs.data))
            << name << part;
        ++equal;
      }
    }
    return equal;
  }
};

TEST_F(Convert, document_has_all_layers_and_true_figures_within_the_target) {
  const auto json = converted();
  const std::map<std::string, int> bits = bits_of(json.at("layers"));
  ASSERT_EQ(bits.size(), 23U);  // 3 blocks of 7, head, embedding
  EXPECT_EQ(bits.count("model.embed_tokens"), 1U);
  for (const auto& layer : json.at("layers")) {
    EXPECT_TRUE(layer.at("bits") == 4 || layer.at("bits") == 8);
    EXPECT_EQ(layer.at("group_size"), 64);
    EXPECT_GT(layer.at("kl").at("4"), layer.at("kl").at("8")) << layer.at("name");
  }
  std::uint64_t bytes = 0;
  std::uint64_t parameters = 0;
  const auto files = SafetensorsSet::open(out_);
  for (const TensorView* tensor : files.tensors()) bytes += tensor->data.size();
  const auto source = SafetensorsSet::open(source_);
  for (const TensorView* tensor : source.tensors()) {
    parameters += static_cast<std::uint64_t>(tensor->elements());
  }
  EXPECT_EQ(json.at("bytes"), bytes);
  const double bpw = 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
  EXPECT_NEAR(json.at("bpw_true").get<double>(), bpw, 1e-9);
  EXPECT_LE(bpw, 6.5);
  EXPECT_GT(bpw, 6.25);
  EXPECT_LT(json.at("bpw_linear").get<double>(), bpw - 1);  // scales and biases are float32
  EXPECT_GT(json.at("kl_measured").get<double>(), 0);
  EXPECT_GT(json.at("seconds").get<double>(), 0);
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"out"}) << "something was left beside it";
}

TEST_F(Convert, result_answers_and_is_as_far_from_the_source_as_reported) {
  const auto json = converted();
  const auto text = folder_.write("text.txt", "A text that a model reads, and another sentence.");
  const ProgramResult kl =
      run_program({"kl", out_, source_, text.string(), "--compute", "exact", "--json"});
  ASSERT_EQ(kl.status, 0) << kl.err;
  const double measured = json.at("kl_measured");
  EXPECT_GT(kl.json().at("kl_mean").get<double>(), measured / 5);
  EXPECT_LT(kl.json().at("kl_mean").get<double>(), measured * 5);
}

TEST_F(Convert, table_has_a_line_for_each_layer_and_a_summary) {
  const ProgramResult result = convert(
      {"--candidate-bits", "4,8,16", "--pin", "lm_head=16", "--quiet", "--target-bpw", "7.5"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("KL at 4"));
  EXPECT_THAT(result.out, HasSubstr("model.layers.2.mlp.down_proj"));
  EXPECT_THAT(result.out, HasSubstr("331 x 128"));
  EXPECT_THAT(result.out, HasSubstr("kept"));
  EXPECT_THAT(result.out, HasSubstr("bits a weight"));
  EXPECT_EQ(std::ranges::count(result.out.substr(0, result.out.find("\n\n")), '\n'), 23);
  EXPECT_EQ(result.err, "");
}

TEST_F(Convert, compat_reproduces_the_recorded_command_run) {
  const auto json = converted({"--compat", "optiq", "--target-bpw", "5.0", "--samples", "1",
                               "--sequence-length", "64", "--reference", "bf16"});
  const auto recorded =
      read_json_file(shared_path("reference/convert/llama_a/converted/optiq/metadata.json"));
  std::map<std::string, int> expected;
  for (const auto& [name, entry] : recorded.at("per_layer").items()) {
    expected[name] = entry.at("bits");
  }
  expected["model.embed_tokens"] = 8;
  EXPECT_EQ(bits_of(json.at("layers")), expected);
  EXPECT_DOUBLE_EQ(json.at("bpw_linear").get<double>(), recorded.at("achieved_bpw").get<double>());
  const auto metadata = written("optiq_metadata.json");
  for (const char* key : {"method", "reference", "target_bpw", "n_low_bits"}) {
    EXPECT_EQ(metadata.at(key), recorded.at(key)) << key;
  }
  // The package leaves the embedding, which has eight bits, out of its count.
  EXPECT_EQ(metadata.at("n_high_bits"), recorded.at("n_high_bits").get<int>() + 1);
  EXPECT_EQ(equal_tensors(expected), 23 * 3);
}

TEST_F(Convert, static_compat_reproduces_every_recorded_allocation) {
  const auto expected = read_json_file(shared_path("reference/convert/llama_a/expected.json"));
  int compared = 0;
  for (const auto& recorded : expected.at("allocations")) {
    if (recorded.at("method") != "static") continue;
    const auto json = converted({"--method", "static", "--compat", "optiq", "--force",
                                 "--target-bpw", recorded.at("target_bpw").dump(),
                                 "--floor-per-block", recorded.at("n_floor_per_block").dump()});
    auto bits = bits_of(json.at("layers"));
    bits.erase("model.embed_tokens");  // is not in the recorded tables
    EXPECT_EQ(bits, (recorded.at("bits").get<std::map<std::string, int>>())) << recorded.dump();
    ++compared;
  }
  EXPECT_EQ(compared, 5);
}

TEST_F(Convert, errors_of_weights_can_stand_for_divergences) {
  const auto json = converted({"--sensitivity", "weight-error"});
  EXPECT_LE(json.at("bpw_true").get<double>(), 6.5);
  EXPECT_EQ(json.at("swaps").at("tried"), 0);
  EXPECT_GT(json.at("kl_measured").get<double>(), 0);
  EXPECT_EQ(written("sensitivity.json").at("metric"), "weighted_error_of_weights");
}

TEST_F(Convert, a_4_bit_copy_can_stand_for_the_model) {
  const auto json = converted({"--reference", "uniform4"});
  EXPECT_EQ(json.at("reference"), "uniform_4bit");
  for (const auto& layer : json.at("layers")) {
    EXPECT_EQ(layer.at("kl").at("4"), 0) << layer.at("name");
    EXPECT_GT(layer.at("kl").at("8").get<double>(), 0) << layer.at("name");
  }
  EXPECT_LE(json.at("bpw_true").get<double>(), 6.5);
}

TEST_F(Convert, pins_protection_and_floors_hold) {
  const auto json = converted({"--candidate-bits", "3,4,8", "--target-bpw", "6.8", "--pin",
                               "*.down_proj=3", "--pin", "*.2.mlp.down_proj=4", "--protect",
                               "*.0.self_attn.v_proj", "--floor-per-block", "5"});
  const auto bits = bits_of(json.at("layers"));
  EXPECT_EQ(bits.at("model.layers.0.mlp.down_proj"), 3);
  EXPECT_EQ(bits.at("model.layers.1.mlp.down_proj"), 3);
  EXPECT_EQ(bits.at("model.layers.2.mlp.down_proj"), 4);
  EXPECT_EQ(bits.at("model.layers.0.self_attn.v_proj"), 8);
  for (int block = 0; block < 3; ++block) {
    const std::string at = "model.layers." + std::to_string(block) + ".";
    EXPECT_GE(std::ranges::count_if(
                  bits, [&](const auto& e) { return e.first.starts_with(at) && e.second > 3; }),
              5);
  }
}

TEST_F(Convert, models_that_fill_blocks_in_are_measured_over_masked_texts_and_answer_afterwards) {
  source_ = shared_path("models/dhara-tiny-real");
  const auto json = converted(
      {"--target-bpw", "5.5", "--refine", "0", "--compare-uniform", "--sequence-length", "33"});
  ASSERT_EQ(json.at("layers").size(), 43U);  // 6 blocks of 7, and the embedding
  EXPECT_LE(json.at("bpw_true").get<double>(), 5.5);
  EXPECT_GT(json.at("kl_measured").get<double>(), 1e-4);
  EXPECT_LT(json.at("kl_measured"), json.at("uniform").at(0).at("kl"));
  const ProgramResult answer =
      run_program({"generate", out_, "--prompt", "Python is", "--max-tokens", "4"});
  EXPECT_EQ(answer.status, 0) << answer.err;
}

TEST_F(Convert, report_is_a_page_in_the_folder) {
  const auto json = converted({"--report"});
  const std::string page = read_text(out_ + "/report.html");
  EXPECT_THAT(page, HasSubstr("model.layers.1.self_attn.k_proj"));
  EXPECT_THAT(page, Not(HasSubstr("src=\"http")));
  EXPECT_EQ(json.at("uniform").size(), 2U);
  EXPECT_GT(json.at("source_perplexity").get<double>(), 1);
}

TEST_F(Convert, an_existing_folder_stays_without_force) {
  folder_.write("out/config.json", std::string_view("{}"));
  const ProgramResult refused = convert();
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("--force"));
  EXPECT_EQ(read_text(out_ + "/config.json"), "{}");
  EXPECT_EQ(converted({"--force"}).at("layers").size(), 23U);
  EXPECT_TRUE(written("config.json").contains("quantization"));
}

}  // namespace
}  // namespace quiver::test
