// The manual page.
#pragma once

#include <string>

namespace quiver::cli {

/// quiver(1) in the macros of man(7), made from the tables of the commands. [any-thread]
std::string man_page();

}  // namespace quiver::cli
