// What the tests of the text library share: reference values, and errors as values.
#pragma once

#include <quiver/error.hpp>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>

#include "tests/support/temporary_folder.hpp"

namespace quiver::text::test {

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::filesystem::path shared(const std::string& path) {
  return std::filesystem::path(QUIVER_SHARED_DIR) / path;
}

/// Values that the reference packages gave; the file says which and how.
inline const nlohmann::ordered_json& expected() {
  static const auto values = nlohmann::ordered_json::parse(
      read_file(std::filesystem::path(QUIVER_SOURCE_DIR) / "tests/text/data/expected.json"));
  return values;
}

/// The error that `work` throws, nullopt when it throws none. Every message is one line.
template <typename Work>
std::optional<Error> error_of(Work work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error;
  }
  return std::nullopt;
}

#define EXPECT_BAD_INPUT(work)                                                   \
  do {                                                                           \
    const auto thrown = ::quiver::text::test::error_of([&] { (void)(work); });   \
    ASSERT_TRUE(thrown.has_value()) << "no error from " #work;                   \
    EXPECT_EQ(thrown->code(), ::quiver::ErrorCode::bad_input) << thrown->what(); \
  } while (false)

using quiver::test::TemporaryFolder;

}  // namespace quiver::text::test
