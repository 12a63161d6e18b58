// A plugin's descriptor, read from its file without loading it.
#include "core/plugin/elf_descriptor.hpp"

#include "core/plugin/elf_file.hpp"

#include <quiver/entry.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quiver {
namespace {

// Far above what appended fields could ever need: 24 offers of 4 KiB and room for others.
constexpr std::size_t kMaxDescriptorBytes = 128 * 1024;
constexpr std::size_t kMaxOfferBytes = 4096;

constexpr std::size_t kOffersOffset = offsetof(quiver_descriptor, offers);

// What every reader of every API may rely on: who wrote the record, and for which API and ABI.
constexpr std::size_t kFrozenBytes = offsetof(quiver_descriptor, offer_size);

Refusal bad(std::string what) {
  return {PluginFault::bad_descriptor,
          "malformed plugin descriptor: " + std::move(what) + ": write it with QUIVER_PLUGIN"};
}

/// The text in a field; nothing where it has no end or must not be printed.
template <std::size_t Size>
std::optional<std::string> text_of(const char (&field)[Size]) {
  const char* const end = static_cast<const char*>(std::memchr(field, 0, Size));
  if (end == nullptr) return std::nullopt;
  std::string text(field, end);
  if (!is_printable_utf8(text)) return std::nullopt;
  return text;
}

bool is_word(std::string_view text) {
  constexpr std::string_view kPunctuation = "._-+";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kPunctuation.find(c) != std::string_view::npos;
  });
}

/// Splits "a,b"; nothing where an element is empty or holds anything but letters, digits and ._-+
std::optional<std::vector<std::string>> split_words(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view word = text.substr(0, comma);
    if (!is_word(word)) return std::nullopt;
    words.emplace_back(word);
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
    if (text.empty()) return std::nullopt;
  }
  return words;
}

/// Checks one row of the table, `index` of which is for the message.
Refusal parse_offer(const quiver_offer& raw, int index, PluginOffer& offer) {
  const auto name = text_of(raw.name);
  if (!name || !is_plugin_name(*name))
    return bad(fmt::format("offer {} has no proper name", index));
  if (raw.kind < QUIVER_KIND_ARCHITECTURE || raw.kind > QUIVER_KIND_KV_STRATEGY) {
    return bad(fmt::format("offer '{}' has the unknown kind {}", *name, raw.kind));
  }
  const auto summary = text_of(raw.summary);
  if (!summary) return bad(fmt::format("the summary of offer '{}' is no text", *name));
  const auto model_types = text_of(raw.model_types);
  const auto gguf_architectures = text_of(raw.gguf_architectures);
  const auto types = model_types ? split_words(*model_types) : std::nullopt;
  const auto imports = gguf_architectures ? split_words(*gguf_architectures) : std::nullopt;
  if (!types || !imports) {
    return bad(fmt::format("the model types of offer '{}' are no list of words", *name));
  }
  const bool is_architecture = raw.kind == QUIVER_KIND_ARCHITECTURE;
  if (is_architecture == types->empty() || (!is_architecture && !imports->empty())) {
    return bad(fmt::format("offer '{}' {}", *name,
                           is_architecture ? "names no model type"
                                           : "names model types, but is no "
                                             "architecture"));
  }
  offer = {static_cast<OfferKind>(raw.kind), *name, *summary, *types, *imports};
  return {};
}

Refusal parse_offers(std::span<const std::byte> record, std::size_t offer_size,
                     std::vector<PluginOffer>& offers) {
  for (int i = 0; i < QUIVER_MAX_OFFERS; ++i) {
    quiver_offer raw;
    std::memcpy(&raw, record.data() + kOffersOffset + static_cast<std::size_t>(i) * offer_size,
                sizeof raw);
    if (raw.kind == QUIVER_KIND_NONE) break;
    PluginOffer offer;
    if (Refusal refusal = parse_offer(raw, i, offer)) return refusal;
    const bool is_repeated =
        std::any_of(offers.begin(), offers.end(), [&](const PluginOffer& other) {
          return other.kind == offer.kind && other.name == offer.name;
        });
    if (is_repeated) return bad(fmt::format("offer '{}' stands there twice", offer.name));
    offers.push_back(std::move(offer));
  }
  return offers.empty() ? bad("it offers nothing") : Refusal{};
}

Refusal read_record(const ElfFile& file, const ByteSource& source, std::vector<std::byte>& record) {
  ElfSection section;
  if (Refusal refusal = file.find_section(QUIVER_DESCRIPTOR_SECTION, section)) return refusal;
  if (section.size < kFrozenBytes || section.size > kMaxDescriptorBytes) {
    return bad(fmt::format("a section of {} bytes", section.size));
  }
  record.resize(section.size);
  if (!source.read(section.offset, record)) {
    return {PluginFault::unreadable, "the descriptor cannot be read"};
  }
  return {};
}

