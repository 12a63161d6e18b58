// Sizes and switches of a Qwen3.5 model, from its config.
#pragma once

#include <quiver/config.hpp>
#include <quiver/recurrence.hpp>

#include <string>
#include <vector>

namespace quiver::qwen3_5 {

/// Of a model whose MLPs are experts.
struct ExpertShape {
  int experts = 0;  ///< 0 = a dense MLP.
  int experts_per_row = 0;
  int ffn = 0;
  int shared_ffn = 0;  ///< Of the expert that every row takes.
  bool renormalizes = true;
};

struct Shape {
  std::string prefix;  ///< Of config paths: "" or "text_config.".
  int hidden = 0;
  int layers = 0;
  int ffn = 0;  ///< Of a dense MLP.
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int vocabulary = 0;
  int context_length = 0;
  float epsilon = 0;
  bool has_tied_head = false;
  int rotary_dims = 0;
  DeltaRuleSpec delta_rule;
  int conv_kernel = 0;
  std::vector<bool> is_attention;  ///< By layer; the others are gated delta rules.
  ExpertShape experts;

  int q_width() const { return heads * head_dim; }
  int kv_width() const { return kv_heads * head_dim; }
  int keys_width() const { return delta_rule.key_heads * delta_rule.key_dim; }
  int values_width() const { return delta_rule.value_heads * delta_rule.value_dim; }
};

/// Reads and checks the shape, from `text_config` or the top level.
Shape read_shape(const Config& config);

/// Which of a row's positions (0 time, 1 height, 2 width) turns each of the rotary pairs, by
/// mrope_section; empty where the config has no sections.
std::vector<std::uint8_t> position_of_pair(const Config& config, const Shape& shape);

}  // namespace quiver::qwen3_5
