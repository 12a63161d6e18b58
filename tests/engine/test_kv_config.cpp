// Bits of each layer's keys and values, from a file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/decode/kv_config.hpp"
#include "tests/support/kv.hpp"
#include "tests/support/models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class KvConfig : public testing::Test {
 protected:
  std::vector<KvLayerConfig> read(const std::string& text) {
    folder.write("kv_config.json", text);
    return read_kv_config(path());
  }
  std::vector<std::shared_ptr<const KvStrategy>> strategies(const std::string& text) {
    const auto source = [this](std::string_view name, const OptionInput& options) {
      ++made;
      return packed_kv(name, options);
    };
    return kv_strategies(read(text), model->weights(), source, path().string());
  }
  /// The message of reading or making what `text` asks for.
  std::string refusal(const std::string& text) {
    try {
      strategies(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_input) << text;
      return error.what();
    }
    ADD_FAILURE() << "accepted " << text;
    return {};
  }
  std::filesystem::path path() const { return folder.path() / "kv_config.json"; }

  TemporaryFolder folder;
  std::shared_ptr<const LoadedModel> model = load_model(shared("reference/llama/llama/checkpoint"));
  int made = 0;
};

TEST_F(KvConfig, a_recorded_layout_gives_each_layer_its_bits) {
  const auto layers =
      strategies(R"([{"layer_idx": 1, "bits": 8, "group_size": 64}, {"layer_idx": 0, "bits": 4}])");
  ASSERT_EQ(layers.size(), 2U);
  const KvShape shape{2, 128};
  EXPECT_EQ(layers[0]->page_bytes(shape), affine_kv(4, 4)->page_bytes(shape));
  EXPECT_EQ(layers[1]->page_bytes(shape), affine_kv(8, 8)->page_bytes(shape));
}

TEST_F(KvConfig, layers_that_are_left_out_get_none_and_unknown_keys_are_ignored) {
  const auto layers = strategies(R"([{"layer_idx": 1, "bits": 4, "layer_name": "x", "kl": {}}])");
  EXPECT_EQ(layers[0], nullptr);
  EXPECT_NE(layers[1], nullptr);
}

TEST_F(KvConfig, keys_and_values_may_differ_and_other_strategies_be_named) {
  const auto layers = strategies(R"([
      {"layer_idx": 0, "bits": 4, "k_bits": 8, "group_size": 32},
      {"layer_idx": 1, "scheme": "turboquant", "bits": 3}])");
  const KvShape shape{2, 128};
  EXPECT_EQ(layers[0]->page_bytes(shape),
            packed_kv("affine", OptionInput::from_text("key-bits=8,value-bits=4,group=32"))
                ->page_bytes(shape));
  EXPECT_EQ(layers[1]->page_bytes(shape), turboquant_kv(3)->page_bytes(shape));
}

TEST_F(KvConfig, equal_layers_share_a_strategy) {
  const auto layers = strategies(R"([{"layer_idx": 0, "bits": 4}, {"layer_idx": 1, "bits": 4}])");
  EXPECT_EQ(layers[0], layers[1]);
  EXPECT_EQ(made, 1);
}

TEST_F(KvConfig, what_is_wrong_is_told_in_a_line_that_names_the_layer) {
  const std::pair<const char*, const char*> kBad[] = {
      {R"([{"layer_idx": 1}])", "'bits' is missing"},
      {R"([{"layer_idx": 1, "bits": "8"}])", "'bits' is not a number"},
      {R"([{"layer_idx": 1, "bits": 8.5}])", "'bits' is not a number"},
      {R"([{"layer_idx": 1, "bits": -8}])", "'bits' is not a number"},
      {R"([{"layer_idx": 1, "bits": 4294967304}])", "'bits' is not a number"},
      {R"([{"layer_idx": 1, "bits": 5}])", "5"},
      {R"([{"layer_idx": 1, "bits": 100}])", "100"},
      {R"([{"layer_idx": 1, "bits": 8, "group_size": 48}])", "48"},
      {R"([{"layer_idx": 1, "bits": 8, "k_bits": null}])", "'k_bits' is not a number"},
      {R"([{"layer_idx": 1, "scheme": 3}])", "'scheme' is not the name"},
      {R"([{"layer_idx": 1, "bits": 8}, {"layer_idx": 1, "bits": 8}])", "twice"},
  };
  for (const auto& [text, what] : kBad) {
    EXPECT_THAT(refusal(text),
                AllOf(HasSubstr(what), HasSubstr("kv_config.json, layer 1"), Not(HasSubstr("\n"))))
        << text;
  }
  EXPECT_THAT(refusal(R"([{"layer_idx": 7, "bits": 8}])"), HasSubstr("layer 7"));
}

TEST_F(KvConfig, files_of_another_shape_are_refused) {
  for (const char* text :
       {"", "[", "{}", "3", "[]", "[3]", R"([{"bits": 8}])", R"([{"layer_idx": "0", "bits": 8}])",
        R"([{"layer_idx": -1}])", R"([{"layer_idx": 99999999999999999999, "bits": 8}])"}) {
    EXPECT_THAT(refusal(text), AllOf(HasSubstr("kv_config.json"), Not(HasSubstr("\n")))) << text;
  }
  EXPECT_THROW(read_kv_config(folder.path() / "none.json"), Error);
}

}  // namespace
}  // namespace quiver::test
