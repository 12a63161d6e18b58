// What conversions of every kind of model share: options, progress, what is told in the end.
#include "host/cli/conversion.hpp"

#include "core/quantize/report_page.hpp"
#include "core/tensor/atomic_file.hpp"
#include "core/tensor/printable.hpp"
#include "host/cli/allocation_options.hpp"
#include "host/cli/console.hpp"
#include "host/cli/conversion_report.hpp"
#include "host/cli/interrupt.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace quiver::cli {
namespace {

void write_report(const ConversionRun& run, const ConvertOptions& options,
                  const Conversion& conversion, double seconds, std::string_view kl_unit) {
  ReportData data;
  data.model = run.arguments.text("MODEL");
  data.output = run.arguments.text("output");
  data.made_by = "quiver " QUIVER_VERSION;
  data.conversion = conversion;
  data.kl_unit = kl_unit;
  for (const ConvertedLayer& layer : conversion.layers) data.layer_bytes.push_back(layer.bytes);
  data.target_bpw = options.target_bpw;
  data.seconds = seconds;
  data.source_perplexity = conversion.source_perplexity;
  data.perplexity = conversion.perplexity;
  for (const ModelScore& score : conversion.uniform) {
    data.rivals.push_back({fmt::format("all at {} bits", score.bits), score.bytes, score.bpw_true,
                           score.kl, score.perplexity});
  }
  const std::string page = report_page(data);
  write_file(run.arguments.path("output") / "report.html", std::as_bytes(std::span(page)));
}

}  // namespace

bool StageLine::update(std::string_view stage, std::uint64_t done, std::uint64_t total,
                       std::string_view unit) {
  if (total > 0) {
    if (stage != stage_) {
      line_.reset();
      line_.emplace(std::string(stage), total, std::string(unit));
      stage_ = stage;
    }
    line_->update(done, total);
  }
  return interrupt_flag();
}

ConvertProgress ConversionRun::progress() const {
  return [shown = is_root() ? &line : nullptr](std::string_view stage, std::uint64_t done,
                                               std::uint64_t total, std::string_view unit) {
    return shown != nullptr ? shown->update(stage, done, total, unit) : interrupt_flag().load();
  };
}

ConvertOptions convert_options(const Arguments& arguments) {
  ConvertOptions options;
  const AllocationRequest request = read_allocation_request(arguments);
  options.target_bpw = request.target_bpw;
  options.bits = request.widths.bits;
  options.group_size = request.widths.group_size;
  options.method = request.is_static ? ConvertMethod::by_rules : ConvertMethod::measured;
  options.is_optiq = request.is_compat;
  options.rules = request.rules;
  if (arguments.text("sensitivity") == "weight-error") {
    options.sensitivity = ConvertSensitivity::weight_error;
  }
  options.compares = arguments.flag("compare-uniform") || arguments.flag("report");
  options.resumes = arguments.flag("resume");
  options.replaces = arguments.flag("force");
  options.encoder_name = arguments.text("encoder");
  options.base_model = arguments.text("MODEL");
  return options;
}

void run_conversion(const ConversionRun& run, const ConvertOptions& options,
                    std::string_view kl_unit, const std::function<Conversion()>& convert) {
  Conversion conversion;
  const std::string output = run.arguments.text("output");
  try {
    conversion = convert();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::interrupted) throw;
    throw Error(ErrorCode::interrupted, "interrupted", printable(output, 4096),
                "the same command with --resume goes on");
  }
  run.line.clear();
  if (run.ranks != nullptr) run.ranks->wait_for_all();  // others may be reading the source yet
  if (!run.is_root()) return;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - run.start;
  for (const std::string& warning : conversion.warnings) warn(warning);
  if (run.arguments.flag("report")) {
    write_report(run, options, conversion, seconds.count(), kl_unit);
  }
  if (run.arguments.flag("json")) {
    print_json(conversion_json(conversion, seconds.count()));
  } else {
    print(conversion_table(conversion, options.bits) +
          conversion_summary(conversion, output, seconds.count(), kl_unit));
  }
}

}  // namespace quiver::cli
