// The list of shards of a model folder, model.safetensors.index.json.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace quiver {

/// Reads the `weight_map` of an index: tensor name to the file name of its shard. File names are
/// plain (no '/', no "..") and end in ".safetensors"; a tensor given twice, a missing or empty map
/// and malformed JSON throw Error(bad_input) with `where` as its place. [any-thread]
std::map<std::string, std::string> parse_safetensors_index(std::string_view json,
                                                           const std::string& where);

}  // namespace quiver
