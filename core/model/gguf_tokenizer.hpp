// tokenizer.json and what belongs to it, rebuilt from a GGUF file.
#pragma once

#include <nlohmann/json.hpp>
#include <quiver/gguf_import.hpp>
#include <string>
#include <vector>

#include "core/tensor/gguf.hpp"

namespace quiver {

/// What a model folder holds of a tokenizer.
struct RebuiltTokenizer {
  nlohmann::ordered_json tokenizer;  ///< tokenizer.json
  nlohmann::json config;             ///< tokenizer_config.json, chat template included.
  std::string chat_template;         ///< chat_template.jinja; empty = the file has none.
  std::vector<std::string> warnings;
};

/// Rebuilds the tokenizer of `file` by the tables of its family. Control tokens become special
/// added tokens, user-defined ones plain added tokens; both are matched before anything else, and
/// so are those that end a text. A beginning or end of text is put around prompts where the file
/// says so.
///
/// Throws Error(bad_input) for a kind (tokenizer.ggml.model) or a pre-tokenizer
/// (tokenizer.ggml.pre) that the family does not list, and for lists that are missing or contradict
/// each other. Memory is proportional to the file's metadata. [load-thread]
RebuiltTokenizer rebuild_tokenizer(const GgufFile& file, const GgufImport& family);

}  // namespace quiver
