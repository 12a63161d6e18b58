// --encoder, for every command that encodes weights.
#pragma once

#include "host/cli/option_table.hpp"

namespace quiver::cli {

inline constexpr OptionRow kEncoderOption = {
    .name = "encoder",
    .value = "NAME",
    .choices = "exact|refit|search",
    .default_value = "exact",
    .help =
        "How codes are chosen: as the format's own implementation does, by least squares, or by a "
        "search over ranges up to 4 bits"};

}  // namespace quiver::cli
