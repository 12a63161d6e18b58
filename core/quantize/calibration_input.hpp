// Calibration texts as a model is fed them.
#pragma once

#include <cstdint>
#include <quiver/visibility.hpp>
#include <vector>

#include "core/model/loaded_model.hpp"

namespace quiver {

/// One calibration text as the model sees it, whole and from position 0.
struct CalibrationInput {
  std::vector<std::int32_t> tokens;
  Visibility visibility{};
  /// Whether it is text that is read causally. Only then does the likelihood of the tokens that
  /// follow mean anything: elsewhere tokens are masks, or rows see what they are to predict.
  bool is_text = true;
};

/// The texts as they are, under the causal rule. [any-thread]
std::vector<CalibrationInput> plain_inputs(std::vector<std::vector<std::int32_t>> texts);

/// The texts as the model wants to be measured with them, see CalibrationProbes; as they are where
/// it does not say. Throws Error(bad_input) for ids outside the vocabulary, and Error(plugin) where
/// the model answers with such ids or with a rule that does not exist. [any-thread]
std::vector<CalibrationInput> calibration_inputs(const LoadedModel& model,
                                                 std::vector<std::vector<std::int32_t>> texts);

}  // namespace quiver
