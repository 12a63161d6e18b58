// An architecture plugin whose create() throws what the config's model type asks for.
#include <quiver/architecture.hpp>
#include <quiver/plugin.hpp>

#include <stdexcept>

namespace {

class Wagon final : public quiver::Architecture {
 public:
  quiver::Model* create(std::string_view, const quiver::Config&, quiver::Weights&) const override {
    throw std::runtime_error("the wagon has no wheels");
  }

  std::span<const quiver::TensorRule> checkpoint_rules(std::string_view offer) const override {
    if (offer == "int") throw 42;
    return {};
  }

  const void* extension(std::string_view) const override { return nullptr; }
};

const Wagon wagon;

const void* get(std::string_view id) {
  return quiver::provide<quiver::Architecture>(id, wagon);
}

}  // namespace

QUIVER_PLUGIN(get, SUBJECT_NAME, "2.1.0", "MIT", "Runs wagons",
              QUIVER_OFFER_ARCHITECTURE(SUBJECT_OFFER, "Runs wagons", SUBJECT_TYPES, "wagon-gguf"));
