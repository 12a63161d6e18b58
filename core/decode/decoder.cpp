// Which decoder a text gets.
#include "core/decode/decoder.hpp"

#include <fmt/format.h>

#include <quiver/block_prediction.hpp>
#include <quiver/error.hpp>

#include "core/decode/diffusion_decoder.hpp"
#include "core/decode/speculative_decoder.hpp"

namespace quiver {
namespace {

const BlockPrediction* block_prediction(const LoadedModel& model) {
  return static_cast<const BlockPrediction*>(
      model.model().extension(BlockPrediction::kInterfaceId));
}

Error wrong(std::string what, std::string hint) {
  return {ErrorCode::usage, std::move(what), "decoding", std::move(hint)};
}

}  // namespace

std::string_view decode_mode_name(DecodeMode mode) {
  switch (mode) {
    case DecodeMode::automatic: return "auto";
    case DecodeMode::autoregressive: return "ar";
    case DecodeMode::self_speculation: return "self-spec";
    case DecodeMode::block_diffusion: return "block-diffusion";
  }
  return "auto";
}

void check_decoding(const LoadedModel& model, const DecodeOptions& options,
                    const TextRules& rules) {
  const bool needs_blocks =
      options.mode == DecodeMode::self_speculation || options.mode == DecodeMode::block_diffusion;
  if (needs_blocks && block_prediction(model) == nullptr) {
    throw wrong(fmt::format("'{}' does not predict blocks, which '{}' needs",
                            model.config().model_type(), decode_mode_name(options.mode)),
                "use 'ar', or a model of another family");
  }
  const bool is_diffusion = options.mode == DecodeMode::block_diffusion;
  if (is_diffusion && rules.filter != nullptr) {
    throw wrong("a grammar needs tokens in order, which 'block-diffusion' does not give",
                "use 'ar' or 'self-spec'");
  }
  if (!is_diffusion && !options.suffix.empty()) {
    throw wrong(fmt::format("'{}' cannot write towards a text that follows",
                            decode_mode_name(options.mode)),
                "use 'block-diffusion'");
  }
  if (is_diffusion && options.canvas_sampler == nullptr) {
    throw Error(ErrorCode::internal, "block diffusion without a canvas sampler", "decoding");
  }
}

std::unique_ptr<Decoder> make_decoder(Engine& engine, TextState& text,
                                      const DecodeOptions& options) {
  const BlockPrediction* blocks = block_prediction(engine.model());
  DecodeStatistics& statistics = engine.statistics();
  std::unique_ptr<Drafter> drafter;
  if (blocks != nullptr && options.mode != DecodeMode::autoregressive) {
    const BlockPredictionInfo info = blocks->block_prediction();
    if (options.mode == DecodeMode::block_diffusion) {
      return std::make_unique<DiffusionDecoder>(text, info.mask_token, info.block_length, options,
                                                statistics);
    }
    const int grid = options.block_length != 0 ? options.block_length : info.block_length;
    drafter = make_block_drafter(info.mask_token, grid, options.allows_mask);
  }
  return std::make_unique<SpeculativeDecoder>(text, std::move(drafter), options.draft_tokens,
                                              statistics, options.observer);
}

}  // namespace quiver
