// Which decoder a text gets.
#include "core/decode/decoder.hpp"

#include <fmt/format.h>

#include <quiver/block_prediction.hpp>
#include <quiver/draft_head.hpp>
#include <quiver/error.hpp>

#include "core/decode/diffusion_decoder.hpp"
#include "core/decode/drafter.hpp"
#include "core/decode/speculative_decoder.hpp"

namespace quiver {
namespace {

const BlockPrediction* block_prediction(const LoadedModel& model) {
  return static_cast<const BlockPrediction*>(
      model.model().extension(BlockPrediction::kInterfaceId));
}

const DraftHead* draft_head(const LoadedModel& model) {
  return static_cast<const DraftHead*>(model.model().extension(DraftHead::kInterfaceId));
}

/// What `automatic` stands for with this model.
DecodeMode chosen_mode(const LoadedModel& model, DecodeMode mode) {
  if (mode != DecodeMode::automatic) return mode;
  if (block_prediction(model) != nullptr) return DecodeMode::self_speculation;
  return draft_head(model) != nullptr ? DecodeMode::draft_head : DecodeMode::autoregressive;
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
    case DecodeMode::draft_head: return "mtp";
    case DecodeMode::ngram: return "ngram";
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
  if (options.mode == DecodeMode::draft_head && draft_head(model) == nullptr) {
    throw wrong(fmt::format("the checkpoint of this '{}' holds no draft head, which 'mtp' needs",
                            model.config().model_type()),
                "use 'ar' or 'ngram', or a checkpoint with its head");
  }
  if (options.mode == DecodeMode::draft_head && options.draft_tokens > 1 + kMostHeadDrafts) {
    throw wrong(
        fmt::format("a draft head drafts {} tokens at most", kMostHeadDrafts),
        fmt::format("give {} rows or fewer, the newest token included", 1 + kMostHeadDrafts));
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

Sequence make_sequence(Engine& engine, const DecodeOptions& options) {
  const bool uses_head = chosen_mode(engine.model(), options.mode) == DecodeMode::draft_head;
  return uses_head ? engine.new_drafted_sequence() : engine.new_sequence();
}

std::unique_ptr<Decoder> make_decoder(Engine& engine, TextState& text, const DecodeOptions& options,
                                      const Sequence* sequence) {
  const BlockPrediction* blocks = block_prediction(engine.model());
  DecodeStatistics& statistics = engine.statistics();
  DecodeMode mode = chosen_mode(engine.model(), options.mode);
  const bool lacks_history = sequence != nullptr && !sequence->layout().keeps_hidden;
  if (mode == DecodeMode::draft_head && lacks_history) {
    if (options.mode == mode) {
      throw Error(ErrorCode::internal, "a sequence without what the draft head needs", "decoding");
    }
    mode = DecodeMode::autoregressive;
  }
  std::unique_ptr<Drafter> drafter;
  switch (mode) {
    case DecodeMode::block_diffusion: {
      const BlockPredictionInfo info = blocks->block_prediction();
      return std::make_unique<DiffusionDecoder>(text, info.mask_token, info.block_length, options,
                                                statistics);
    }
    case DecodeMode::self_speculation: {
      const BlockPredictionInfo info = blocks->block_prediction();
      const int grid = options.block_length != 0 ? options.block_length : info.block_length;
      drafter = make_block_drafter(info.mask_token, grid, options.allows_mask);
      break;
    }
    case DecodeMode::draft_head: drafter = make_head_drafter(options.has_head_history); break;
    case DecodeMode::ngram: drafter = make_ngram_drafter(); break;
    case DecodeMode::automatic:
    case DecodeMode::autoregressive: break;
  }
  return std::make_unique<SpeculativeDecoder>(text, std::move(drafter), options.draft_tokens,
                                              statistics, options.observer,
                                              mode == DecodeMode::draft_head);
}

}  // namespace quiver
