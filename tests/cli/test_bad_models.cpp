// Models that are broken or lie: one line that names the place, the right exit status, no crash.
#include "tests/cli/run_program.hpp"

#include "core/model/json_file.hpp"
#include "tests/support/checkpoint_folder.hpp"
#include "tests/support/numbers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

namespace quiver::test {
namespace {

using testing::HasSubstr;

/// A copy of a good checkpoint that a test breaks.
class BadModel : public testing::Test {
 protected:
  TemporaryFolder folder_;

  void SetUp() override {
    const std::filesystem::path good = shared_path("reference/llama/llama/checkpoint");
    for (const char* file : {"config.json", "model.safetensors"}) {
      std::filesystem::copy_file(good / file, folder_.path() / file);
      std::filesystem::permissions(folder_.path() / file, std::filesystem::perms::owner_all);
    }
  }

  std::map<std::string, FloatTensor> tensors() const {
    std::map<std::string, FloatTensor> result;
    const SafetensorsFile file = SafetensorsFile::open(folder_.path() / "model.safetensors");
    for (const TensorView& tensor : file.tensors()) {
      const std::string name(tensor.name);
      result[name] = {tensor.shape, floats(file, name)};
    }
    return result;
  }

  void write(const std::map<std::string, FloatTensor>& tensors) const {
    write_tensors(folder_.path() / "model.safetensors", tensors);
  }

  /// Every command that opens models says the same.
  void expect_refusal(int status, const std::string& part) const {
    const std::string folder = folder_.path().string();
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"generate", folder, "--ids", "1,2", "--max-tokens", "1"},
          {"logits", folder, "--ids", "1,2"},
          {"info", folder}}) {
      std::vector<std::string> arguments = command;
      arguments.push_back("--json");
      const ProgramResult result = run_program(arguments);
      EXPECT_EQ(result.status, status) << command.front() << ": " << result.err;
      EXPECT_THAT(result.err, HasSubstr(part)) << command.front();
      EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
      EXPECT_EQ(result.json().at("error").at("code"), status);
    }
  }

  void expect_header_refusal(const std::string& header, std::uint64_t size) const {
    std::ofstream file(folder_.path() / "model.safetensors", std::ios::binary);
    for (int i = 0; i < 8; ++i) file.put(static_cast<char>((size >> (8 * i)) & 0xFFU));
    file << header << std::string(64, '\0');
    file.close();
    expect_refusal(3, "model.safetensors");
  }

  void expect_header_refusal(const std::string& header) const {
    expect_header_refusal(header, header.size());
  }
};

TEST_F(BadModel, missing_folder_or_config_is_named) {
  EXPECT_EQ(run_program({"logits", "/nonexistent/model", "--ids", "1"}).status, 3);
  std::filesystem::remove(folder_.path() / "config.json");
  expect_refusal(3, "config.json");
}

TEST_F(BadModel, malformed_config_is_named) {
  for (const char* text :
       {"", "{", "[]", "{\"model_type\": 5}", "{\"model_type\": \"llama\"}", "nul"}) {
    folder_.write("config.json", text);
    expect_refusal(3, "config.json");
  }
  folder_.write("config.json", std::string(100'000, '['));
  expect_refusal(3, "config.json");
}

TEST_F(BadModel, unknown_model_type_names_what_is_installed) {
  folder_.write("config.json", R"({"model_type": "perpetuum_mobile"})");
  expect_refusal(4, "perpetuum_mobile");
  expect_refusal(4, "llama");
}

TEST_F(BadModel, missing_tensor_is_named) {
  auto broken = tensors();
  broken.erase("model.layers.1.mlp.up_proj.weight");
  write(broken);
  expect_refusal(3, "model.layers.1.mlp.up_proj.weight");
}

TEST_F(BadModel, extra_tensor_is_named) {
  auto broken = tensors();
  broken["model.layers.7.surprise"] = {{2}, {1, 2}};
  write(broken);
  expect_refusal(3, "model.layers.7.surprise");
}

TEST_F(BadModel, wrong_shape_is_named) {
  auto broken = tensors();
  FloatTensor& tensor = broken.at("model.layers.0.self_attn.q_proj.weight");
  std::swap(tensor.shape[0], tensor.shape[1]);
  tensor.shape = {32, 128};
  write(broken);
  expect_refusal(3, "model.layers.0.self_attn.q_proj.weight");
}

TEST_F(BadModel, headers_that_lie_are_refused) {
  const auto entry = [](const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  expect_header_refusal(entry("[4]", "[0,1000000]"));               // beyond the end
  expect_header_refusal(entry("[4]", "[-16,0]"));                   // negative
  expect_header_refusal(entry("[4611686018427387904]", "[0,64]"));  // overflows
  expect_header_refusal(entry("[4]", "[0,64]"));                    // shape and bytes differ
  expect_header_refusal(R"({"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},)"
                        R"("b":{"dtype":"F32","shape":[12],"data_offsets":[16,64]}})");  // overlap
  expect_header_refusal("{\"a\"");                                                       // not JSON
  expect_header_refusal("{}", UINT64_MAX);  // header beyond any file
  expect_header_refusal("{}", 1000);        // header beyond this file
}

TEST_F(BadModel, truncated_weights_are_refused) {
  const auto file = folder_.path() / "model.safetensors";
  for (const std::uintmax_t size : {400'000U, 3000U, 9U, 4U, 0U}) {
    std::filesystem::resize_file(file, size);
    expect_refusal(3, "model.safetensors");
  }
}

TEST_F(BadModel, a_file_is_no_model_folder) {
  const ProgramResult result =
      run_program({"logits", (folder_.path() / "config.json").string(), "--ids", "1"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, HasSubstr("a model is a folder"));
}

}  // namespace
}  // namespace quiver::test
