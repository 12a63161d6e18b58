// Strict reading of a small JSON document: exact keys, bounded texts, no repetition, no depth.
#include "core/plugin/manifest_json.hpp"

#include "core/plugin/plugin_descriptor.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <utility>
#include <vector>

namespace quiver::manifest {
namespace {

// The deepest value of a valid manifest is a parameter's field: the root, `samplers`, a sampler,
// `arguments`, a parameter.
constexpr int kMaxDepth = 5;

/// Refuses depth and repeated keys while the text is parsed; the parser itself would accept both.
class StructureGuard {
 public:
  explicit StructureGuard(std::string where) : where_(std::move(where)) {}

  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    if (depth > kMaxDepth) refuse("the manifest is nested too deeply", where_);
    if (event == Json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == Json::parse_event_t::key) {
      if (!keys_.back().insert(parsed.get<std::string>()).second) {
        refuse("a key is repeated in one object", where_);
      }
    }
    return true;
  }

 private:
  std::string where_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

void refuse(const std::string& what, const std::string& where) {
  throw Error(ErrorCode::plugin, what, where, "correct the manifest");
}

Json parse_json(std::string_view text, std::size_t most_bytes, const std::string& where) {
  if (text.size() > most_bytes) {
    refuse("the manifest is larger than " + std::to_string(most_bytes) + " bytes", where);
  }
  try {
    StructureGuard guard(where);
    return Json::parse(text.begin(), text.end(), std::ref(guard));
  } catch (const Json::parse_error& error) {
    refuse("the manifest is not valid JSON at byte " + std::to_string(error.byte), where);
  } catch (const Json::exception&) {
    refuse("the manifest holds a number or a text that JSON does not allow", where);
  }
}

Object::Object(const Json& value, std::string where, std::initializer_list<std::string_view> keys)
    : value_(value), where_(std::move(where)) {
  if (!value.is_object()) refuse("not an object", where_);
  for (const auto& item : value.items()) {
    if (std::ranges::find(keys, item.key()) != keys.end()) continue;
    const bool is_shown = is_printable_utf8(item.key()) && item.key().size() <= 64;
    refuse("unknown key" + (is_shown ? " '" + item.key() + "'" : std::string()), where_);
  }
}

const Json& Object::get(std::string_view key) const {
  const auto found = value_.find(key);
  if (found == value_.end()) refuse("the key '" + std::string(key) + "' is missing", where_);
  return *found;
}

std::string Object::text(std::string_view key, std::size_t field_bytes) const {
  const Json& value = get(key);
  if (!value.is_string()) refuse("not a text", at(key));
  auto text = value.get<std::string>();
  if (text.size() >= field_bytes) {
    refuse("longer than " + std::to_string(field_bytes - 1) + " bytes", at(key));
  }
  if (!is_printable_utf8(text)) refuse("holds control characters", at(key));
  return text;
}

std::string Object::name(std::string_view key, std::size_t field_bytes) const {
  std::string name = text(key, field_bytes);
  if (!is_plugin_name(name)) {
    refuse("not a name of lower case letters, digits, '-', '_' and '.'", at(key));
  }
  return name;
}

double Object::number(std::string_view key) const {
  const Json& value = get(key);
  if (!value.is_number()) refuse("not a number", at(key));
  const auto number = value.get<double>();
  if (!std::isfinite(number)) refuse("not a finite number", at(key));
  return number;
}

const Json& Object::array(std::string_view key, std::size_t most) const {
  const Json& value = get(key);
  if (!value.is_array()) refuse("not a list", at(key));
  if (value.empty() || value.size() > most) {
    refuse("the list must have 1 to " + std::to_string(most) + " elements", at(key));
  }
  return value;
}

}  // namespace quiver::manifest
