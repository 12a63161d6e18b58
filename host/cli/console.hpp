// What the program prints: results, errors, warnings.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <quiver/error.hpp>

#include <string>
#include <string_view>

namespace quiver::cli {

/// Writes text to stdout as it is. Throws Error(resources) where it cannot be written.
void print(std::string_view text);

/// Writes a JSON document and a newline; bytes that are no UTF-8 become replacement characters.
void print_json(const nlohmann::ordered_json& document);

/// Hands what was printed to the system, e.g. after a token of a stream. Throws as print() does.
void flush();

/// One line on stderr: "quiver: warning: ...", unless warnings are switched off.
void warn(std::string_view text);

/// --quiet.
void set_quiet(bool is_quiet);
bool is_quiet();

/// One line on stderr; with `is_json` also {"error": {"code", "message", "hint"}} on stdout, where
/// `code` is the exit status. Returns that status. Never throws.
int report(const Error& error, bool is_json) noexcept;

/// The exception in flight as an Error; called in a catch block. Lack of memory is a lack of
/// resources, a failed file operation is bad input, everything else our own fault.
Error current_error();

/// Reports the exception in flight; called in a catch block.
int report_current_exception(bool is_json) noexcept;

/// Columns of the terminal behind stdout, 80 where it is none; between 60 and 100.
int help_width();

bool is_stdout_terminal();
bool is_stderr_terminal();

}  // namespace quiver::cli
