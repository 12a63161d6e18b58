// The JSON header of a safetensors file as plain data.
#pragma once

#include "core/tensor/tensor_view.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// Headers longer than this are refused, as the format's own implementation does.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100ULL * 1024 * 1024;

/// One entry of a header. `begin` and `end` count bytes from the end of the header.
struct SafetensorsEntry {
  TensorInfo tensor;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  ///< In the order of their data.
  std::map<std::string, std::string> metadata;
};

/// Reads the header's JSON and checks that its entries fill `data_bytes` bytes exactly, each with
/// the size of its type and shape, without gaps or overlaps. Throws Error(bad_input) with `where`
/// as its place. Fields of an entry that the format does not know are skipped. [any-thread]
SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes,
                                           const std::string& where);

}  // namespace quiver
