// What the family needs of the host beyond the common parts and operations.
#pragma once

#include <quiver/error.hpp>

#include <string>

namespace quiver::qwen3_5 {

/// The host's extension of Weights or Ops; without it the family cannot run.
template <class Interface, class Owner>
Interface& extension_of(Owner& owner) {
  void* found = owner.extension(Interface::kInterfaceId);
  if (found != nullptr) return *static_cast<Interface*>(found);
  throw Error(ErrorCode::plugin, "the host lacks an interface that the family needs",
              std::string(Interface::kInterfaceId), "use a newer Quiver");
}

}  // namespace quiver::qwen3_5
