// Writes a text block by block: each is a canvas of masks that several passes fill in.
#pragma once

#include <memory>
#include <vector>

#include "core/decode/decode_statistics.hpp"
#include "core/decode/decoder.hpp"

namespace quiver {

/// A pass over the canvas proposes a token for every open position, the canvas sampler says which
/// of them to keep, and what is complete is fed once more so that the caches hold it; then its
/// tokens are appended to the text, until one of them ends it. Samplers see the text in front of
/// the canvas as their history. Only passes over the canvas itself are run: O(block) a step.
class DiffusionDecoder : public Decoder {
 public:
  /// `options` and `statistics` outlive it. Grid and canvases are those of the options, or of the
  /// model.
  DiffusionDecoder(TextState& text, std::int32_t mask_token, int block_length,
                   const DecodeOptions& options, DecodeStatistics& statistics);

  Visibility prompt_visibility() const override;
  bool wants_prompt_logits() const override { return false; }
  void begin(std::span<float> logits) override;
  const PassPlan& plan() const override { return plan_; }

 protected:
  int take(const PassResult& result, int texts) override;

 private:
  enum class Phase { measure, fill_in, settle };

  int canvas_length() const;
  bool has_unmeasured_length();
  void plan_canvas();
  void plan_step();
  void fill_in(std::span<float> logits);
  void finish_canvas();

  std::int32_t mask_token_;
  int block_length_;
  const DecodeOptions* options_;
  DecodeStatistics* statistics_;
  Phase phase_ = Phase::fill_in;
  PassPlan plan_;
  std::size_t start_ = 0;   // of the canvas in the text
  std::size_t length_ = 0;  // positions of this canvas, in front of what follows it
  int steps_ = 0;
  std::vector<std::int32_t> fed_;       // the canvas, and of an infilled text what lies behind it
  std::vector<int> open_;               // positions that are not fixed
  std::vector<std::int32_t> proposal_;  // by position
  std::vector<float> confidence_;
  std::vector<float> entropy_;
  std::vector<std::uint8_t> is_fixed_;
  std::vector<int> fixed_in_step_;  // by position: the step that fixed it
};

}  // namespace quiver
