// Fuzzes the reader of plugin descriptors, which sees every file of a plugin folder.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "core/plugin/elf_descriptor.hpp"

namespace {

void require(bool is_true) {
  if (!is_true) std::abort();
}

/// What was accepted keeps the promises that lists and look-ups build on.
void check(const quiver::PluginDescriptor& descriptor) {
  require(quiver::is_plugin_name(descriptor.name) && !descriptor.offers.empty());
  require(quiver::is_printable_utf8(descriptor.summary));
  for (const quiver::PluginOffer& offer : descriptor.offers) {
    require(quiver::is_plugin_name(offer.name) && quiver::is_printable_utf8(offer.summary));
    require(!quiver::interface_id(offer.kind).empty());
    require((offer.kind == quiver::OfferKind::architecture) == !offer.model_types.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > (1U << 20U)) return 0;
  // The stamp of the corpus, which no sanitizer was built into.
  static const quiver::HostApi host{1, 0, "itanium libstdc++ cxx11=1 ptr8 plain"};
  const auto reading = quiver::read_descriptor(std::as_bytes(std::span(data, size)), host);
  if (!reading.refusal) check(reading.descriptor.value());
  require(quiver::is_printable_utf8(reading.refusal.reason));
  return 0;
}
