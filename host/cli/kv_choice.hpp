// How a command keeps keys and values: --kv, --kv-config and --kv-recent.
#pragma once

#include "core/cache/kv_plan.hpp"
#include "core/model/loaded_model.hpp"
#include "host/cli/session.hpp"

#include <string>
#include <vector>

namespace quiver::cli {

inline constexpr OptionRow kKvConfigOption = {
    .name = "kv-config",
    .value = "FILE",
    .help =
        "kv_config.json with the bits of each layer's keys and values; --kv holds for layers "
        "that it leaves out",
    .completes = Completes::file};
inline constexpr OptionRow kKvRecentOption = {
    .name = "kv-recent",
    .value = "N",
    .help = "Keep at least the newest N tokens as f16 in layers that are stored in fewer bits"};

/// What was chosen, and its names for people.
struct KvChoice {
  KvPlan plan;
  std::vector<std::string> names;  ///< By KvCache::id.
};

/// The choice for a model. Throws Error(usage), Error(plugin), or Error(bad_input) naming the layer
/// of the file.
KvChoice choose_kv(const Session& session, const Arguments& arguments, const LoadedModel& model);

}  // namespace quiver::cli
