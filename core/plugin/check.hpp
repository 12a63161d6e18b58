// The validator behind `plugins check`: named tests, each in a process of its own.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

enum class CheckStatus : std::uint8_t { passed, failed, skipped };

struct CheckResult {
  std::string name;  ///< "opens-now", or "OFFER/deterministic" for a check of one offer.
  CheckStatus status = CheckStatus::passed;
  std::string detail;  ///< One line: what was seen, or why it was skipped. May be empty.
};

struct CheckReport {
  std::vector<CheckResult> checks;

  int count(CheckStatus status) const;
};

struct CheckOptions {
  std::string only = "*";        ///< Runs the checks whose names match this glob (fnmatch).
  std::filesystem::path config;  ///< A config.json for the checks of architectures; may be empty.
  std::chrono::milliseconds wall_limit{60'000};  ///< Of one check.
  std::chrono::seconds cpu_limit{60};            ///< Of one check.
  int jobs = 0;                                  ///< Checks at a time; 0 = one a CPU.

  /// Program whose main() begins with is_plugin_check_call(); this very program unless set.
  std::filesystem::path program = "/proc/self/exe";
};

/// Runs every check that applies to the plugin at `file`, a library or a manifest. Nothing of the
/// plugin runs in this process. Crashes, hangs and the like are failed checks; throws Error(usage)
/// where no check matches `only` and Error(resources) where no process can be started. [any-thread]
CheckReport run_checks(const std::filesystem::path& file, const CheckOptions& options);

/// Whether this process was started by run_checks(). Asked first thing in main(). [any-thread]
bool is_plugin_check_call(int argc, const char* const* argv) noexcept;

/// What main() does then: runs one check; returns the exit status.
int plugin_check_child_main(int argc, char** argv);

/// {"passed", "failed", "skipped", "checks": [{"name", "status", "detail"}]}. [any-thread]
nlohmann::json check_report_json(const CheckReport& report);

/// A line a check and a last one with the totals, for people; coloured for terminals. [any-thread]
std::string check_report_text(const CheckReport& report, bool is_coloured);

}  // namespace quiver
