// Option values taken from their specs: the defaults, and whatever a check or rehearsal sets.
#pragma once

#include <quiver/options.hpp>

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace quiver {

/// Options for code of the host's own that needs no parsing and no range checks. [any-thread] once
/// set up.
class SpecOptions final : public Options {
 public:
  /// Every option at its default.
  explicit SpecOptions(std::span<const OptionSpec> specs) {
    for (const OptionSpec& spec : specs) {
      if (spec.kind == OptionKind::text) {
        texts_[spec.name] = spec.default_text != nullptr ? spec.default_text : "";
      } else {
        numbers_[spec.name] = spec.default_value;
      }
    }
  }

  void set(const std::string& name, double value) { numbers_[name] = value; }
  void set(const std::string& name, std::string value) { texts_[name] = std::move(value); }

  double number(std::string_view name) const override { return look_up(numbers_, name); }
  std::string_view text(std::string_view name) const override { return look_up(texts_, name); }

 private:
  template <class Map>
  static const typename Map::mapped_type& look_up(const Map& values, std::string_view name) {
    const auto found = values.find(name);
    if (found == values.end()) {
      throw Error(ErrorCode::internal, "no such option", std::string(name),
                  "a plugin may only read the options that it lists");
    }
    return found->second;
  }

  std::map<std::string, double, std::less<>> numbers_;
  std::map<std::string, std::string, std::less<>> texts_;
};

}  // namespace quiver
