// Runs texts through a model block by block, and changed copies of the model from any block on.
#include "core/quantize/block_runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <quiver/error.hpp>

#include "core/decode/engine.hpp"
#include "core/decode/philox.hpp"
#include "core/eval/divergence.hpp"
#include "core/eval/perplexity.hpp"
#include "core/model/available_memory.hpp"

namespace quiver {
namespace {

// Rows of a pass: enough that reading the weights costs nothing beside multiplying them.
constexpr int kStackRows = 2048;
// Logits are made and compared this many at a time.
constexpr std::size_t kLogitChunk = std::size_t{1} << 25U;

/// One position in each of `count` equal stretches of a text, drawn once and for all.
std::vector<int> scored_positions(std::size_t length, int count, std::size_t text) {
  const auto rows = static_cast<int>(length);
  std::vector<int> positions;
  if (count <= 0 || count >= rows) {
    for (int i = 0; i < rows; ++i) positions.push_back(i);
    return positions;
  }
  for (int i = 0; i < count; ++i) {
    const auto first = static_cast<int>(std::int64_t{rows} * i / count);
    const auto last = static_cast<int>(std::int64_t{rows} * (i + 1) / count);
    const std::uint32_t draw =
        philox({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(text), 0, 0}, {})[0];
    positions.push_back(first + static_cast<int>(draw % static_cast<std::uint32_t>(last - first)));
  }
  return positions;
}

}  // namespace

struct BlockRunner::Pass {
  Batch batch;
  std::vector<Sequence> sequences;
};

BlockRunner::BlockRunner(std::shared_ptr<const LoadedModel> model, KvPlan kv, ThreadPool& threads,
                         std::vector<CalibrationInput> texts, int positions,
                         const WeightVariant& base)
    : model_(std::move(model)),
      kv_(std::move(kv)),
      threads_(threads),
      info_(model_->text().info()),
      layout_(cache_layout(model_->weights(), kv_)),
      base_(base),
      texts_(std::move(texts)) {
  for (std::size_t i = 0; i < texts_.size(); ++i) {
    if (texts_[i].tokens.empty()) {
      throw Error(ErrorCode::bad_input, "a calibration text has no tokens", "calibration",
                  "leave it out");
    }
    check_token_ids(texts_[i].tokens, info_.vocabulary);
    positions_.push_back(scored_positions(texts_[i].tokens.size(), positions, i));
  }
}

std::vector<std::vector<BlockRunner::Copy>> BlockRunner::stacks(int variants) const {
  std::vector<std::vector<Copy>> stacks;
  std::size_t rows = kStackRows;
  for (std::size_t text = 0; text < texts_.size(); ++text) {
    for (int variant = 0; variant < variants; ++variant) {
      if (rows + texts_[text].tokens.size() > kStackRows) {
        stacks.emplace_back();
        rows = 0;
      }
      stacks.back().push_back({static_cast<int>(text), variant});
      rows += texts_[text].tokens.size();
    }
  }
  return stacks;
}

void BlockRunner::begin(Pass& pass, std::span<const Copy> copies) {
  pass.sequences.reserve(copies.size());
  for (const Copy& copy : copies) {
    const CalibrationInput& text = texts_[static_cast<std::size_t>(copy.text)];
    // A variant's caches hold what the reference left in front of the current phase; pages that it
    // writes itself are its own.
    Sequence* sequence = &sequences_[static_cast<std::size_t>(copy.text)];
    if (copy.variant >= 0) sequence = &pass.sequences.emplace_back(*sequence);
    const auto rows = static_cast<int>(text.tokens.size());
    pass.batch.segments.push_back({sequence, pass.batch.rows(), rows, 0, RowForm::prompt,
                                   std::max(copy.variant, 0), text.visibility});
    for (int i = 0; i < rows; ++i) {
      pass.batch.tokens.push_back(text.tokens[static_cast<std::size_t>(i)]);
      pass.batch.positions.push_back({i, i, i});
    }
  }
}

Stream BlockRunner::stream(ForwardOps& ops, std::span<const Copy> copies) const {
  const auto gather = [&](const auto& values_of, int width) {
    std::vector<float> values;
    for (const Copy& copy : copies) {
      const std::vector<float>& part = values_of(streams_[static_cast<std::size_t>(copy.text)]);
      values.insert(values.end(), part.begin(), part.end());
    }
    return ops.adopt(values, width);
  };
  const KeptStream& first = streams_[static_cast<std::size_t>(copies[0].text)];
  Stream stream;
  stream.x = gather(
      [](const KeptStream& kept) -> auto& { return kept.x; }, first.width);
  for (std::size_t i = 0; i < Stream::kMaxSides; ++i) {
    if (first.side_widths[i] == 0) continue;
    stream.side[i] = gather(
        [i](const KeptStream& kept) -> auto& { return kept.sides[i]; }, first.side_widths[i]);
  }
  return stream;
}

void BlockRunner::keep(const ForwardOps& ops, const Stream& stream, std::span<const Copy> copies) {
  std::size_t row = 0;
  const auto take = [&](Tensor tensor, std::size_t rows, std::vector<float>& values, int& width) {
    values.clear();
    width = 0;
    if (!tensor) return;
    width = tensor.width;
    const auto size = static_cast<std::size_t>(width);
    const auto part = ops.values(tensor).subspan(row * size, rows * size);
    values.assign(part.begin(), part.end());
  };
  for (const Copy& copy : copies) {
    const std::size_t rows = texts_[static_cast<std::size_t>(copy.text)].tokens.size();
    KeptStream& kept = streams_[static_cast<std::size_t>(copy.text)];
    take(stream.x, rows, kept.x, kept.width);
    for (std::size_t i = 0; i < Stream::kMaxSides; ++i) {
      take(stream.side[i], rows, kept.sides[i], kept.side_widths[i]);
    }
    row += rows;
  }
}

void BlockRunner::run_phase(ForwardOps& ops, Stream& stream, int phase) const {
  if (phase == 0) {
    stream = model_->text().embed(ops);
    return;
  }
  ops.begin_block();
  model_->model().block(phase - 1, ops, stream);
  ops.end_block(stream);
}

void BlockRunner::finish(ForwardOps& ops, const Stream& stream, std::span<const Copy> copies,
                         const std::function<void(std::span<const std::pair<int, int>> rows,
                                                  std::span<const float> logits)>& take) const {
  std::vector<int> rows;
  std::vector<std::pair<int, int>> sources;
  int first_row = 0;
  for (std::size_t c = 0; c < copies.size(); ++c) {
    const auto text = static_cast<std::size_t>(copies[c].text);
    for (std::size_t p = 0; p < positions_[text].size(); ++p) {
      rows.push_back(first_row + positions_[text][p]);
      sources.emplace_back(static_cast<int>(c), static_cast<int>(p));
    }
    first_row += static_cast<int>(texts_[text].tokens.size());
  }
  Stream hidden;
  hidden.x = model_->text().finish(ops, stream);
  const std::size_t most =
      std::max<std::size_t>(16, kLogitChunk / static_cast<std::size_t>(info_.vocabulary));
  for (std::size_t first = 0; first < rows.size(); first += most) {
    const std::size_t count = std::min(most, rows.size() - first);
    ops.begin_block();  // the logits' memory ends with each step
    const Tensor selected = ops.select_rows(hidden.x, std::span(rows).subspan(first, count));
    const Tensor logits = model_->text().logits(ops, selected);
    take(std::span(sources).subspan(first, count), ops.values(logits));
    ops.end_block(hidden);
  }
}

WeightVariants BlockRunner::reference_weights() const {
  WeightVariants weights;
  for (const WeightChange& change : base_) {
    weights.replace_everywhere(*change.matrix, *change.other);
  }
  return weights;
}

void BlockRunner::require_memory() const {
  std::uint64_t rows = 0;
  for (const auto& positions : positions_) rows += positions.size();
  const std::uint64_t bytes = rows * static_cast<std::uint64_t>(info_.vocabulary) * sizeof(float);
  if (bytes <= available_memory() / 2) return;
  throw Error(ErrorCode::resources,
              fmt::format("the reference's predictions at {} tokens take {} MB, more than half of "
                          "the memory that is left",
                          rows, bytes / 1000000),
              "calibration", "score fewer positions of each text, or fewer texts");
}

void BlockRunner::begin_sequences() {
  sequences_.clear();
  for (const CalibrationInput& text : texts_) {
    sequences_.emplace_back(pool_, layout_).begin(static_cast<int>(text.tokens.size()));
  }
}

void BlockRunner::compare_with(const BlockRunner& reference) {
  begin_sequences();
  compared_ = &reference;
}

void BlockRunner::run_reference(const PhaseObserver& observer) {
  require_memory();
  const WeightVariants replaced = reference_weights();
  const auto vocabulary = static_cast<std::size_t>(info_.vocabulary);
  begin_sequences();
  reference_.assign(texts_.size(), {});
  streams_.assign(texts_.size(), {});
  for (std::size_t text = 0; text < texts_.size(); ++text) {
    reference_[text].resize(positions_[text].size() * vocabulary);
  }
  // Observers know the model's own matrices, not what stands for them.
  std::map<const StoredMatrix*, const StoredMatrix*> own;
  for (const WeightChange& change : base_) own.emplace(change.other, change.matrix);
  for (const auto& copies : stacks(1)) {
    Pass pass;
    begin(pass, copies);
    int phase = 0;
    ForwardMeans means{threads_, {ComputeMode::exact}, nullptr, &replaced, {}};
    if (observer) {
      means.observer = [&](const StoredMatrix& matrix, int rows, std::span<const float> values) {
        const auto found = own.find(&matrix);
        observer(phase, found == own.end() ? matrix : *found->second, rows, values);
      };
    }
    ForwardOps ops(model_->weights(), kv_, pass.batch, memory_, means);
    Stream stream;
    for (; phase + 1 < phases(); ++phase) run_phase(ops, stream, phase);
    finish(ops, stream, copies, [&](auto rows, std::span<const float> logits) {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const auto text =
            static_cast<std::size_t>(copies[static_cast<std::size_t>(rows[i].first)].text);
        std::ranges::copy(
            logits.subspan(i * vocabulary, vocabulary),
            reference_[text].begin() +
                static_cast<std::ptrdiff_t>(static_cast<std::size_t>(rows[i].second) * vocabulary));
      }
    });
  }
}