/// The fields that stay what they are in every API: enough to refuse another one by its numbers.
Refusal parse_frozen(const quiver_descriptor& raw, PluginDescriptor& descriptor) {
  constexpr char kMagic[8] = QUIVER_DESCRIPTOR_MAGIC;
  if (std::memcmp(raw.magic, kMagic, sizeof kMagic) != 0) {
    return {PluginFault::bad_magic, "section " QUIVER_DESCRIPTOR_SECTION
                                    " does not begin with the magic of a plugin descriptor"};
  }
  const auto stamp = text_of(raw.abi_stamp);
  if (!stamp || stamp->empty()) return bad("its ABI stamp is no text");
  descriptor.api_major = raw.api_major;
  descriptor.api_minor = raw.api_minor;
  descriptor.abi_stamp = *stamp;
  return {};
}

/// Everything else, for an API that this host knows. `record` is the whole section.
Refusal parse_record(std::span<const std::byte> record, const quiver_descriptor& raw,
                     PluginDescriptor& descriptor) {
  if (raw.offer_size < sizeof(quiver_offer) || raw.offer_size > kMaxOfferBytes) {
    return bad(fmt::format("an offer of {} bytes", raw.offer_size));
  }
  if (raw.size < kOffersOffset + std::size_t{QUIVER_MAX_OFFERS} * raw.offer_size ||
      raw.size > record.size()) {
    return bad(fmt::format("a size of {} bytes in a section of {}", raw.size, record.size()));
  }
  // The linker pads the section to its alignment; more than that is a second record.
  if (record.size() - raw.size >= sizeof(quiver_descriptor)) return bad("more than one record");

  const auto version = text_of(raw.version);
  const auto license = text_of(raw.license);
  const auto summary = text_of(raw.summary);
  if (!version || !is_word(*version)) return bad("its version is no word");
  if (!license || license->empty()) return bad("its license is no text");
  if (!summary) return bad("its summary is no text");
  descriptor.version = *version;
  descriptor.license = *license;
  descriptor.summary = *summary;
  if (descriptor.name.empty()) {
    return bad("its name is not made of lower case letters, digits, '-', '_' and '.'");
  }
  return parse_offers(record, raw.offer_size, descriptor.offers);
}

}  // namespace

HostApi host_api() {
  return {QUIVER_API_MAJOR, QUIVER_API_MINOR, QUIVER_ABI_STAMP};
}

Refusal check_compatibility(const PluginDescriptor& descriptor, const HostApi& host) {
  const std::string sides =
      fmt::format("built for API {}.{}, this host speaks {}.{}", descriptor.api_major,
                  descriptor.api_minor, host.api_major, host.api_minor);
  if (descriptor.api_major != host.api_major) {
    return {PluginFault::api_major,
            fmt::format("{}: rebuild it with SDK {}.x, or {} Quiver", sides, host.api_major,
                        descriptor.api_major > host.api_major ? "update" : "use an older")};
  }
  if (descriptor.api_minor > host.api_minor) {
    return {PluginFault::api_minor, fmt::format("{}: update Quiver, or rebuild it with SDK {}.{}",
                                                sides, host.api_major, host.api_minor)};
  }
  if (descriptor.abi_stamp != host.abi_stamp) {
    return {PluginFault::abi_stamp,
            fmt::format("built with the ABI \"{}\", this host has \"{}\": rebuild it with the same "
                        "standard library and sanitizers as the host",
                        descriptor.abi_stamp, host.abi_stamp)};
  }
  return {};
}

Refusal read_descriptor_section(const ByteSource& source, std::vector<std::byte>& record) {
  ElfFile file(source);
  if (Refusal refusal = file.open()) return refusal;
  return read_record(file, source, record);
}

DescriptorReading read_descriptor(const ByteSource& source, const HostApi& host) {
  ElfFile file(source);
  std::vector<std::byte> record;
  if (Refusal refusal = file.open()) return {std::nullopt, std::move(refusal)};
  if (Refusal refusal = read_record(file, source, record)) {
    return {std::nullopt, std::move(refusal)};
  }
  quiver_descriptor raw{};
  std::memcpy(&raw, record.data(), std::min(record.size(), sizeof raw));

  PluginDescriptor descriptor;
  if (Refusal refusal = parse_frozen(raw, descriptor)) return {std::nullopt, std::move(refusal)};
  if (const auto name = text_of(raw.name); name && is_plugin_name(*name)) descriptor.name = *name;
  if (Refusal refusal = check_compatibility(descriptor, host)) {
    // Lists should still show what it would have been, as far as this host can tell: another major
    // may lay out the rest differently, another minor may offer kinds that this one does not know.
    PluginDescriptor complete = descriptor;
    const bool is_known =
        descriptor.api_major == host.api_major && !parse_record(record, raw, complete);
    return {is_known ? std::move(complete) : std::move(descriptor), std::move(refusal)};
  }
  if (Refusal refusal = parse_record(record, raw, descriptor)) {
    return {std::nullopt, std::move(refusal)};
  }
  Refusal refusal = file.check_exported_object(QUIVER_ENTRY_SYMBOL, sizeof(quiver_plugin_entry));
  return {std::move(descriptor), std::move(refusal)};
}

DescriptorReading read_descriptor(std::span<const std::byte> bytes, const HostApi& host) {
  return read_descriptor(MemoryBytes(bytes), host);
}

}  // namespace quiver
