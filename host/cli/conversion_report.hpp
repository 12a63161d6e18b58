// The result of a conversion for people and for programs.
#pragma once

#include "core/quantize/convert.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace quiver::cli {

/// {"layers": [{"name", "bits", "group_size", "kl", ..}], "bpw_true", "bpw_linear", "bytes",
/// "kl_measured", "seconds", ..}
nlohmann::ordered_json conversion_json(const Conversion& conversion, double seconds);

/// A line a layer: divergences at the widths, and the width it got.
std::string conversion_table(const Conversion& conversion, const std::vector<int>& widths);

/// Sizes, divergences and the comparison with uniform widths, as lines. `kl_unit` stands behind
/// divergences: " nats a token", or nothing.
std::string conversion_summary(const Conversion& conversion, const std::string& output,
                               double seconds, std::string_view kl_unit);

}  // namespace quiver::cli