void BlockRunner::advance() {
  const WeightVariants replaced = reference_weights();
  for (auto& copies : stacks(1)) {
    for (Copy& copy : copies) copy.variant = -1;
    Pass pass;
    begin(pass, copies);
    ForwardOps ops(model_->weights(), kv_, pass.batch, memory_,
                   {threads_, {ComputeMode::exact}, nullptr, &replaced, {}});
    Stream kept = phase_ == 0 ? Stream{} : stream(ops, copies);
    run_phase(ops, kept, phase_);
    keep(ops, kept, copies);
  }
  ++phase_;
}

const float* BlockRunner::reference_row(int text, int position) const {
  return reference_[static_cast<std::size_t>(text)].data() +
         static_cast<std::size_t>(position) * static_cast<std::size_t>(info_.vocabulary);
}

std::vector<TextDivergences> BlockRunner::divergences(std::span<const WeightVariant> variants,
                                                      const std::function<bool()>& interrupted) {
  std::vector<TextDivergences> divergences;
  for (TextScores& score : scores(variants, false, interrupted)) {
    divergences.push_back(std::move(score.kl));
  }
  return divergences;
}

std::vector<TextScores> BlockRunner::scores(std::span<const WeightVariant> variants, bool wants_nll,
                                            const std::function<bool()>& interrupted) {
  WeightVariants replaced = reference_weights();
  for (std::size_t v = 0; v < variants.size(); ++v) {
    for (const WeightChange& change : variants[v]) {
      replaced.replace(static_cast<int>(v), *change.matrix, *change.other);
    }
  }
  std::vector<TextScores> scores(variants.size());
  for (TextScores& score : scores) {
    score.kl.resize(texts_.size());
    if (wants_nll) score.nll.resize(texts_.size());
  }
  for (const auto& copies : stacks(static_cast<int>(variants.size()))) {
    if (interrupted && interrupted()) throw Error(ErrorCode::interrupted, "interrupted");
    Pass pass;
    begin(pass, copies);
    ForwardOps ops(model_->weights(), kv_, pass.batch, memory_,
                   {threads_, {ComputeMode::exact}, nullptr, &replaced, {}});
    Stream state = phase_ == 0 ? Stream{} : stream(ops, copies);
    for (int phase = phase_; phase + 1 < phases(); ++phase) run_phase(ops, state, phase);
    finish(ops, state, copies, [&](auto rows, std::span<const float> logits) {
      add_scores(copies, rows, logits, scores);
    });
  }
  for (TextScores& score : scores) {
    std::vector<double> nll;
    for (std::size_t text = 0; text < texts_.size(); ++text) {
      const std::vector<int>& positions = positions_[text];
      score.kl[text] /= static_cast<double>(positions.size());
      if (!wants_nll || !texts_[text].is_text) continue;
      // The last token has none that follows it.
      const bool has_last = positions.back() + 1 == static_cast<int>(texts_[text].tokens.size());
      const auto followed = static_cast<double>(positions.size() - (has_last ? 1 : 0));
      nll.push_back(score.nll[text] / std::max(1.0, followed));
    }
    score.nll = std::move(nll);
  }
  return scores;
}

