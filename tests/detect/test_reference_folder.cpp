// The folder that the reference package quantized: read, its sensitivities, its allocation,
// written.
#include <fstream>

#include "core/quantize/convert_detector.hpp"
#include "core/quantize/detection_divergence.hpp"
#include "core/quantize/detector_allocation.hpp"
#include "core/quantize/detector_folder.hpp"
#include "core/quantize/sensitivity_table.hpp"
#include "tests/detect/detect_models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

constexpr const char* kFolder = "reference/yolo26/n-narrow-optiq009";

MatrixEncoder plain_encoder() {
  const auto scheme = affine_scheme("affine");
  return {scheme, [scheme](auto weights, auto rows, auto columns, const QuantFormat& format,
                           DType type, auto, auto parts) {
            scheme->encode(weights, rows, columns, format, type, parts);
          }};
}

TEST(ReferenceFolder, gives_the_recorded_rows_without_any_sizes_in_its_config) {
  const DetectReference reference("n-narrow-optiq009");
  const DetectReference inputs("n-narrow");
  TestDetector test(load_detector(reference.folder));
  for (const std::string name : {"c0", "c1"}) {
    const StoredPicture picture(inputs.tensors, name + ".input");
    std::vector<float> want = floats(reference.tensors, name + ".rows_xywh");
    for (std::size_t i = 0; i < want.size(); i += 6) {
      const float x = want[i];
      const float y = want[i + 1];
      const float half_width = want[i + 2] / 2;
      const float half_height = want[i + 3] / 2;
      want[i] = x - half_width, want[i + 1] = y - half_height;
      want[i + 2] = x + half_width, want[i + 3] = y + half_height;
    }
    const auto rows = rows_of(best_detections(test.run.run(picture.view()), 300));
    EXPECT_EQ(rows.size(), want.size());
    expect_same_rows(rows, want, 0.02, 5e-4);
  }
}

TEST(ReferenceFolder, decodes_to_the_recorded_kernels) {
  const DetectReference reference("n-narrow-optiq009");
  const auto model = load_detector(reference.folder);
  int compared = 0;
  for (const Conv2dPart& conv : model->weights().images().convs()) {
    const std::string name = "dequantised." + written_name(*model, conv.name + ".weight");
    if (reference.tensors.find(name) == nullptr) continue;
    ++compared;
    std::vector<float> decoded;
    std::vector<float> row(static_cast<std::size_t>(conv.matrix.columns));
    for (int o = 0; o < conv.outputs; ++o) {
      conv.matrix.decode(o, 1, row);
      decoded.insert(decoded.end(), row.begin(), row.begin() + conv.columns);
    }
    EXPECT_LE(largest_difference(decoded, floats(reference.tensors, name)), 1e-6) << name;
  }
  EXPECT_EQ(compared, 4);
}

TEST(ReferenceFolder, has_the_sensitivities_that_are_computed_here) {
  const auto model = load_detector(shared("reference/yolo26/n-narrow/checkpoint"));
  const auto table = read_sensitivity_file(shared(std::string(kFolder) + "/sensitivity.json"));
  std::map<std::string, const SensitivityLayer*> recorded;
  for (const SensitivityLayer& layer : table.layers) recorded[layer.name] = &layer;
  ThreadPool threads(1);
  const MatrixEncoder encoder = plain_encoder();
  int compared = 0;
  for (const Conv2dPart& conv : model->weights().images().convs()) {
    const std::string name = written_name(*model, conv.name + ".weight");
    ASSERT_TRUE(recorded.contains(name)) << name;
    const std::vector<float> kernel = padded_kernel(conv, 64);
    StoredMatrix dense;
    dense.rows = conv.outputs;
    dense.columns = padded_columns(conv.columns, 64);
    dense.dense = std::as_bytes(std::span(kernel));
    for (const auto& [bits, want] : recorded.at(name)->kl) {
      const EncodedMatrix encoded(dense, name, {bits, 64}, encoder, {}, threads);
      std::vector<float> decoded(kernel.size());
      encoded.matrix().decode(0, conv.outputs, decoded);
      std::vector<float> weights;
      std::vector<float> values;
      for (std::size_t i = 0; i < kernel.size(); ++i) {
        if (std::int64_t(i) % dense.columns >= conv.columns) continue;
        weights.push_back(kernel[i]);
        values.push_back(decoded[i]);
      }
      EXPECT_NEAR(weight_damage(weights, values), want, 1e-4 * want) << name << " " << bits;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 2 * 102);
}

TEST(ReferenceFolder, has_the_allocation_that_its_table_gives_here) {
  const auto table = read_sensitivity_file(shared(std::string(kFolder) + "/sensitivity.json"));
  AllocationProblem problem;
  for (const SensitivityLayer& layer : table.layers) {
    AllocationUnit unit;
    unit.name = layer.name;
    unit.parameters = layer.parameters;
    for (const auto& [bits, kl] : layer.kl) unit.choices.push_back({bits, 64, 0, kl});
    problem.units.push_back(unit);
  }
  const auto choices = allocate_detector_greedy(problem, 5.0);
  const auto recorded = parse_json(
      read_small_file(shared(std::string(kFolder) + "/allocation.json"), 1U << 20U), kFolder);
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    EXPECT_EQ(problem.units[u].choices[choices[u]].bits,
              recorded.at("allocation").at(problem.units[u].name))
        << problem.units[u].name;
  }
}

TEST(ReferenceFolder, is_written_by_convert_with_the_reference_packages_names) {
  const TemporaryFolder folder;
  const auto model = load_detector(shared("reference/yolo26/n-narrow/checkpoint"));
  ThreadPool threads(1);
  ConvertOptions options;
  options.is_optiq = true;
  options.target_bpw = 5.0;
  const ConvertMeans means{.encoder = plain_encoder(),
                           .writer = {},
                           .kv = nullptr,
                           .threads = threads,
                           .progress = {},
                           .load = load_detector};
  convert_detector(model, {}, folder.path() / "out", options, means);
  const auto got = SafetensorsFile::open(folder.path() / "out" / "weights.safetensors");
  const auto want = SafetensorsFile::open(shared(std::string(kFolder) + "/weights.safetensors"));
  int compared = 0;
  for (const TensorView& tensor : got.tensors()) {
    const TensorView* other = want.find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(tensor.shape.size(), other->shape.size()) << tensor.name;
    // Widths may differ, since here the head for training takes no part in the choice.
    if (tensor.shape != other->shape || tensor.name.ends_with("es")) continue;
    EXPECT_TRUE(std::ranges::equal(tensor.data, other->data)) << tensor.name;
    ++compared;
  }
  EXPECT_GT(compared, 300);
}

}  // namespace
}  // namespace quiver::test
