// The roles of linears as words, in reports and files.
#pragma once

#include <quiver/weights.hpp>

#include <optional>
#include <string_view>

namespace quiver {

/// E.g. "shared_expert". [any-thread]
std::string_view role_name(Role role);

/// The role of such a word, or nothing. [any-thread]
std::optional<Role> role_of(std::string_view name);

}  // namespace quiver
