// What a plugin says about itself: its descriptor, as the host keeps it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// What a plugin can offer; the values are those of quiver_kind in <quiver/entry.h>.
enum class OfferKind : std::uint32_t {
  architecture = 1,
  sampler = 2,
  canvas_sampler = 3,
  quant_scheme = 4,
  kv_strategy = 5,
};

/// All kinds, in the order of their values.
inline constexpr OfferKind kOfferKinds[] = {OfferKind::architecture, OfferKind::sampler,
                                            OfferKind::canvas_sampler, OfferKind::quant_scheme,
                                            OfferKind::kv_strategy};

/// The kind as the command line writes it: architecture, sampler, canvas-sampler, quant, kv.
/// [any-thread]
std::string_view kind_name(OfferKind kind) noexcept;

/// The kind in a sentence: "KV strategy", "quantization scheme", .. [any-thread]
std::string_view kind_noun(OfferKind kind) noexcept;

/// Undoes kind_name(). [any-thread]
std::optional<OfferKind> parse_kind(std::string_view name) noexcept;

/// The interface that a plugin must provide for its offers of a kind, e.g. "quiver.sampler/1".
/// [any-thread]
std::string_view interface_id(OfferKind kind) noexcept;

/// One thing that a plugin offers.
struct PluginOffer {
  OfferKind kind = OfferKind::architecture;
  std::string name;
  std::string summary;
  std::vector<std::string> model_types;         ///< Architectures only.
  std::vector<std::string> gguf_architectures;  ///< Architectures only.

  bool operator==(const PluginOffer&) const = default;
};

/// Who a plugin is. All texts are printable UTF-8 in one line.
struct PluginDescriptor {
  std::string name;
  std::string version;
  std::string license;
  std::string summary;
  std::uint16_t api_major = 0;
  std::uint16_t api_minor = 0;
  std::string abi_stamp;
  std::vector<PluginOffer> offers;

  bool operator==(const PluginDescriptor&) const = default;
};

/// Whether a text may be printed as it is: well-formed UTF-8 without control characters, line
/// separators and characters that turn the writing direction. [any-thread]
bool is_printable_utf8(std::string_view text) noexcept;

/// A text of unknown origin as one printable line of at most `limit_bytes`: what
/// is_printable_utf8() refuses becomes a blank, and blanks shrink to one. [any-thread]
std::string one_line(std::string_view text, std::size_t limit_bytes = 400);

/// Whether a text is a name as entry.h allows them: 1 to 31 lower case letters, digits, '-', '_'
/// and
/// '.', a letter or digit first. [any-thread]
bool is_plugin_name(std::string_view text) noexcept;

}  // namespace quiver
