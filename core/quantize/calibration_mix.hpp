// The calibration text that comes with the program, compiled into it.
#pragma once

#include <string_view>

namespace quiver {

/// core/quantize/calibration_mix.jsonl as it is. [any-thread]
std::string_view calibration_mix() noexcept;

}  // namespace quiver
