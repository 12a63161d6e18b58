// What conversions of every kind of model share: options, progress, what is told in the end.
#pragma once

#include "core/quantize/convert.hpp"
#include "host/cli/arguments.hpp"
#include "host/cli/progress.hpp"
#include "host/cli/session.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace quiver::cli {

/// One line for whatever is going on.
class StageLine {
 public:
  /// Shows the stage; true where the user has interrupted.
  bool update(std::string_view stage, std::uint64_t done, std::uint64_t total,
              std::string_view unit);
  void clear() { line_.reset(); }

 private:
  std::string stage_;
  std::optional<ProgressLine> line_;
};

/// A run of `convert`, as one rank of a job sees it.
struct ConversionRun {
  const Arguments& arguments;
  const ConvertOptions& options;  ///< What convert_options() gave.
  Session& session;
  Ranks* ranks;  ///< nullptr = this process alone.
  StageLine& line;
  std::chrono::steady_clock::time_point start;

  bool is_root() const { return ranks == nullptr || ranks->rank() == 0; }
  /// Tells on the line in rank 0; everywhere true where the user has interrupted.
  ConvertProgress progress() const;
};

/// The options that hold for every kind of model; others stay at their defaults.
ConvertOptions convert_options(const Arguments& arguments);

/// Converts, all ranks together; prints what came of it and writes the report in rank 0. An
/// interruption says how to go on. Throws what `convert` throws. `kl_unit` stands behind
/// divergences.
void run_conversion(const ConversionRun& run, const ConvertOptions& options,
                    std::string_view kl_unit, const std::function<Conversion()>& convert);

}  // namespace quiver::cli
