// Measuring several models in one call, and showing them beside one another.
#pragma once

#include "host/cli/arguments.hpp"

#include <nlohmann/json_fwd.hpp>

#include <span>
#include <string>
#include <vector>

namespace quiver::cli {

/// --also, for commands that measure MODEL.
inline constexpr OptionRow kAlsoOption = {.name = "also",
                                          .value = "MODEL",
                                          .help = "Measure this model too, and compare",
                                          .is_repeatable = true,
                                          .completes = Completes::folder};

/// MODEL and those of --also, as they were written. [any-thread]
std::vector<std::string> models_of(const Arguments& arguments);

/// A table with a row a model. `rows[i]` belongs to `models[i]` and has a cell a heading; numbers
/// stand on the right. [any-thread]
std::string side_by_side(std::span<const std::string> models, std::span<const std::string> headings,
                         std::span<const std::vector<std::string>> rows);

/// The figures of the first model, and "models" with those of all, each with its "model".
/// [any-thread]
nlohmann::ordered_json side_by_side_json(std::span<const std::string> models,
                                         std::span<const nlohmann::ordered_json> figures);

}  // namespace quiver::cli
