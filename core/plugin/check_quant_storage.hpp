// Matrices for the checks of quantization schemes: every way of storing, guarded buffers.
#pragma once

#include "core/plugin/guarded_buffer.hpp"
#include "core/plugin/plugin_library.hpp"

#include <quiver/quant_scheme.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace quiver {

/// What a matrix is stored as, and how wide it is.
struct QuantStorage {
  QuantFormat format;
  DType parameter_type;
  std::int64_t columns;
  std::array<QuantPart, QuantScheme::kMaxParts> parts{};
  int part_count = 0;

  /// For messages: "4 bits, groups of 64, f32 parameters, 192 columns".
  std::string label() const;

  std::size_t part_bytes(int part, std::int64_t rows) const;
};

/// Encoded rows: the bytes of each part.
using EncodedParts = std::vector<std::vector<std::byte>>;

/// The scheme of a plugin under test.
const QuantScheme& scheme_of(const PluginLibrary& library);

/// Every way of storing that the scheme knows, at a width that its groups divide. Fails the check
/// where what the scheme says of its parts makes no sense.
std::vector<QuantStorage> quant_storages(const QuantScheme& scheme);

/// Weights as models have them, the same at every run.
std::vector<float> check_weights(const QuantStorage& storage, std::int64_t rows);

/// Encodes rows by `encode`, a call like QuantScheme::encode, between forbidden pages; fails the
/// check where it writes beside a part. What it does not write differs from one `side` to the
/// other.
using EncodeCall =
    std::function<void(std::span<const float> weights, std::int64_t rows,
                       const QuantStorage& storage, std::span<const std::span<std::byte>> parts)>;
EncodedParts encode_guarded(const EncodeCall& encode, const QuantStorage& storage,
                            std::span<const float> weights, std::int64_t rows,
                            GuardSide side = GuardSide::after);

/// The same by the scheme's own encoder.
EncodedParts encode_guarded(const QuantScheme& scheme, const QuantStorage& storage,
                            std::span<const float> weights, std::int64_t rows,
                            GuardSide side = GuardSide::after);

/// Decodes from bytes that end at a forbidden page or begin at an odd address, as they may in a
/// file.
std::vector<float> decode_guarded(const QuantScheme& scheme, const QuantStorage& storage,
                                  const EncodedParts& encoded, std::int64_t rows,
                                  std::int64_t first, std::int64_t count,
                                  GuardSide side = GuardSide::after);

}  // namespace quiver
