// What the Llama family knows about its GGUF files.
#pragma once

#include <quiver/gguf_import.hpp>

namespace quiver::llama {

class LlamaGguf : public GgufImport {
 public:
  std::string_view model_type(std::string_view gguf_architecture) const override;
  std::span<const TensorRule> tensor_rules(std::string_view gguf_architecture) const override;
  std::span<const GgufKey> keys(std::string_view gguf_architecture) const override;
  std::span<const GgufTokenizerKind> tokenizer_kinds() const override;
  std::span<const GgufPretokenizer> pretokenizers() const override;
  void complete(const GgufSource& source, ConfigWriter& config) const override;
};

}  // namespace quiver::llama
