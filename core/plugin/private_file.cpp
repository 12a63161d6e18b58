// Small files that the host keeps for one user.
#include "core/plugin/private_file.hpp"

#include "core/tensor/atomic_file.hpp"

#include <quiver/error.hpp>

#include <span>
#include <system_error>

#include <sys/stat.h>

namespace quiver {

void write_private_file(const std::filesystem::path& file, std::string_view content) {
  constexpr unsigned kOnlyOwner = S_IRUSR | S_IWUSR;
  const std::filesystem::path folder = file.parent_path();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw Error(ErrorCode::resources, "the folder cannot be made: " + error.message(),
                folder.string(), "check its permissions");
  }
  try {
    write_file(file, std::as_bytes(std::span(content)), kOnlyOwner);
  } catch (const Error& failure) {
    throw Error(ErrorCode::resources, failure.message(), failure.where(),
                "check the folder's permissions and the space on the disk");
  }
}

}  // namespace quiver
