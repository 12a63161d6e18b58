// --encoder, for every command that encodes weights.
#pragma once

#include "host/cli/option_table.hpp"

namespace quiver::cli {

inline constexpr OptionRow kEncoderOption = {
    .name = "encoder",
    .value = "NAME",
    .default_value = "exact",
    .help =
        "How codes are chosen: exact, as the format's own implementation does; of the scheme "
        "affine "
        "also refit, by least squares, and search, over ranges up to 4 bits"};

}  // namespace quiver::cli
