// Parsing JSON that may be anything: bounded depth, one-line errors.
#pragma once

#include <quiver/error.hpp>

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace quiver::text {

/// Deeper documents would make recursive readers of the result run out of stack.
inline constexpr int kMaxJsonDepth = 200;

/// Parses `text` into a Json (nlohmann::json or ordered_json). Throws bad_input with `where`.
template <typename Json>
Json parse_json(std::string_view text, const std::string& where) {
  bool is_too_deep = false;
  const auto filter = [&](int depth, typename Json::parse_event_t, Json&) {
    is_too_deep = is_too_deep || depth > kMaxJsonDepth;
    return !is_too_deep;  // Drops what lies deeper, so nothing deep is ever built.
  };
  Json parsed;
  try {
    parsed = Json::parse(text, filter);
  } catch (const typename Json::exception& error) {
    std::string what = error.what();
    for (char& c : what) {
      if (c == '\n' || c == '\r') c = ' ';
    }
    throw Error(ErrorCode::bad_input, "not JSON: " + what, where);
  }
  if (is_too_deep) throw Error(ErrorCode::bad_input, "JSON nested too deeply", where);
  return parsed;
}

}  // namespace quiver::text
