// Reading of what an import wrote.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/model/json_file.hpp"
#include "core/tensor/half.hpp"
#include "core/tensor/safetensors_set.hpp"
#include "tests/model/wagon_family.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/tensor/refusal.hpp"

namespace quiver::test {

inline std::vector<float> floats_of(const quiver::TensorView& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  quiver::to_float(tensor.dtype, tensor.data, values);
  return values;
}

/// A temporary folder in which files are made and imported.
class ImportFixture : public testing::Test {
 protected:
  /// Imports what `writer` holds into the folder "out".
  quiver::ImportReport import(const GgufWriter& writer, const quiver::ImportOptions& options = {},
                              const quiver::ImportProgress& progress = {}) {
    writer.write(gguf());
    return quiver::import_gguf(gguf(), out(), options, wagon_source(), progress);
  }

  std::filesystem::path gguf() const { return folder_.path() / "model.gguf"; }
  std::filesystem::path out() const { return folder_.path() / "out"; }
  nlohmann::json json(const std::string& name) const {
    return quiver::read_json_file(out() / name);
  }

  /// A tensor of the imported folder; the file stays open until the next call.
  quiver::TensorView tensor(const std::string& name) {
    files_ = std::make_unique<quiver::SafetensorsSet>(quiver::SafetensorsSet::open(out()));
    const quiver::TensorView* found = files_->find(name);
    if (found == nullptr) throw std::runtime_error("no tensor " + name);
    return *found;
  }

  /// Whether the GGUF file is the only thing left.
  bool is_clean() const { return folder_.list() == std::vector<std::string>{"model.gguf"}; }

  TemporaryFolder folder_;
  std::unique_ptr<quiver::SafetensorsSet> files_;
};

}  // namespace quiver::test
