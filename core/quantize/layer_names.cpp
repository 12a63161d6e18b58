// What the reference package reads out of layer names.
#include "core/quantize/layer_names.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace quiver {

int block_in_name(std::string_view name) {
  constexpr std::string_view kMark = "layers.";
  for (std::size_t at = name.find(kMark); at != std::string_view::npos;
       at = name.find(kMark, at + 1)) {
    if (at > 0 && name[at - 1] != '.') continue;
    int block = -1;
    const char* first = name.data() + at + kMark.size();
    const char* last = name.data() + name.size();
    const auto [end, error] = std::from_chars(first, last, block);
    if (error == std::errc() && block >= 0 && (end == last || *end == '.')) return block;
  }
  return -1;
}

std::string_view last_part(std::string_view name) {
  return name.substr(name.rfind('.') + 1);  // npos + 1 is 0
}

bool is_attention_name(std::string_view name) {
  constexpr std::array<std::string_view, 13> kNames = {
      "q_proj",    "k_proj",   "v_proj",   "o_proj", "in_proj_qkv", "in_proj_a", "in_proj_b",
      "in_proj_z", "out_proj", "qkv_proj", "wqkv",   "Wqkv",        "attn_qkv"};
  return std::ranges::find(kNames, last_part(name)) != kNames.end();
}

bool is_end_name(std::string_view name) {
  constexpr std::array<std::string_view, 7> kNames = {"lm_head",     "embed_tokens", "wte", "wpe",
                                                      "output_proj", "embed_out",    "head"};
  if (block_in_name(name) >= 0) return false;
  return std::ranges::any_of(kNames, [&](std::string_view part) {
    return last_part(name).find(part) != std::string_view::npos;
  });
}

bool is_router_name(std::string_view name) {
  constexpr std::array<std::string_view, 3> kEnds = {"mlp.gate", "router", "router.proj"};
  return std::ranges::any_of(kEnds, [&](std::string_view end) {
    return name.ends_with(end) &&
           (name.size() == end.size() || name[name.size() - end.size() - 1] == '.');
  });
}

bool is_shared_expert_name(std::string_view name) {
  return name.find(".shared_expert.") != std::string_view::npos ||
         name.find(".shared_experts.") != std::string_view::npos;
}

}  // namespace quiver
