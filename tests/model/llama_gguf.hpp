// Checkpoints of Llama and its relatives as GGUF files.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/model/model_config.hpp"
#include "core/tensor/half.hpp"
#include "core/tensor/safetensors_set.hpp"
#include "tests/model/wagon_family.hpp"

namespace quiver::test {

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

/// The name that converters give a tensor.
inline std::string gguf_name(std::string name) {
  const std::pair<const char*, const char*> parts[] = {
      {"model.embed_tokens", "token_embd"},
      {"model.norm", "output_norm"},
      {"lm_head", "output"},
      {"model.layers", "blk"},
      {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"},
      {"self_attn.q_norm", "attn_q_norm"},
      {"self_attn.k_norm", "attn_k_norm"},
      {"post_attention_layernorm", "ffn_norm"},
      {"input_layernorm", "attn_norm"},
      {"mlp.gate_proj", "ffn_gate"},
      {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},
  };
  for (const auto& [from, to] : parts) name = replaced(name, from, to);
  return name;
}

/// Halves (j, j + n) of each head to pairs (2j, 2j + 1), as converters of llama files do.
inline Bytes interleaved(const quiver::TensorView& tensor, std::size_t heads) {
  const std::size_t rows = static_cast<std::size_t>(tensor.shape[0]);
  const std::size_t row = tensor.data.size() / rows;
  const std::size_t half = rows / heads / 2;
  Bytes bytes;
  for (std::size_t head = 0; head < heads; ++head) {
    for (std::size_t j = 0; j < half; ++j) {
      for (const std::size_t from : {head * 2 * half + j, head * 2 * half + half + j}) {
        const auto part = tensor.data.subspan(from * row, row);
        bytes.insert(bytes.end(), part.begin(), part.end());
      }
    }
  }
  return bytes;
}

inline void add_gguf_tensors(GgufWriter& writer, const std::filesystem::path& folder,
                             const quiver::ModelConfig& config, bool interleaves) {
  const auto files = quiver::SafetensorsSet::open(folder);
  for (const quiver::TensorView* view : files.tensors()) {
    const std::string to = gguf_name(std::string(view->name));
    Bytes data(view->data.begin(), view->data.end());
    if (interleaves && to.find("attn_q.") != std::string::npos) {
      data = interleaved(*view, static_cast<std::size_t>(config.integer("num_attention_heads")));
    }
    if (interleaves && to.find("attn_k.") != std::string::npos) {
      data = interleaved(*view, static_cast<std::size_t>(config.integer("num_key_value_heads")));
    }
    if (view->shape.size() == 1) {
      std::vector<float> values(static_cast<std::size_t>(view->elements()));
      quiver::to_float(view->dtype, data, values);
      writer.tensor(to, view->shape, values);
    } else {
      writer.tensor(
          to, view->shape,
          view->dtype == quiver::DType::f32 ? quiver::GgufType::f32 : quiver::GgufType::bf16, data);
    }
  }
}

/// A checkpoint as a GGUF file: matrices in their own type, vectors float32; the tokenizer is that
/// of wagon_keys().
inline GgufWriter llama_gguf(const std::filesystem::path& folder, const std::string& architecture) {
  const quiver::ModelConfig config = quiver::ModelConfig::load(folder);
  const std::pair<const char*, const char*> keys[] = {
      {"embedding_length", "hidden_size"},
      {"block_count", "num_hidden_layers"},
      {"feed_forward_length", "intermediate_size"},
      {"attention.head_count", "num_attention_heads"},
      {"attention.head_count_kv", "num_key_value_heads"},
      {"attention.key_length", "head_dim"},
      {"context_length", "max_position_embeddings"},
  };
  GgufWriter writer = wagon_keys();
  writer.text("general.architecture", architecture).text("tokenizer.ggml.model", "gpt2");
  writer.text("tokenizer.ggml.pre", "gpt-2");
  for (const auto& [key, path] : keys) {
    if (!config.has(path)) continue;
    writer.u32(architecture + "." + key, static_cast<std::uint32_t>(config.integer(path)));
  }
  writer.f32(architecture + ".attention.layer_norm_rms_epsilon",
             static_cast<float>(config.number("rms_norm_eps")));
  const double theta =
      config.number("rope_parameters.rope_theta", config.number("rope_theta", 10000));
  writer.f32(architecture + ".rope.freq_base", static_cast<float>(theta));
  add_gguf_tensors(writer, folder, config, architecture == "llama");
  return writer;
}

}  // namespace quiver::test
