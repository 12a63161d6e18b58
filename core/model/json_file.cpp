// Reading small JSON files from people and checkpoints, which may be hostile.
#include "core/model/json_file.hpp"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>

namespace quiver {
namespace {

constexpr int kDepthLimit = 64;

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& origin) {
  bool is_too_deep = false;
  const auto limit_depth = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > kDepthLimit) is_too_deep = true;
    return !is_too_deep;
  };
  try {
    nlohmann::json json = nlohmann::json::parse(text, limit_depth);
    if (is_too_deep) {
      throw Error(ErrorCode::bad_input, "the JSON is nested too deeply", origin,
                  "correct the file");
    }
    return json;
  } catch (const nlohmann::json::exception& error) {
    std::string reason = error.what();
    if (const auto end = reason.find("] "); end != std::string::npos) reason.erase(0, end + 2);
    for (char& c : reason) {
      if (static_cast<unsigned char>(c) < 0x20) c = ' ';
    }
    throw Error(ErrorCode::bad_input, "not valid JSON: " + reason, origin, "correct the file");
  }
}

std::string read_small_file(const std::filesystem::path& path, std::size_t size_limit) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (error || !std::filesystem::is_regular_file(status)) {
    throw Error(ErrorCode::bad_input,
                error && error != std::errc::no_such_file_or_directory
                    ? "cannot read the file: " + error.message()
                    : "there is no such file",
                path.string(), "check the path");
  }
  if (std::filesystem::file_size(path, error) > size_limit || error) {
    throw Error(ErrorCode::bad_input,
                fmt::format("the file is larger than the limit of {} bytes", size_limit),
                path.string(), "check that it is what it should be");
  }
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) {
    throw Error(ErrorCode::bad_input, "cannot read the file", path.string(),
                "check its permissions");
  }
  return text;
}

nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t size_limit) {
  return parse_json(read_small_file(path, size_limit), path.string());
}

}  // namespace quiver
