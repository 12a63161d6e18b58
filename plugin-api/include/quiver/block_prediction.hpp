// The extension of text models that can predict a whole block of tokens in one pass.
#pragma once

#include <cstdint>
#include <string_view>

namespace quiver {

/// How a model predicts blocks, from its config.
struct BlockPredictionInfo {
  std::int32_t mask_token = 0;    ///< Stands where a token is not known yet. Never generated.
  std::int32_t block_length = 0;  ///< Tokens of a block of the grid that it was trained with.
};

/// Asked of a Model by id. Such a model was trained under VisibilityKind::block_causal too: the
/// logits at a masked position predict that position itself, where those of causal decoding predict
/// the next one. The host writes whole blocks with it (block diffusion), and drafts with it what
/// causal decoding then verifies (self-speculation). Source: Arriola et al., Block Diffusion, arXiv
/// 2503.09573. [any-thread]
class BlockPrediction {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.block-prediction/1";
  virtual ~BlockPrediction() = default;

  virtual BlockPredictionInfo block_prediction() const = 0;
};

}  // namespace quiver
