// What a conversion writes about itself, and what its checkpoint is recognized by.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>

#include "core/quantize/calibration_input.hpp"
#include "core/quantize/convert.hpp"

namespace quiver {

/// What identifies a model's weights without reading them all: sums over config and headers, and
/// over a piece of every tensor.
nlohmann::json model_record(const LoadedModel& model);

/// A sum over the calibration texts as they are fed.
nlohmann::json texts_record(std::span<const CalibrationInput> texts);

/// optiq_metadata.json, as the reference package writes it, with true sizes added.
nlohmann::json metadata(const Conversion& conversion, const ConvertOptions& options);

/// Writes what a draft head chooses from (see DraftVocabulary): what the texts use most. Nothing
/// for a model without such a head.
void write_draft_vocabulary(const LoadedModel& model, std::span<const CalibrationInput> texts,
                            const std::filesystem::path& folder);

/// sensitivity.json: the table of divergences, which read_sensitivity() and the reference package
/// read.
nlohmann::json sensitivity_record(const Conversion& conversion, const ConvertOptions& options,
                                  const FixedSize& fixed);

}  // namespace quiver
