// The parent's side of a rehearsal: starts the child and puts what happened into words.
#include "core/plugin/rehearsal.hpp"

#include "core/plugin/child_process.hpp"
#include "core/plugin/rehearsal_protocol.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>

#include <csignal>

namespace quiver {
namespace {

using namespace rehearsal;

/// What the child's lines say.
struct Report {
  std::string phase;  ///< The last that began; empty = the child never came so far.
  std::optional<PluginFault> fault;
  std::string reason;
};

std::string text_at(const nlohmann::json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? one_line(found->get<std::string>(), 1000)
                                                   : std::string();
}

Report read_report(const std::string& lines) {
  Report report;
  std::istringstream stream(lines);
  for (std::string text; std::getline(stream, text);) {
    const auto line = nlohmann::json::parse(text, nullptr, false);
    if (!line.is_object()) continue;
    if (line.contains(kPhase)) report.phase = text_at(line, kPhase);
    if (line.contains(kFault)) {
      report.fault = parse_fault(text_at(line, kFault));
      report.reason = text_at(line, kReason);
    }
  }
  return report;
}

std::string signal_name(int signal) {
  const char* const name = ::sigabbrev_np(signal);
  return name != nullptr ? std::string("SIG") + name : fmt::format("signal {}", signal);
}

/// What the child wrote to stderr, as an addition to a sentence.
std::string with_words(std::string sentence, const std::string& errors) {
  const std::string words = one_line(errors, 300);
  return words.empty() ? sentence : sentence + ": " + words;
}

/// Whether a child that ended badly did so for want of memory: it says so, or it held nearly all
/// that it was allowed.
bool is_out_of_memory(const ChildResult& child, const RehearsalLimits& limits) {
  for (const char* words : {"bad_alloc", "out of memory", "out-of-memory", "failed to allocate"}) {
    if (child.errors.find(words) != std::string::npos) return true;
  }
  return child.peak_bytes / 4 >= limits.memory_bytes / 5;
}

Verdict memory_verdict(const Report& report, const RehearsalLimits& limits, int signal) {
  return {
      PluginFault::memory_limit,
      fmt::format("wanted more than {} MiB of memory {}", limits.memory_bytes >> 20U, report.phase),
      signal};
}

/// The verdict about a child that started and reached `report`.
Verdict judge(const ChildResult& child, const Report& report, const RehearsalLimits& limits) {
  if (child.is_timed_out) {
    const double seconds = static_cast<double>(limits.wall.count()) / 1000;
    return {PluginFault::wall_limit,
            fmt::format("did not come to an end within {} s {}", seconds, report.phase), SIGKILL};
  }
  if (report.fault == PluginFault::memory_limit) return memory_verdict(report, limits, 0);
  if (report.fault && *report.fault != PluginFault::none) return {*report.fault, report.reason, 0};
  if (child.signal == SIGXCPU) {
    return {PluginFault::cpu_limit,
            fmt::format("used more than {} s of CPU time {}", limits.cpu.count(), report.phase),
            child.signal};
  }
  const bool is_clean = report.fault && child.signal == 0 && child.exit_status == 0;
  if (!is_clean && is_out_of_memory(child, limits)) {
    return memory_verdict(report, limits, child.signal);
  }
  if (child.signal != 0) {
    return {PluginFault::crashed,
            with_words(fmt::format("crashed with {} {}", signal_name(child.signal), report.phase),
                       child.errors),
            child.signal};
  }
  if (!is_clean) {
    return {PluginFault::exited,
            with_words(
                fmt::format("ended the process with status {} {}", child.exit_status, report.phase),
                child.errors),
            0};
  }
  if (!child.output.empty()) {
    return {PluginFault::prints_to_stdout,
            fmt::format("prints to stdout, which belongs to the program's results: '{}'",
                        one_line(child.output, 80)),
            0};
  }
  return {};
}

ChildCommand make_command(const PluginEntry& entry, std::span<const PluginFile> files,
                          const RehearsalOptions& options) {
  ChildCommand command;
  command.program = options.program;
  command.arguments = {std::string(kFlag), entry.origin == PluginOrigin::elf ? "elf" : "manifest",
                       std::to_string(options.limits.cpu.count()),
                       std::to_string(options.limits.memory_bytes), std::to_string(files.size())};
  for (const PluginFile& file : files) {
    command.arguments.push_back(file.path().string());
    command.descriptors.push_back(file.descriptor());
  }
  for (const PluginOffer& offer : entry.descriptor.offers) {
    command.arguments.push_back(fmt::format("{}:{}", kind_name(offer.kind), offer.name));
  }
  command.environment = {std::string(kGuardVariable) + "=1"};
  command.first_descriptor = kFirstFileDescriptor;
  command.wall_limit = options.limits.wall;
  return command;
}

}  // namespace

Verdict rehearse(const PluginEntry& entry, std::span<const PluginFile> files,
                 const RehearsalOptions& options) {
  if (std::getenv(kGuardVariable) != nullptr) {
    throw Error(ErrorCode::internal, "a rehearsal tried to start another", entry.path.string(),
                "let main() begin with is_rehearsal_call()");
  }
  if (files.empty() || files.size() > kMaxFiles) {
    throw Error(ErrorCode::internal, "a rehearsal needs one to four files", entry.path.string());
  }
  const ChildResult child = run_child(make_command(entry, files, options));
  const Report report = read_report(child.results);
  if (report.phase.empty() && !child.is_timed_out) {
    throw Error(ErrorCode::internal, "the program does not rehearse plugins",
                options.program.string(), "let its main() begin with is_rehearsal_call()");
  }
  return judge(child, report, options.limits);
}

}  // namespace quiver
