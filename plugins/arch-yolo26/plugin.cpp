// The plugin arch-yolo26.
#include <quiver/bare_weights.hpp>
#include <quiver/plugin.hpp>
#include <quiver/written_names.hpp>

#include <algorithm>

#include "network.hpp"

namespace quiver::yolo26 {
namespace {

constexpr TensorRule drop(const char* from) {
  return {TensorRuleKind::drop, from, nullptr, nullptr, nullptr};
}
constexpr TensorRule rename(const char* from, const char* to) {
  return {TensorRuleKind::rename, from, to, nullptr, nullptr};
}

// Two layouts of names: that of training checkpoints, which the network takes, and that of the
// reference packages in memory, where lists and sequences have names of their own.
constexpr TensorRule kCheckpointRules[] = {
    {TensorRuleKind::prefix, "model.layers.", "model.", nullptr, nullptr},
    // The head for training, which predicts an object many times.
    drop("model.23.cv2.**"),
    drop("model.23.cv3.**"),
    // Constants that are parameters in one of the packages.
    drop("stride"),
    drop("model.*.stride"),
    rename("model.*.one2one_cv2.layer*.layers.**", "model.*.one2one_cv2.*.**"),
    rename("model.*.one2one_cv3.layer*.layers.0.**", "model.*.one2one_cv3.*.0.0.**"),
    rename("model.*.one2one_cv3.layer*.layers.1.**", "model.*.one2one_cv3.*.0.1.**"),
    rename("model.*.one2one_cv3.layer*.layers.2.**", "model.*.one2one_cv3.*.1.0.**"),
    rename("model.*.one2one_cv3.layer*.layers.3.**", "model.*.one2one_cv3.*.1.1.**"),
    rename("model.*.one2one_cv3.layer*.layers.4.**", "model.*.one2one_cv3.*.2.**"),
    rename("model.*.m.psa*.**", "model.*.m.*.**"),
    rename("model.*.m.*.layers.*.**", "model.*.m.*.*.**"),
};

// The way back, for folders that the reference package reads.
constexpr TensorRule kWrittenNames[] = {
    {TensorRuleKind::prefix, "model.", "model.layers.", nullptr, nullptr},
    rename("model.layers.*.one2one_cv3.*.2.**", "model.layers.*.one2one_cv3.layer*.layers.4.**"),
    rename("model.layers.*.one2one_cv3.*.0.0.**", "model.layers.*.one2one_cv3.layer*.layers.0.**"),
    rename("model.layers.*.one2one_cv3.*.0.1.**", "model.layers.*.one2one_cv3.layer*.layers.1.**"),
    rename("model.layers.*.one2one_cv3.*.1.0.**", "model.layers.*.one2one_cv3.layer*.layers.2.**"),
    rename("model.layers.*.one2one_cv3.*.1.1.**", "model.layers.*.one2one_cv3.layer*.layers.3.**"),
    rename("model.layers.*.one2one_cv2.*.*.**", "model.layers.*.one2one_cv2.layer*.layers.*.**"),
    rename("model.layers.10.m.*.**", "model.layers.10.m.psa*.**"),
    rename("model.layers.22.m.*.0.**", "model.layers.22.m.*.layers.0.**"),
    rename("model.layers.22.m.*.1.**", "model.layers.22.m.*.layers.1.**"),
};

/// Kernels of the head that predicts each object once, by both layouts of names; detectors of other
/// generations have no such head.
constexpr std::string_view kOwnKernels[] = {
    "model.23.one2one_cv2.0.0.conv.weight",
    "model.layers.23.one2one_cv2.layer0.layers.0.conv.weight"};

class YoloArchitecture : public Architecture, public WrittenNames, public BareWeights {
 public:
  Model* create(std::string_view, const Config& config, Weights& weights) const override {
    return new Network(config, weights);
  }
  std::span<const TensorRule> checkpoint_rules(std::string_view) const override {
    return kCheckpointRules;
  }
  std::span<const TensorRule> written_names(std::string_view) const override {
    return kWrittenNames;
  }
  const char* recognize(std::string_view, std::span<const std::string_view> names) const override {
    const bool is_own = std::ranges::any_of(kOwnKernels, [&](std::string_view kernel) {
      return std::ranges::find(names, kernel) != names.end();
    });
    return is_own ? "yolo26" : nullptr;
  }
  const void* extension(std::string_view id) const override {
    if (const void* names = provide<WrittenNames>(id, *this)) return names;
    return provide<BareWeights>(id, *this);
  }
};

const void* get(std::string_view id) {
  static const YoloArchitecture architecture;
  return provide<Architecture>(id, architecture);
}

}  // namespace
}  // namespace quiver::yolo26

QUIVER_PLUGIN(quiver::yolo26::get, "arch-yolo26", "1.0.0", "Apache-2.0",
              "YOLO26 detectors: scales n, s, m, l and x, each object predicted once",
              QUIVER_OFFER_ARCHITECTURE("yolo26", "Finds objects in pictures, without suppression",
                                        "yolo26,optiq-detector", ""));
