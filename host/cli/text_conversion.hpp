// quiver convert on a model of texts.
#pragma once

#include "core/model/loaded_model.hpp"
#include "host/cli/conversion.hpp"

#include <filesystem>
#include <memory>

namespace quiver::cli {

/// What `convert` does with a model of texts in `folder`, whose tokenizer makes the tokens of the
/// calibration. Throws as convert().
void convert_text_model(const ConversionRun& run, const std::filesystem::path& folder,
                        const std::shared_ptr<const LoadedModel>& model);

}  // namespace quiver::cli
