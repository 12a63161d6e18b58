// What the reference package reads out of layer names. Our own methods go by roles instead.
#pragma once

#include <string_view>

namespace quiver {

/// N of the first "layers.N" in a name, -1 where there is none. [any-thread]
int block_in_name(std::string_view name);

/// What follows the last dot. [any-thread]
std::string_view last_part(std::string_view name);

/// Whether the last part is that of a projection of attention, linear attention included.
/// [any-thread]
bool is_attention_name(std::string_view name);

/// Whether the name is that of an embedding or a head, outside the blocks. [any-thread]
bool is_end_name(std::string_view name);

/// Whether the name is that of a router among experts. [any-thread]
bool is_router_name(std::string_view name);

/// Whether the name is that of a part of experts that every token takes; the gate of their result
/// is none. [any-thread]
bool is_shared_expert_name(std::string_view name);

}  // namespace quiver
