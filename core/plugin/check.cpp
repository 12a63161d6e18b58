// Runs the plan of checks, some at a time, and reports.
#include "core/plugin/check.hpp"

#include "core/plugin/check_plan.hpp"
#include "core/plugin/check_process.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <fnmatch.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string_view>
#include <thread>

namespace quiver {
namespace {

std::string_view status_name(CheckStatus status) {
  switch (status) {
    case CheckStatus::passed: return "passed";
    case CheckStatus::failed: return "failed";
    case CheckStatus::skipped: return "skipped";
  }
  return "failed";
}

/// Runs `work(i)` for every i below `count` on some threads; gives on the first exception.
template <class Work>
void run_all(std::size_t count, int jobs, const Work& work) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr problem;
  const auto run = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!problem) problem = std::current_exception();
        next = count;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < jobs; ++i) threads.emplace_back(run);
  }
  if (problem) std::rethrow_exception(problem);
}

CheckStatus run_one(const Check& check, const CheckSubject& subject, std::string& detail) {
  try {
    detail = check.run(subject);
    return CheckStatus::passed;
  } catch (const CheckSkipped& skipped) {
    detail = skipped.what();
    return CheckStatus::skipped;
  } catch (const std::exception& failed) {
    detail = failed.what();
  } catch (...) {
    detail = "threw something that is not an exception";
  }
  return CheckStatus::failed;
}

}  // namespace

int CheckReport::count(CheckStatus status) const {
  return static_cast<int>(std::ranges::count(checks, status, &CheckResult::status));
}

CheckReport run_checks(const std::filesystem::path& file, const CheckOptions& options) {
  const CheckSubject subject = check_subject(file, options.config);
  CheckReport report;
  for (const Check& check : plan_checks(subject)) {
    if (::fnmatch(options.only.c_str(), check.name.c_str(), 0) == 0) {
      report.checks.push_back({.name = check.name, .status = CheckStatus::failed, .detail = {}});
    }
  }
  if (report.checks.empty()) {
    throw Error(ErrorCode::usage, "no check matches '" + options.only + "'", file.string(),
                "leave --only away to see all names");
  }
  const int cpus = std::max(1U, std::thread::hardware_concurrency());
  const int jobs =
      std::min<int>(options.jobs > 0 ? options.jobs : cpus, static_cast<int>(report.checks.size()));
  run_all(report.checks.size(), jobs, [&](std::size_t i) {
    report.checks[i] = run_check_process(file, report.checks[i].name, options);
  });
  return report;
}

bool is_plugin_check_call(int argc, const char* const* argv) noexcept {
  return argc == 6 && argv[1] == kCheckFlag;
}

int plugin_check_child_main(int argc, char** argv) {
  if (!is_plugin_check_call(argc, argv)) return 2;
  limit_check_process(std::chrono::seconds(std::max(1, std::atoi(argv[4]))));
  const std::string_view name = argv[3];
  const CheckSubject subject = check_subject(argv[2], argv[5]);
  for (const Check& check : plan_checks(subject)) {
    if (check.name != name) continue;
    std::string detail;
    const CheckStatus status = run_one(check, subject, detail);
    report_check_result(status, detail);
    // Neither destructors of static objects nor the plugin's own are part of a check.
    std::fflush(stdout);
    std::_Exit(0);
  }
  return 2;
}

nlohmann::json check_report_json(const CheckReport& report) {
  nlohmann::json checks = nlohmann::json::array();
  for (const CheckResult& check : report.checks) {
    checks.push_back(
        {{"name", check.name}, {"status", status_name(check.status)}, {"detail", check.detail}});
  }
  return {{"passed", report.count(CheckStatus::passed)},
          {"failed", report.count(CheckStatus::failed)},
          {"skipped", report.count(CheckStatus::skipped)},
          {"checks", std::move(checks)}};
}

std::string check_report_text(const CheckReport& report, bool is_coloured) {
  std::size_t width = 0;
  for (const CheckResult& check : report.checks) width = std::max(width, check.name.size());
  std::string text;
  for (const CheckResult& check : report.checks) {
    const char* colour = check.status == CheckStatus::passed   ? "\033[32m"
                         : check.status == CheckStatus::failed ? "\033[31m"
                                                               : "\033[33m";
    text +=
        fmt::format("{}{:<7}{}  {:<{}}  {}", is_coloured ? colour : "", status_name(check.status),
                    is_coloured ? "\033[0m" : "", check.name, width, check.detail);
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  text += fmt::format("{} passed, {} failed, {} skipped\n", report.count(CheckStatus::passed),
                      report.count(CheckStatus::failed), report.count(CheckStatus::skipped));
  return text;
}

}  // namespace quiver
