// quiver convert on a detector.
#include "host/cli/detector_conversion.hpp"

#include "core/detect/detect_picture.hpp"
#include "core/detect/labelled_pictures.hpp"
#include "core/image/read_picture.hpp"
#include "core/quantize/convert_detector.hpp"
#include "core/quantize/named_encoder.hpp"
#include "core/tensor/printable.hpp"
#include "host/cli/interrupt.hpp"

#include <quiver/error.hpp>

namespace quiver::cli {
namespace {

/// Evenly spread over the folder, so that few pictures stand for all of it.
std::vector<CalibrationPicture> calibration_pictures(const Arguments& arguments,
                                                     const DetectorInfo& info) {
  std::vector<CalibrationPicture> pictures;
  if (!arguments.has("calibration")) return pictures;
  const std::filesystem::path source = arguments.path("calibration");
  std::vector<std::filesystem::path> paths{source};
  if (std::filesystem::is_directory(source)) {
    const auto images = source / "images";
    paths = pictures_in(std::filesystem::is_directory(images) ? images : source);
    if (paths.empty()) {
      throw Error(ErrorCode::bad_input, "there are no pictures", printable(source.native(), 4096),
                  "name a folder of JPEG, PNG or WebP files");
    }
  }
  const auto samples = static_cast<std::size_t>(arguments.integer("samples", 1));
  const std::size_t count = std::min(samples, paths.size());
  for (std::size_t i = 0; i < count; ++i) {
    throw_if_interrupted();
    const Picture picture = read_picture(paths[i * paths.size() / count]);
    PreparedPicture prepared = prepare_picture(picture, info, info.input_size);
    const PictureSize size = prepared.place.size();
    pictures.push_back({std::move(prepared.values), size.height, size.width});
  }
  return pictures;
}

/// Options of the command that do nothing for a detector must not be taken in silence.
void refuse_text_options(const Arguments& arguments) {
#if QUIVER_TEXT
  for (const char* option : {"reference", "positions", "sequence-length", "refine",
                             "keep-unused-modalities", "strip-unused-modalities"}) {
    if (!arguments.has(option)) continue;
    throw Error(ErrorCode::usage, "--" + std::string(option) + " does nothing for a detector",
                "convert", "leave it out");
  }
#else
  static_cast<void>(arguments);
#endif
}

}  // namespace

bool is_detector(const LoadedModel& model) {
  return model.model().extension(Detector::kInterfaceId) != nullptr;
}

void convert_detector_model(const ConversionRun& run,
                            const std::shared_ptr<const LoadedModel>& model) {
  refuse_text_options(run.arguments);
  const auto pictures = calibration_pictures(run.arguments, detector_of(*model).info());
  const auto scheme = run.session.scheme("affine");
  const NamedEncoder encoder(*scheme, run.options.encoder_name);
  const ConvertMeans means{
      .encoder = {scheme, [&](auto... what) { encoder.encode(what...); }},
      .writer = {},
      .kv = nullptr,
      .threads = run.session.threads(),
      .ranks = run.ranks,
      .progress = run.progress(),
      .load = [&](const std::filesystem::path& written) { return run.session.load(written); }};
  run_conversion(run, run.options, "", [&] {
    return convert_detector(model, pictures, run.arguments.path("output"), run.options, means);
  });
}

}  // namespace quiver::cli
