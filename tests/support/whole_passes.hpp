// What quantizing a layer costs, by passes of whole models that know nothing of sweeps.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "core/eval/divergence.hpp"
#include "core/quantize/quantized_folder.hpp"
#include "tests/support/models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {

/// Logits of every token of a text in one pass under its visibility.
inline Logits whole_pass(Engine& engine, const CalibrationInput& text) {
  Sequence sequence = engine.new_sequence();
  const Feed feed{&sequence, text.tokens, Wanted::all, RowForm::prompt, text.visibility};
  Logits logits = engine.forward({&feed, 1});
  sequence.accept(logits.rows);
  return logits;
}

/// KL(reference || model), mean over the tokens of a text and over texts.
inline double divergence_by_hand(Engine& reference, Engine& model,
                                 std::span<const CalibrationInput> texts) {
  double sum = 0;
  for (const CalibrationInput& text : texts) {
    const Logits want = whole_pass(reference, text);
    const Logits got = whole_pass(model, text);
    double kl = 0;
    for (int row = 0; row < want.rows; ++row) kl += kl_divergence(want.row(row), got.row(row));
    sum += kl / want.rows;
  }
  return sum / static_cast<double>(texts.size());
}

/// Writes the model with one layer quantized, all others as they are.
inline void write_with_layer(const LoadedModel& model, std::span<const QuantizableLayer> layers,
                             std::size_t index, const QuantFormat& format,
                             const MatrixEncoder& encoder, const std::filesystem::path& folder) {
  std::vector<LayerFormat> formats(layers.size());
  formats[index] = {format.bits, format.group_size};
  ThreadPool threads(2);
  write_quantized_folder({model, layers, formats, encoder}, folder, threads, {});
}

}  // namespace quiver::test
