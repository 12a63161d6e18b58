// quiver convert on a model of texts.
#include "host/cli/text_conversion.hpp"

#include "core/quantize/named_encoder.hpp"
#include "host/cli/calibration_texts.hpp"

#include <quiver/error.hpp>

namespace quiver::cli {
namespace {

UnusedModalities unused_modalities(const Arguments& arguments) {
  const bool keeps = arguments.flag("keep-unused-modalities");
  const bool strips = arguments.flag("strip-unused-modalities");
  if (keeps && strips) {
    throw Error(ErrorCode::usage, "tensors cannot be both kept and left out",
                "--keep-unused-modalities, --strip-unused-modalities", "leave one of them out");
  }
  return keeps    ? UnusedModalities::kept
         : strips ? UnusedModalities::stripped
                  : UnusedModalities::left_out;
}

ConvertOptions text_options(const Arguments& arguments, ConvertOptions options) {
  const std::string reference = arguments.text("reference");
  options.reference = reference == "bf16"       ? ConvertReference::full
                      : reference == "uniform4" ? ConvertReference::uniform4
                                                : ConvertReference::automatic;
  options.modalities = unused_modalities(arguments);
  options.positions = static_cast<int>(arguments.integer("positions", 0));
  options.refinement = arguments.number("refine", 0, 100);
  return options;
}

}  // namespace

void convert_text_model(const ConversionRun& run, const std::filesystem::path& folder,
                        const std::shared_ptr<const LoadedModel>& model) {
  const Arguments& arguments = run.arguments;
  const ConvertOptions options = text_options(arguments, run.options);
  const auto scheme = run.session.scheme("affine");
  const NamedEncoder encoder(*scheme, options.encoder_name);
  // The package that --compat names measures with the plain encoder, and searches ranges for what
  // it writes in at most 3 bits.
  const NamedEncoder search(*scheme, options.is_optiq ? "search" : "exact");
  RowEncoder writer;
  if (options.is_optiq && !arguments.has("encoder")) {
    writer = [&](auto weights, auto rows, auto columns, const QuantFormat& format, auto... rest) {
      const NamedEncoder& chosen = format.bits <= 3 ? search : encoder;
      chosen.encode(weights, rows, columns, format, rest...);
    };
  }
  std::vector<std::vector<std::int32_t>> texts;
  if (options.method == ConvertMethod::measured || encoder.uses_importance()) {
    texts = calibration_texts(arguments, folder, options.is_optiq);
  }
  const ConvertMeans means{
      {scheme, [&](auto... what) { encoder.encode(what...); }},
      writer,
      encoder.uses_importance(),
      run.session.kv_strategy(NamedOptions{.name = "f32", .options = ""}),
      run.session.threads(),
      run.ranks,
      run.progress(),
      [&](const std::filesystem::path& written) { return run.session.load(written); }};
  run_conversion(run, options, " nats a token",
                 [&] { return convert(model, texts, arguments.path("output"), options, means); });
}

}  // namespace quiver::cli
