// Sizes and switches of a Qwen3.5 model, from its config.
#include "shape.hpp"

namespace quiver::qwen3_5 {
namespace {

Error invalid(const std::string& what, const std::string& where) {
  return Error(ErrorCode::bad_input, what, "config.json, " + where, "correct the file");
}

std::vector<bool> read_pattern(const Config& config, const Shape& s) {
  std::vector<bool> is_attention;
  const std::string types = s.prefix + "layer_types";
  if (!config.has(types)) {
    const int interval = config.integer_or(s.prefix + "full_attention_interval", 4);
    for (int i = 0; i < s.layers; ++i) is_attention.push_back((i + 1) % interval == 0);
    return is_attention;
  }
  if (config.count(types) != s.layers) throw invalid("not one type for each layer", types);
  for (int i = 0; i < s.layers; ++i) {
    const std::string where = types + "." + std::to_string(i);
    const std::string type = config.text(where);
    if (type != "full_attention" && type != "linear_attention") {
      throw invalid("neither full_attention nor linear_attention", where);
    }
    is_attention.push_back(type == "full_attention");
  }
  return is_attention;
}

ExpertShape read_experts(const Config& config, const std::string& prefix) {
  ExpertShape experts;
  experts.experts = config.integer_or(prefix + "num_experts", 0, 0);
  if (experts.experts == 0) return experts;
  experts.experts_per_row = config.integer(prefix + "num_experts_per_tok");
  experts.ffn = config.integer(prefix + "moe_intermediate_size");
  experts.shared_ffn = config.integer(prefix + "shared_expert_intermediate_size");
  experts.renormalizes = config.flag(prefix + "norm_topk_prob", true);
  if (experts.experts_per_row > experts.experts) {
    throw invalid("more experts for a token than there are", prefix + "num_experts_per_tok");
  }
  return experts;
}

}  // namespace

Shape read_shape(const Config& config) {
  Shape s;
  if (config.has("text_config")) s.prefix = "text_config.";
  const auto integer = [&](const char* name) { return config.integer(s.prefix + name); };
  s.hidden = integer("hidden_size");
  s.layers = integer("num_hidden_layers");
  s.heads = integer("num_attention_heads");
  s.kv_heads = integer("num_key_value_heads");
  s.head_dim = config.integer_or(s.prefix + "head_dim", 256);
  s.vocabulary = integer("vocab_size");
  s.context_length = config.integer_or(s.prefix + "max_position_embeddings", 0, 0);
  s.epsilon = static_cast<float>(config.number(s.prefix + "rms_norm_eps", 1e-6));
  s.has_tied_head =
      config.flag(s.prefix + "tie_word_embeddings", config.flag("tie_word_embeddings", false));
  s.delta_rule = {integer("linear_num_key_heads"), integer("linear_num_value_heads"),
                  integer("linear_key_head_dim"), integer("linear_value_head_dim")};
  s.conv_kernel = config.integer_or(s.prefix + "linear_conv_kernel_dim", 4);
  s.experts = read_experts(config, s.prefix);
  if (s.experts.experts == 0) s.ffn = integer("intermediate_size");
  if (s.layers > 4096) throw invalid("more than 4096 layers", s.prefix + "num_hidden_layers");
  s.is_attention = read_pattern(config, s);
  if (s.heads % s.kv_heads != 0) {
    throw invalid("the number of heads is not a multiple of the key-value heads",
                  s.prefix + "num_key_value_heads");
  }
  if (s.head_dim < 2 || s.head_dim > 4096 || s.heads > 65536) {
    throw invalid("the size of a head is absurd", s.prefix + "head_dim");
  }
  for (const int size : {s.delta_rule.key_heads, s.delta_rule.value_heads, s.delta_rule.key_dim,
                         s.delta_rule.value_dim}) {
    if (size > 8192) throw invalid("a linear layer of absurd size", s.prefix + "linear_*");
  }
  const std::string rope = s.prefix + "rope_parameters";
  const double share = config.number(rope + ".partial_rotary_factor",
                                     config.number(s.prefix + "partial_rotary_factor", 0.25));
  s.rotary_dims = static_cast<int>(s.head_dim * share);
  if (!(share > 0 && share <= 1) || s.rotary_dims < 2 || s.rotary_dims % 2 != 0) {
    throw invalid("rotates no even number of a head's dimensions", rope + ".partial_rotary_factor");
  }
  return s;
}

std::vector<std::uint8_t> position_of_pair(const Config& config, const Shape& shape) {
  const std::string sections = shape.prefix + "rope_parameters.mrope_section";
  if (config.count(sections) != 3) return {};
  const auto pairs = static_cast<std::size_t>(shape.rotary_dims / 2);
  std::vector<std::uint8_t> positions(pairs, 0);
  // Interleaved: time, height, width, time, .. as far as height and width have sections.
  for (std::uint8_t axis = 1; axis < 3; ++axis) {
    const auto end =
        3 * static_cast<std::size_t>(config.integer(sections + "." + std::to_string(axis), 0));
    for (std::size_t pair = axis; pair < std::min(end, pairs); pair += 3) positions[pair] = axis;
  }
  return positions;
}

}  // namespace quiver::qwen3_5
