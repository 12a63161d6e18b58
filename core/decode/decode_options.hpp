// How a text is decoded: token by token, by drafts that are verified, or block by block.
#pragma once

#include <cstdint>
#include <memory>
#include <quiver/canvas_sampler.hpp>
#include <span>
#include <string_view>
#include <vector>

namespace quiver {

enum class DecodeMode : std::uint8_t {
  automatic,         ///< Drafts where the model can, else token by token.
  autoregressive,    ///< Token by token.
  self_speculation,  ///< The model drafts a block, and verifies it as it would decode it.
  block_diffusion,   ///< Blocks of masks that are filled in over several passes.
  draft_head,        ///< The model's draft head (multi-token prediction) drafts.
  ngram,             ///< Drafts are what followed the newest tokens earlier in the text.
};

/// "auto", "ar", "self-spec", "block-diffusion", "mtp" or "ngram".
std::string_view decode_mode_name(DecodeMode mode);

/// One round of drafting and verifying.
struct SpeculativeRound {
  std::size_t start = 0;                 ///< Index of the first fed token in the text.
  std::span<const std::int32_t> fed;     ///< The newest token, then the drafts.
  std::span<const std::int32_t> chosen;  ///< What was chosen behind each row that counts.
};

/// One step over a canvas.
struct CanvasView {
  std::size_t start = 0;                 ///< Index of its first position in the text.
  int step = 0;                          ///< Passes over this canvas so far, this one included.
  std::span<const std::int32_t> tokens;  ///< After the step; the mask where it is open.
  std::span<const std::uint8_t> is_fixed;
  std::span<const float> confidence;  ///< Of each position's proposal in this step; 0 if fixed.
  bool is_final = false;              ///< No position is open any more.
};

/// Sees what decoders do, on the thread that runs them, between passes.
class DecodeObserver {
 public:
  virtual ~DecodeObserver() = default;
  virtual void on_round(const SpeculativeRound& round) { static_cast<void>(round); }
  virtual void on_canvas(const CanvasView& canvas) { static_cast<void>(canvas); }
};

struct DecodeOptions {
  DecodeMode mode = DecodeMode::automatic;
  /// Rows of a draft, the newest token included; 0 = as many as give most tokens a second by what
  /// was measured so far, which may be none.
  int draft_tokens = 0;
  /// Tokens of a block and of a canvas; 0 = the model's blocks, and canvases of those lengths in
  /// them that give most tokens a second.
  int block_length = 0;
  /// Whether a draft head sees what it saw of the text before, as it was trained; otherwise each of
  /// its rows is alone.
  bool has_head_history = true;
  /// Lets the mask token be chosen, as some reference implementations do. Otherwise it never is.
  bool allows_mask = false;
  /// Which positions of a canvas are fixed in a step. Required by block_diffusion.
  std::shared_ptr<const CanvasSampler> canvas_sampler;
  /// Tokens behind the text: block_diffusion then writes exactly max_tokens between prompt and
  /// these.
  std::vector<std::int32_t> suffix;
  DecodeObserver* observer = nullptr;  ///< Outlives the text.
};

/// What a text took beside its tokens.
struct DecodeCounts {
  int passes = 0;    ///< Behind the prompt.
  int rounds = 0;    ///< Verifications of drafts.
  int accepted = 0;  ///< Tokens that those rounds gave.
  int steps = 0;     ///< Over canvases, without those that settle them.
  int blocks = 0;    ///< Canvases that were finished.
};

}  // namespace quiver