void BlockRunner::add_scores(std::span<const Copy> copies,
                             std::span<const std::pair<int, int>> rows,
                             std::span<const float> logits, std::span<TextScores> scores) {
  const auto vocabulary = static_cast<std::size_t>(info_.vocabulary);
  const bool wants_nll = !scores.empty() && !scores[0].nll.empty();
  const BlockRunner& reference = compared_ != nullptr ? *compared_ : *this;
  std::vector<std::pair<double, double>> values(rows.size());
  threads_.run(static_cast<int>(rows.size()), [&](int i, int) {
    const auto row = static_cast<std::size_t>(i);
    const Copy& copy = copies[static_cast<std::size_t>(rows[row].first)];
    const auto text = static_cast<std::size_t>(copy.text);
    const auto position = static_cast<std::size_t>(rows[row].second);
    const auto got = logits.subspan(row * vocabulary, vocabulary);
    values[row].first =
        kl_divergence({reference.reference_row(copy.text, rows[row].second), vocabulary}, got);
    const auto next = static_cast<std::size_t>(positions_[text][position]) + 1;
    if (wants_nll && texts_[text].is_text && next < texts_[text].tokens.size()) {
      values[row].second = negative_log_likelihood(got, texts_[text].tokens[next]);
    }
  });
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Copy& copy = copies[static_cast<std::size_t>(rows[i].first)];
    TextScores& score = scores[static_cast<std::size_t>(copy.variant)];
    score.kl[static_cast<std::size_t>(copy.text)] += values[i].first;
    if (wants_nll) score.nll[static_cast<std::size_t>(copy.text)] += values[i].second;
  }
}

}  // namespace quiver
