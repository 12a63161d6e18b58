// The forms in which a network's weights may lie, and networks for other tasks.
#include <cmath>
#include <fstream>

#include "core/quantize/detector_folder.hpp"
#include "core/tensor/half.hpp"
#include "tests/detect/detect_models.hpp"
#include "tests/support/checkpoint_folder.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

using Tensors = std::map<std::string, FloatTensor>;

const char* const kCheckpoint = "reference/yolo26/n-narrow/checkpoint";

Tensors stored_tensors() {
  const SafetensorsSet files = SafetensorsSet::open(shared(kCheckpoint));
  Tensors tensors;
  for (const TensorView* tensor : files.tensors()) {
    FloatTensor& copy = tensors[std::string(tensor->name)];
    copy.shape = tensor->shape;
    copy.values.resize(static_cast<std::size_t>(tensor->elements()));
    to_float(tensor->dtype, tensor->data, copy.values);
  }
  return tensors;
}

/// A folder with changed weights, and the config that the others have or another one.
class Forms : public testing::Test {
 protected:
  TemporaryFolder folder_;

  std::filesystem::path write(const Tensors& tensors, const std::string& config = {}) const {
    const auto place = folder_.path() / "model";
    std::filesystem::create_directories(place);
    write_tensors(place / "model.safetensors", tensors);
    const auto source = shared(std::string(kCheckpoint) + "/config.json");
    std::ofstream(place / "config.json") << (config.empty() ? read_text(source) : config);
    return place;
  }

  RawDetections run(const std::filesystem::path& place) const {
    const DetectReference reference("n-narrow");
    const StoredPicture picture(reference.tensors, "c1.input");
    return TestDetector(load_detector(place), 1).run.run(picture.view());
  }

  void expect_same(const Tensors& tensors, double tolerance, const std::string& config = {}) const {
    const RawDetections want = run(shared(kCheckpoint));
    const RawDetections got = run(write(tensors, config));
    EXPECT_LE(largest_difference(got.logits, want.logits), tolerance);
    EXPECT_LE(largest_difference(got.distances, want.distances), tolerance);
  }

  void expect_refused(const Tensors& tensors, const std::string& what, const std::string& where,
                      const std::string& config = {}) const {
    try {
      load_detector(write(tensors, config));
      ADD_FAILURE() << "accepted, where '" << what << "' is due";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_input);
      EXPECT_NE(error.message().find(what), std::string::npos) << error.what();
      EXPECT_NE(error.where().find(where), std::string::npos) << error.what();
    }
  }
};

/// Every norm folded into its kernel, as exports have them.
Tensors fused() {
  Tensors tensors = stored_tensors();
  Tensors result;
  for (const auto& [name, tensor] : tensors) {
    if (name.find(".bn.") != std::string::npos) continue;
    result[name] = tensor;
    const std::size_t end = name.rfind("conv.weight");
    if (end == std::string::npos) continue;
    const auto norm = [&](const char* part) -> const std::vector<float>& {
      return tensors.at(name.substr(0, end) + "bn." + part).values;
    };
    FloatTensor& kernel = result[name];
    FloatTensor& bias = result[name.substr(0, end) + "conv.bias"];
    bias.shape = {kernel.shape[0]};
    const std::size_t row = kernel.values.size() / static_cast<std::size_t>(kernel.shape[0]);
    for (std::size_t o = 0; o < static_cast<std::size_t>(kernel.shape[0]); ++o) {
      const double factor = norm("weight")[o] / std::sqrt(double{norm("running_var")[o]} + 1e-3);
      for (std::size_t i = 0; i < row; ++i) {
        float& value = kernel.values[o * row + i];
        value = static_cast<float>(value * factor);
      }
      bias.values.push_back(static_cast<float>(norm("bias")[o] - norm("running_mean")[o] * factor));
    }
  }
  return result;
}

TEST_F(Forms, fused_files_give_what_unfused_ones_give) {
  const Tensors tensors = fused();
  EXPECT_FALSE(tensors.contains("model.0.bn.weight"));
  expect_same(tensors, 2e-3);  // products are rounded once more; boxes move by 0.005 pixels at most
}

TEST_F(Forms, the_head_for_training_may_be_there_or_not) {
  Tensors tensors = stored_tensors();
  const std::size_t all = tensors.size();
  std::erase_if(tensors, [](const auto& entry) {
    return entry.first.starts_with("model.23.cv2.") || entry.first.starts_with("model.23.cv3.");
  });
  EXPECT_LT(tensors.size(), all);
  expect_same(tensors, 0);
}

TEST_F(Forms, names_of_the_reference_package_in_memory_are_taken_too) {
  const auto model = load_detector(shared(kCheckpoint));
  Tensors renamed;
  for (auto& [name, tensor] : stored_tensors()) renamed[written_name(*model, name)] = tensor;
  EXPECT_TRUE(renamed.contains("model.layers.23.one2one_cv2.layer0.layers.0.conv.weight"));
  // Constants that are parameters there.
  renamed["stride"] = {{3}, {8, 16, 32}};
  renamed["model.layers.23.stride"] = {{3}, {8, 16, 32}};
  expect_same(renamed, 0);
}

TEST_F(Forms, sizes_come_from_the_tensors_where_the_config_says_nothing) {
  expect_same(stored_tensors(), 0, R"({"model_type": "yolo26"})");
}

TEST_F(Forms, heads_for_other_tasks_are_refused_by_name) {
  const FloatTensor kernel{{8, 3, 3, 8}, std::vector<float>(8 * 9 * 8)};
  const auto with = [&](const std::vector<std::string>& names, std::int64_t last = 0) {
    Tensors tensors = stored_tensors();
    for (const std::string& name : names) tensors[name] = kernel;
    if (last > 0) {
      tensors["model.23.cv4.0.2.weight"] = {{last, 1, 1, 8},
                                            std::vector<float>(static_cast<std::size_t>(last) * 8)};
    }
    return tensors;
  };
  const std::string branch = "model.23.cv4.0.0.conv.weight";
  expect_refused(with({"model.23.proto.cv1.conv.weight", branch}, 32), "segmentation", "proto");
  expect_refused(with({branch}, 51), "poses", "model.23.cv4");
  expect_refused(with({branch}, 1), "turned boxes", "model.23.cv4");
  expect_refused(with({"model.23.one2one_cv4.0.0.conv.weight"}), "poses", "one2one_cv4");
  expect_refused(with({"model.layers.23.cv4.layer0.layers.0.conv.weight"}), "poses", "cv4");
  expect_refused({{"model.10.conv.conv.weight", kernel}}, "classification", "model.10.conv");
  expect_refused(stored_tensors(), "segment", "task",
                 R"({"model_type": "yolo26", "task": "segment"})");
}

TEST_F(Forms, a_head_that_predicts_objects_many_times_alone_is_told) {
  Tensors tensors = stored_tensors();
  std::erase_if(
      tensors, [](const auto& entry) { return entry.first.find("one2one_") != std::string::npos; });
  expect_refused(tensors, "cannot be told", "model.23.one2one_cv2.0.0.conv.weight");
}

}  // namespace
}  // namespace quiver::test
