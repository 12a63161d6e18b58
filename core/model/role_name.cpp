// The roles of linears as words.
#include "core/model/role_name.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace quiver {
namespace {

constexpr std::array<std::pair<Role, std::string_view>, 11> kNames = {
    {{Role::other, "other"},
     {Role::attention, "attention"},
     {Role::mlp, "mlp"},
     {Role::recurrent, "recurrent"},
     {Role::router, "router"},
     {Role::expert, "expert"},
     {Role::shared_expert, "shared_expert"},
     {Role::embedding, "embedding"},
     {Role::head, "head"},
     {Role::tower, "tower"},
     {Role::draft_head, "draft_head"}}};

}  // namespace

std::string_view role_name(Role role) {
  const auto* const found =
      std::ranges::find(kNames, role, &std::pair<Role, std::string_view>::first);
  return found != kNames.end() ? found->second : "other";
}

std::optional<Role> role_of(std::string_view name) {
  const auto* const found =
      std::ranges::find(kNames, name, &std::pair<Role, std::string_view>::second);
  if (found == kNames.end()) return std::nullopt;
  return found->first;
}

}  // namespace quiver
