// Names from files made fit for one-line messages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace quiver {

/// `text` with control characters and broken UTF-8 written as \xNN, cut to `limit` bytes (then
/// ended by "..."). The result is valid UTF-8 on one line, whatever a hostile file put into a name.
/// [any-thread]
std::string printable(std::string_view text, std::size_t limit = 120);

/// printable(text) in single quotes, the way messages name tensors and keys. [any-thread]
std::string in_quotes(std::string_view text);

}  // namespace quiver
