// One check in a process of its own: starting it, limiting it, and understanding how it ended.
#pragma once

#include "core/plugin/check.hpp"

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

namespace quiver {

/// Runs the check `name` of the plugin `file` in a new process and waits for its end. Throws
/// Error(resources) where none can be started. [any-thread]
CheckResult run_check_process(const std::filesystem::path& file, const std::string& name,
                              const CheckOptions& options);

/// First argument of the child; then the plugin's file, the check's name, CPU seconds and a config.
inline constexpr std::string_view kCheckFlag = "--plugin-check";

/// For the child: lowers its own limits (processor time, memory, no core file) and asks to be ended
/// with its parent.
void limit_check_process(std::chrono::seconds cpu_limit);

/// For the child: hands the result to the parent.
void report_check_result(CheckStatus status, const std::string& detail);

}  // namespace quiver
