// Detectors for tests, and what their reference implementation recorded.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/model/json_file.hpp"
#include "core/tensor/safetensors.hpp"
#include "core/vision/detector_run.hpp"
#include "tests/support/models.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {

inline ArchitectureOffer detector_architecture(std::string_view) {
  return {borrowed(load_plugin<Architecture>("arch-yolo26")), "yolo26", "arch-yolo26"};
}

inline std::shared_ptr<const LoadedModel> load_detector(const std::filesystem::path& folder) {
  return LoadedModel::load(folder, detector_architecture, affine_scheme);
}

/// A detector with its threads.
struct TestDetector {
  ThreadPool threads;
  DetectorRun run;
  explicit TestDetector(std::shared_ptr<const LoadedModel> model, int thread_count = 2)
      : threads(thread_count), run(std::move(model), threads) {}
};

/// A folder of recorded values.
struct DetectReference {
  std::filesystem::path folder;
  nlohmann::json expected;
  SafetensorsFile tensors;

  explicit DetectReference(const std::string& name)
      : folder(shared("reference/yolo26/" + name)),
        expected(parse_json(read_small_file(folder / "expected.json", 16U << 20U), name)),
        tensors(SafetensorsFile::open(folder / "expected.safetensors")) {}
};

/// A stored picture [height, width, 3].
struct StoredPicture {
  std::vector<float> values;
  int height = 0;
  int width = 0;

  StoredPicture(const SafetensorsFile& file, const std::string& name)
      : values(floats(file, name)),
        height(static_cast<int>(file.at(name).shape.at(0))),
        width(static_cast<int>(file.at(name).shape.at(1))) {}
  PictureView view() const { return {values, height, width}; }
};

/// Rows x1, y1, x2, y2, score, class.
inline std::vector<float> rows_of(const std::vector<Detection>& detections) {
  std::vector<float> rows;
  for (const Detection& d : detections) {
    rows.insert(rows.end(),
                {d.box.x1, d.box.y1, d.box.x2, d.box.y2, d.score, static_cast<float>(d.class_id)});
  }
  return rows;
}

/// Checks that every row of `want` has one of its own in `got`: the same class, and box and score
/// within the tolerances. So rows whose scores tie may stand in any order.
inline void expect_same_rows(const std::vector<float>& got, const std::vector<float>& want,
                             double box_tolerance, double score_tolerance) {
  constexpr std::size_t kColumns = 6;
  std::vector<char> used(got.size() / kColumns);
  for (std::size_t w = 0; w < want.size(); w += kColumns) {
    bool is_found = false;
    for (std::size_t g = 0; g < got.size() && !is_found; g += kColumns) {
      bool fits = used[g / kColumns] == 0 && got[g + 5] == want[w + 5] &&
                  std::abs(got[g + 4] - want[w + 4]) <= score_tolerance;
      for (std::size_t i = 0; i < 4; ++i) {
        fits = fits && std::abs(got[g + i] - want[w + i]) <= box_tolerance;
      }
      if (!fits) continue;
      used[g / kColumns] = 1;
      is_found = true;
    }
    EXPECT_TRUE(is_found) << "row " << w / kColumns << " with score " << want[w + 4];
  }
}

}  // namespace quiver::test
