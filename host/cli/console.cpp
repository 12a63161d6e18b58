// What the program prints: results, errors, warnings.
#include "host/cli/console.hpp"

#include "core/plugin/plugin_descriptor.hpp"

#include <nlohmann/json.hpp>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <new>
#include <system_error>

namespace quiver::cli {
namespace {

constexpr std::size_t kLongestLine = 4000;  // of an error; a file name may have 4096 bytes

bool g_is_quiet = false;

[[noreturn]] void throw_unwritable() {
  throw Error(ErrorCode::resources, std::strerror(errno), "standard output",
              "free some space, or write elsewhere");
}

}  // namespace

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) throw_unwritable();
}

void print_json(const nlohmann::ordered_json& document) {
  print(document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void flush() {
  if (std::fflush(stdout) != 0) throw_unwritable();
}

void warn(std::string_view text) {
  if (g_is_quiet) return;
  const std::string line = "quiver: warning: " + one_line(text, kLongestLine) + "\n";
  std::fputs(line.c_str(), stderr);
}

void set_quiet(bool is_quiet) {
  g_is_quiet = is_quiet;
}
bool is_quiet() {
  return g_is_quiet;
}

int report(const Error& error, bool is_json) noexcept {
  const int status = static_cast<int>(error.code());
  try {
    const std::string line = "quiver: " + one_line(error.what(), kLongestLine) + "\n";
    std::fputs(line.c_str(), stderr);
    if (!is_json) return status;
    std::string message = error.message();
    if (!error.where().empty()) message += " (" + error.where() + ")";
    nlohmann::ordered_json document;
    document["error"] = {{"code", status},
                         {"message", one_line(message, kLongestLine)},
                         {"hint", one_line(error.hint(), kLongestLine)}};
    print_json(document);
    flush();
  } catch (...) {
    // The line above is out, or memory is so short that nothing can be said; the status still can.
  }
  return status;
}

Error current_error() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return {ErrorCode::resources,
            "memory is exhausted",
            {},
            "use a smaller model or context, or free some memory"};
  } catch (const std::filesystem::filesystem_error& error) {
    return {ErrorCode::bad_input, error.code().message(), error.path1().string(),
            "check the path and its permissions"};
  } catch (const std::exception& error) {
    return {ErrorCode::internal, error.what(), {}, "report this, with the command"};
  } catch (...) {
    return {ErrorCode::internal, "an unknown exception", {}, "report this, with the command"};
  }
}

int report_current_exception(bool is_json) noexcept {
  return report(current_error(), is_json);
}

int help_width() {
  constexpr int kDefault = 80;
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kDefault;
  return std::clamp(static_cast<int>(size.ws_col), 60, 100);
}

bool is_stdout_terminal() {
  return ::isatty(STDOUT_FILENO) == 1;
}
bool is_stderr_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

}  // namespace quiver::cli
