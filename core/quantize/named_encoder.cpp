// One of a scheme's encoders, asked for by name.
#include "core/quantize/named_encoder.hpp"

#include "core/plugin/call_plugin.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>

#include <utility>

namespace quiver {

NamedEncoder::NamedEncoder(const QuantScheme& scheme, std::string name)
    : scheme_(scheme), name_(std::move(name)) {
  if (name_ == "exact") return;
  std::string all = "exact";
  call_plugin(scheme.name(), "asked for its encoders", [&] {
    const auto* found =
        static_cast<const QuantEncoder*>(scheme.extension(QuantEncoder::kInterfaceId));
    if (found == nullptr) return;
    for (const QuantEncoderInfo& info : found->encoders()) {
      if (info.name == nullptr) throw Error(ErrorCode::plugin, "an encoder has no name");
      if (info.name != std::string_view("exact")) all += fmt::format(", {}", info.name);
      if (info.name != name_) continue;
      encoder_ = found;
      uses_importance_ = info.uses_importance;
    }
  });
  if (encoder_ != nullptr) return;
  throw Error(ErrorCode::usage,
              fmt::format("the scheme '{}' has no encoder '{}'", scheme.name(), name_), "--encoder",
              "its encoders are " + all);
}

void NamedEncoder::encode(std::span<const float> weights, std::int64_t rows, std::int64_t columns,
                          const QuantFormat& format, DType parameter_type,
                          std::span<const float> importance,
                          std::span<const std::span<std::byte>> parts) const {
  if (encoder_ == nullptr) {
    scheme_.encode(weights, rows, columns, format, parameter_type, parts);
  } else {
    encoder_->encode(name_, weights, rows, columns, format, parameter_type, importance, parts);
  }
}

}  // namespace quiver
