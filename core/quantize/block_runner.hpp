// Runs texts through a model block by block, and changed copies of the model from any block on.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/cache/kv_plan.hpp"
#include "core/cache/sequence.hpp"
#include "core/model/loaded_model.hpp"
#include "core/ops/forward_ops.hpp"
#include "core/quantize/calibration_input.hpp"
#include "core/threads/thread_pool.hpp"

namespace quiver {

/// One matrix of the model, and what stands for it.
struct WeightChange {
  const StoredMatrix* matrix;
  const StoredMatrix* other;
};

/// A copy of the model that differs in some matrices.
using WeightVariant = std::vector<WeightChange>;

/// A use of a matrix as the texts pass through: the phase, and the inputs [rows, columns]; none
/// where its rows are looked up.
using PhaseObserver = std::function<void(int phase, const StoredMatrix& matrix, int rows,
                                         std::span<const float> inputs)>;

/// What is between the reference and a variant, per text: KL(reference || variant) of the next
/// token's distribution in nats, mean over the text's scored positions.
using TextDivergences = std::vector<double>;

/// How a variant predicts the texts.
struct TextScores {
  TextDivergences kl;  ///< By text.
  /// Of those that are fed as text (CalibrationInput::is_text), in order: mean -log of the
  /// probability of the token that follows, in nats, over scored positions. Empty where not asked
  /// for.
  std::vector<double> nll;
};

/// A forward pass in phases: phase 0 embeds, phase 1 + i is block i, the last one makes logits. The
/// reference goes through them one by one and what it leaves behind stays, so a variant that
/// differs from some phase on costs that phase and those behind it. Everything is float32; a
/// variant's figures depend neither on what else is measured with it nor on the number of threads.
/// [one-call-at-a-time]
class BlockRunner {
 public:
  /// `kv` stores float32. Reference and variants are fed each text under its own visibility;
  /// `positions` tokens of each are scored, spread evenly, or all with 0.
  /// Matrices of `base` are replaced in the reference and in every variant that does not itself
  /// replace them. Threads outlive the object, and so do the matrices of `base`. Throws
  /// Error(bad_input) for ids outside the vocabulary and for a text without tokens.
  BlockRunner(std::shared_ptr<const LoadedModel> model, KvPlan kv, ThreadPool& threads,
              std::vector<CalibrationInput> texts, int positions, const WeightVariant& base = {});

  int phases() const noexcept { return model_->model().block_count() + 2; }

  /// The phase that advance() runs next.
  int phase() const noexcept { return phase_; }

  /// Runs the reference through the whole pass: what divergences() compares with. `observer` sees
  /// every use of a matrix. Called first, and once. Throws Error(resources) where the reference's
  /// predictions would take more than half of the memory that is left.
  void run_reference(const PhaseObserver& observer);

  /// In place of run_reference() and advance(): divergences() and scores() compare with what
  /// `reference` has predicted, another model with the same vocabulary and the same texts and
  /// positions. It outlives this object.
  void compare_with(const BlockRunner& reference);

  /// Runs the reference through the current phase, which is not the last.
  void advance();

  /// The divergence of each variant, text by text. Variants may change what the reference uses from
  /// the current phase on only. `interrupted` is asked now and then; true ends with
  /// Error(interrupted).
  std::vector<TextDivergences> divergences(std::span<const WeightVariant> variants,
                                           const std::function<bool()>& interrupted);

  /// The same with how well each variant predicts the texts themselves.
  std::vector<TextScores> scores(std::span<const WeightVariant> variants, bool wants_nll,
                                 const std::function<bool()>& interrupted);

 private:
  /// One copy of a text in a pass.
  struct Copy {
    int text;
    int variant;  ///< Among those of the call; -1 = the reference.
  };
  /// A text's stream in front of the current phase.
  struct KeptStream {
    std::vector<float> x;
    std::array<std::vector<float>, Stream::kMaxSides> sides;
    int width = 0;
    std::array<int, Stream::kMaxSides> side_widths{};
  };
  /// A pass over some copies, from the current phase on.
  struct Pass;

  void require_memory() const;
  void begin_sequences();
  WeightVariants reference_weights() const;
  std::vector<std::vector<Copy>> stacks(int variants) const;
  void begin(Pass& pass, std::span<const Copy> copies);
  Stream stream(ForwardOps& ops, std::span<const Copy> copies) const;
  void keep(const ForwardOps& ops, const Stream& stream, std::span<const Copy> copies);
  void run_phase(ForwardOps& ops, Stream& stream, int phase) const;
  /// Gives the logits of the copies' scored rows to `take`, some at a time: each row with its copy
  /// and the index of its position.
  void finish(ForwardOps& ops, const Stream& stream, std::span<const Copy> copies,
              const std::function<void(std::span<const std::pair<int, int>> rows,
                                       std::span<const float> logits)>& take) const;
  void add_scores(std::span<const Copy> copies, std::span<const std::pair<int, int>> rows,
                  std::span<const float> logits, std::span<TextScores> scores);
  const float* reference_row(int text, int position) const;

  std::shared_ptr<const LoadedModel> model_;
  KvPlan kv_;
  ThreadPool& threads_;
  TextModelInfo info_;
  CacheLayout layout_;
  PagePool pool_;
  WeightVariant base_;
  std::vector<CalibrationInput> texts_;
  std::vector<std::vector<int>> positions_;  ///< By text: the rows that are scored.
  ForwardMemory memory_;
  int phase_ = 0;
  std::vector<Sequence> sequences_;  ///< By text: what the reference's blocks have left so far.
  std::vector<KeptStream> streams_;
  std::vector<std::vector<float>> reference_;  ///< By text: logits [positions, vocabulary].
  const BlockRunner* compared_ = nullptr;      ///< Whose reference scores compare with, if not own.
};

}  // namespace quiver
