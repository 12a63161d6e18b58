// How a command keeps keys and values: --kv, --kv-config and --kv-recent.
#include "host/cli/kv_choice.hpp"

#include "core/decode/kv_config.hpp"
#include "core/plugin/offers.hpp"

namespace quiver::cli {

KvChoice choose_kv(const Session& session, const Arguments& arguments, const LoadedModel& model) {
  KvChoice choice{session.kv_strategy(arguments), {}};
  const auto caches = model.weights().kv_caches();
  choice.names.assign(caches.size(), arguments.text("kv"));
  if (arguments.has("kv-recent")) {
    constexpr int kMost = 1 << 30;  // so that positions can be added to it
    choice.plan.recent = static_cast<int>(arguments.integer("kv-recent", 1, kMost));
    choice.plan.fresh = session.kv_strategy(NamedOptions{.name = "f16", .options = ""});
  }
  if (!arguments.has("kv-config")) return choice;
  const auto path = arguments.path("kv-config");
  const auto config = read_kv_config(path);
  choice.plan.layers = kv_strategies(
      config, model.weights(),
      [&](std::string_view name, const OptionInput& options) {
        return create_kv_strategy(session.registry(), name, options);
      },
      path.string());
  for (const KvLayerConfig& layer : config) {
    for (std::size_t i = 0; i < caches.size(); ++i) {
      if (caches[i].block == layer.layer) choice.names[i] = layer.label;
    }
  }
  return choice;
}

}  // namespace quiver::cli
