// Models of the Qwen3.5 family for tests, and their recorded sets.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/decode/generator.hpp"
#include "core/model/json_file.hpp"
#include "tests/support/models.hpp"
#include "tests/support/numbers.hpp"

namespace quiver::test {

inline ArchitectureOffer qwen3_5_architecture(std::string_view) {
  return {borrowed(load_plugin<Architecture>("arch-qwen3_5")), "qwen3_5", "arch-qwen3_5"};
}

inline std::shared_ptr<const LoadedModel> load_qwen3_5(const std::filesystem::path& folder) {
  return LoadedModel::load(folder, qwen3_5_architecture, affine_scheme);
}

inline std::vector<std::int32_t> ids_of(const nlohmann::json& json) {
  return json.get<std::vector<std::int32_t>>();
}

/// A recorded set and the checkpoints in it.
struct Qwen3_5Reference {
  std::filesystem::path folder;
  nlohmann::json expected = read_json_file(folder / "expected.json");
  SafetensorsFile tensors = SafetensorsFile::open(folder / "expected.safetensors");

  /// `name` is that of a folder in the shared recordings, or a whole path.
  explicit Qwen3_5Reference(const std::filesystem::path& name)
      : folder(std::filesystem::path(shared("reference/qwen3_5")) / name) {}

  double tolerance() const { return expected.at("tolerances").at("logits_abs"); }
};

/// The tokens that plain greedy decoding writes behind a prompt.
inline std::vector<std::int32_t> greedy(Engine& engine, std::span<const std::int32_t> prompt,
                                        std::size_t count) {
  GenerationOptions options;
  options.max_tokens = static_cast<int>(count);
  options.decode.mode = DecodeMode::autoregressive;
  Sequence sequence = engine.new_sequence();
  return generate(engine, sequence, prompt, SamplerChain(), options).ids;
}

}  // namespace quiver::test
