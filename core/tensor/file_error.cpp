// Failed system calls on files as errors.
#include "core/tensor/file_error.hpp"

#include "core/tensor/printable.hpp"

#include <cerrno>
#include <string>
#include <system_error>

namespace quiver {

Error file_error(std::string_view verb, const std::filesystem::path& path, int error_number) {
  // std::system_category's text, unlike strerror's, may be asked for by several threads at once.
  const std::string reason = std::system_category().message(error_number);
  const std::string what = "cannot " + std::string(verb) + " the file: " + reason;
  const std::string where = printable(path.native(), 4096);
  switch (error_number) {
    case ENOSPC:
    case EDQUOT: return {ErrorCode::resources, what, where, "free disk space and try again"};
    case EFBIG:
      return {ErrorCode::resources, what, where,
              "raise the limit (ulimit -f), or use another file system"};
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return {ErrorCode::resources, what, where, "raise the limit (ulimit) and try again"};
    case ENOENT:
    case ENOTDIR: return {ErrorCode::bad_input, what, where, "check the path"};
    case EACCES:
    case EPERM: return {ErrorCode::bad_input, what, where, "check the permissions"};
    default: return {ErrorCode::bad_input, what, where};
  }
}

}  // namespace quiver
