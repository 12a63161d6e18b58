// The texts that a command measures a model over: --calibration, --samples, --sequence-length.
#include "host/cli/calibration_texts.hpp"

#include "core/quantize/calibration.hpp"
#include "core/quantize/calibration_text.hpp"
#include "host/cli/console.hpp"

namespace quiver::cli {

std::vector<std::vector<std::int32_t>> calibration_texts(const Arguments& arguments,
                                                         const std::filesystem::path& folder,
                                                         bool is_optiq) {
  CalibrationOptions options;
  options.samples = static_cast<int>(arguments.integer("samples", 1));
  options.sequence_length = static_cast<int>(arguments.integer("sequence-length", 16));
  const auto rows = arguments.has("calibration")
                        ? read_calibration_rows(arguments.path("calibration"))
                        : builtin_calibration_rows();
  const CalibrationText text = CalibrationText::load_folder(folder);
  CalibrationSamples samples = is_optiq ? sample_calibration_optiq(rows, text, options)
                                        : sample_calibration(rows, text, options);
  for (const std::string& warning : samples.warnings) warn(warning);
  std::vector<std::vector<std::int32_t>> texts;
  for (CalibrationSample& sample : samples.samples) texts.push_back(std::move(sample.tokens));
  return texts;
}

}  // namespace quiver::cli
