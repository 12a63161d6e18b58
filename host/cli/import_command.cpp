// quiver import: a GGUF file becomes a model folder.
#include "core/model/import_gguf.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/tensor_view.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/gguf_source.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/model_report.hpp"
#include "host/cli/progress.hpp"
#include "host/cli/session.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <optional>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {
    {.name = "FILE", .help = "A GGUF file", .completes = Completes::file}};
constexpr OptionRow kOptions[] = {
    {.name = "output",
     .short_name = 'o',
     .value = "DIR",
     .help = "Folder to make",
     .completes = Completes::folder},
    {.name = "dtype",
     .value = "TYPE",
     .choices = "bf16|f16|f32",
     .help = "Type of the tensors that are stored as floats; where not given, float tensors keep "
             "theirs and decoded ones become f16"},
    {.name = "keep-quantized",
     .help = "Keep 4 and 8 bit blocks (Q4_0, Q4_1, Q8_0) as affine groups of 32, without loss"},
    {.name = "force", .help = "Replace the folder if it exists"},
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {
    {"import model.gguf -o model/ --keep-quantized", "A folder that loads here and in MLX"}};

std::optional<DType> wanted_type(const std::string& name) {
  if (name == "bf16") return DType::bf16;
  if (name == "f16") return DType::f16;
  if (name == "f32") return DType::f32;
  return std::nullopt;
}

int run(const Arguments& arguments) {
  if (!arguments.has("output")) {
    throw Error(ErrorCode::usage, "--output is missing", "import", "say where to write");
  }
  const auto registry = open_registry(arguments);
  ImportOptions options;
  options.dtype = wanted_type(arguments.text("dtype"));
  options.keep_quantized = arguments.flag("keep-quantized");
  options.force = arguments.flag("force");
  ProgressLine progress("importing", 0, "MB");
  const ImportReport report =
      import_gguf(arguments.path("FILE"), arguments.path("output"), options,
                  gguf_architectures(*registry), [&](std::uint64_t done, std::uint64_t total) {
                    constexpr std::uint64_t kMegabyte = 1'000'000;
                    progress.update(done / kMegabyte, total / kMegabyte);
                    return !interrupt_flag();
                  });
  progress.clear();
  for (const std::string& warning : report.warnings) warn(warning);
  const std::string output = arguments.text("output");
  if (arguments.flag("json")) {
    print_json({{"output", output},
                {"model_type", report.model_type},
                {"plugin", report.architecture_plugin},
                {"tensors", report.tensors},
                {"kept_quantized", report.kept_quantized},
                {"bytes", report.bytes},
                {"warnings", report.warnings}});
  } else {
    print(fmt::format("{}: {} tensors, {} of them kept quantized, {} ({}, plugin {})\n",
                      printable(output, 4096), report.tensors, report.kept_quantized,
                      bytes_text(report.bytes), report.model_type, report.architecture_plugin));
  }
  return 0;
}

constexpr Command kCommand = {
    .name = "import",
    .summary = "Makes a model folder from a GGUF file",
    .description =
        "Tensors, config.json, tokenizer and chat template are rebuilt. The folder "
        "appears only when it is complete.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& import_command() {
  return kCommand;
}

}  // namespace quiver::cli
