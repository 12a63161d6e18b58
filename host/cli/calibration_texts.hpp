// The texts that a command measures a model over: --calibration, --samples, --sequence-length.
#pragma once

#include "host/cli/arguments.hpp"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace quiver::cli {

inline constexpr OptionRow kCalibrationOption = {
    .name = "calibration",
    .value = "FILE",
    .help =
        "JSON lines {domain, text} or {domain, messages[, tools]}, a built-in mix where not "
        "given; a folder of pictures for a detector",
    .completes = Completes::file};

/// Tokens of `samples` texts through the tokenizer of the model in `folder`, taken as the reference
/// converter takes them with `is_optiq`. Warnings have been printed. Throws Error(bad_input) where
/// the file or the folder's tokenizer is not fit for it.
std::vector<std::vector<std::int32_t>> calibration_texts(const Arguments& arguments,
                                                         const std::filesystem::path& folder,
                                                         bool is_optiq);

}  // namespace quiver::cli
