// Checkpoints that do not fit their config: each refused in one line that names the tensor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/model/json_file.hpp"
#include "tests/support/checkpoint_folder.hpp"
#include "tests/support/models.hpp"

namespace quiver::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

/// A copy of a good model whose tensors or config a test then spoils.
class BadModel : public testing::Test {
 protected:
  void take(const std::string& model) {
    for (const auto& entry : fs::directory_iterator(shared(model))) {
      if (!entry.is_regular_file()) continue;
      fs::copy(entry.path(), folder.path());
      fs::permissions(folder.path() / entry.path().filename(), fs::perms::owner_write,
                      fs::perm_options::add);
    }
    config = read_json_file(folder.path() / "config.json");
  }

  void read_tensors() {
    const auto file = SafetensorsFile::open(folder.path() / "model.safetensors");
    for (const TensorView& tensor : file.tensors()) {
      FloatTensor copy{tensor.shape,
                       std::vector<float>(static_cast<std::size_t>(tensor.elements()))};
      decode_floats(tensor.dtype, tensor.data.data(), copy.values.size(), copy.values.data());
      tensors[std::string(tensor.name)] = std::move(copy);
    }
  }

  std::string load_error() {
    folder.write("config.json", config.dump());
    if (!tensors.empty()) write_tensors(folder.path() / "model.safetensors", tensors);
    try {
      load_model(folder.path());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_input);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      return error.what();
    }
    ADD_FAILURE() << "the model loaded";
    return {};
  }

  TemporaryFolder folder;
  nlohmann::json config;
  std::map<std::string, FloatTensor> tensors;
};

TEST_F(BadModel, a_missing_tensor_is_named) {
  take("reference/llama/qwen2/checkpoint");
  read_tensors();
  tensors.erase("model.layers.1.self_attn.k_proj.bias");
  EXPECT_THAT(load_error(), HasSubstr("model.layers.1.self_attn.k_proj.bias"));
}

TEST_F(BadModel, an_extra_tensor_is_named) {
  take("reference/llama/llama/checkpoint");
  read_tensors();
  tensors["model.layers.0.self_attn.k_norm.weight"] = {{16}, std::vector<float>(16)};
  EXPECT_THAT(load_error(), HasSubstr("model.layers.0.self_attn.k_norm.weight"));
}

TEST_F(BadModel, a_wrong_shape_is_named_with_both_shapes) {
  take("reference/llama/llama/checkpoint");
  read_tensors();
  auto& tensor = tensors.at("model.layers.1.mlp.down_proj.weight");
  std::swap(tensor.shape[0], tensor.shape[1]);
  const std::string message = load_error();
  EXPECT_THAT(message, HasSubstr("model.layers.1.mlp.down_proj.weight"));
  EXPECT_THAT(message, HasSubstr("[164, 64]"));
  EXPECT_THAT(message, HasSubstr("[64, 164]"));
}

TEST_F(BadModel, a_config_that_lies_about_sizes_is_refused) {
  take("reference/llama/llama/checkpoint");
  for (const auto& [key, value] :
       std::map<std::string, nlohmann::json>{{"hidden_size", 65},
                                             {"hidden_size", 0},
                                             {"hidden_size", -4},
                                             {"hidden_size", 1e18},
                                             {"num_hidden_layers", 3},
                                             {"num_hidden_layers", 2147483647},
                                             {"num_attention_heads", 3},
                                             {"num_attention_heads", 2147483647},
                                             {"num_key_value_heads", 3},
                                             {"head_dim", 15},
                                             {"vocab_size", 294},
                                             {"vocab_size", 2147483647},
                                             {"hidden_act", "mystery"},
                                             {"intermediate_size", 2147483647},
                                             {"rms_norm_eps", "small"},
                                             {"rope_theta", 0}}) {
    const nlohmann::json before = config;
    config[key] = value;
    load_error();
    config = before;
  }
}

TEST_F(BadModel, quantization_that_contradicts_the_tensors_is_refused) {
  take("reference/convert/llama_a/converted");
  for (const char* key : {"quantization", "quantization_config"}) {
    config[key]["model.layers.0.mlp.up_proj"] = {{"bits", 8}, {"group_size", 64}};
  }
  EXPECT_THAT(load_error(), HasSubstr("model.layers.0.mlp.up_proj"));
}

TEST_F(BadModel, quantized_tensors_without_any_config_entry_are_inferred) {
  take("reference/convert/llama_a/converted");
  config.erase("quantization");
  config.erase("quantization_config");
  folder.write("config.json", config.dump());
  const auto model = load_model(folder.path());
  int high = 0;
  for (const LinearPart& part : model->weights().linears()) high += part.matrix.format.bits == 8;
  EXPECT_EQ(high, 6);
}

TEST_F(BadModel, a_bare_config_gives_sizes_and_no_values) {
  const auto model = LoadedModel::describe(shared("reference/llama/llama/checkpoint/config.json"),
                                           llama_architecture, affine_scheme);
  EXPECT_EQ(model->weights().linears().size(), 15U);
  EXPECT_FALSE(model->weights().linears()[0].matrix.has_data());
  EXPECT_EQ(model->weights().linears()[0].matrix.rows, 64);
}

TEST_F(BadModel, an_absurd_bare_config_is_refused_within_bounded_memory) {
  TemporaryFolder bare;
  bare.write("config.json", R"({"model_type": "llama", "hidden_size": 2147483646,
      "num_hidden_layers": 2147483647, "intermediate_size": 2147483647,
      "num_attention_heads": 2, "head_dim": 128, "vocab_size": 2147483647})");
  EXPECT_THROW(LoadedModel::describe(bare.path(), llama_architecture, affine_scheme), Error);
}

}  // namespace
}  // namespace quiver::test
