// The one exception type that crosses between the host and a plugin.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace quiver {

/// What kind of failure an Error reports. The host turns the code into its exit code, so the values
/// are part of the command-line contract and never change.
enum class ErrorCode : int {
  usage = 2,      ///< The caller asked for something that does not exist or does not fit together.
  bad_input = 3,  ///< A file, a model or a request is malformed.
  plugin = 4,     ///< A plugin is missing or was refused (an unknown `model_type` too).
  resources = 5,  ///< Memory, disk or another limit was exhausted.
  internal = 70,  ///< A bug of our own.
  interrupted = 130  ///< The user asked to stop.
};

/// A failure that a person can act on: what is wrong, where, and what to do about it. Printed as
/// one line, `what (where): hint`, so none of the parts holds a newline.
///
/// Host and plugins agree on the ABI stamp before any C++ call, so an Error may be thrown by either
/// side and caught by the other. A catcher copies what it needs and never keeps the exception
/// object. [any-thread]
class Error : public std::runtime_error {
 public:
  /// `what`: one statement without a final full stop. `where`: a file, tensor or option name; may
  /// be empty. `hint`: what the user can do; may be empty.
  Error(ErrorCode code, std::string what, std::string where = {}, std::string hint = {})
      : std::runtime_error(line(what, where, hint)),
        code_(code),
        message_(std::move(what)),
        where_(std::move(where)),
        hint_(std::move(hint)) {}

  ErrorCode code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }
  const std::string& where() const noexcept { return where_; }
  const std::string& hint() const noexcept { return hint_; }

 private:
  static std::string line(const std::string& what, const std::string& where,
                          const std::string& hint) {
    std::string text = what;
    if (!where.empty()) text += " (" + where + ")";
    if (!hint.empty()) text += ": " + hint;
    return text;
  }

  ErrorCode code_;
  std::string message_;
  std::string where_;
  std::string hint_;
};

}  // namespace quiver
