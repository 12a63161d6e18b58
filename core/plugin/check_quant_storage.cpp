// Matrices for the checks of quantization schemes.
#include "core/plugin/check_quant_storage.hpp"

#include "core/plugin/check_support.hpp"

#include <algorithm>
#include <memory>
#include <optional>

namespace quiver {
namespace {

std::optional<QuantStorage> storage_of(const QuantScheme& scheme, const QuantFormat& format,
                                       DType type, std::int64_t columns) {
  QuantStorage result{.format = format, .parameter_type = type, .columns = columns};
  result.part_count = scheme.parts(format, columns, type, result.parts);
  if (result.part_count == 0) return std::nullopt;
  require(result.part_count > 0 && result.part_count <= QuantScheme::kMaxParts,
          "stores a matrix as " + std::to_string(result.part_count) + " parts");
  for (int i = 0; i < result.part_count; ++i) {
    const QuantPart& part = result.parts[static_cast<std::size_t>(i)];
    require(part.suffix != nullptr && part.suffix[0] == '.',
            "a part's suffix is not like '.weight'");
    require(part.columns > 0 && size_bytes(part.dtype) > 0, "a part is empty: " + result.label());
  }
  return result;
}

}  // namespace

std::string QuantStorage::label() const {
  const char* type = parameter_type == DType::f32   ? "f32"
                     : parameter_type == DType::f16 ? "f16"
                                                    : "bf16";
  return std::to_string(format.bits) + " bits, groups of " + std::to_string(format.group_size) +
         ", " + type + " parameters, " + std::to_string(columns) + " columns";
}

std::size_t QuantStorage::part_bytes(int part, std::int64_t rows) const {
  const QuantPart& p = parts[static_cast<std::size_t>(part)];
  return static_cast<std::size_t>(rows * p.columns) * size_bytes(p.dtype);
}

const QuantScheme& scheme_of(const PluginLibrary& library) {
  return provider_of<QuantScheme>(library);
}

std::vector<QuantStorage> quant_storages(const QuantScheme& scheme) {
  std::vector<QuantStorage> all;
  for (const QuantFormat& format : scheme.formats()) {
    require(format.bits >= 1 && format.bits <= 16,
            "a format has " + std::to_string(format.bits) + " bits");
    require(format.group_size >= 1 && format.group_size <= 4096,
            "a format has groups of " + std::to_string(format.group_size));
    bool has_type = false;
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
      const std::int64_t group = format.group_size;
      // A whole number of groups that also fills whole 32-bit words of codes.
      const auto found = storage_of(scheme, format, type, group * (group < 32 ? 96 : 3));
      if (found) all.push_back(*found);
      has_type |= found.has_value();
    }
    require(has_type, "lists a format that it cannot store: " + std::to_string(format.bits) +
                          " bits, groups of " + std::to_string(format.group_size));
  }
  require(!all.empty(), "knows no format");
  return all;
}

std::vector<float> check_weights(const QuantStorage& storage, std::int64_t rows) {
  std::vector<float> weights = check_noise(static_cast<std::size_t>(rows * storage.columns), 17);
  for (float& weight : weights) weight *= 0.08F;
  return weights;
}

EncodedParts encode_guarded(const EncodeCall& encode, const QuantStorage& storage,
                            std::span<const float> weights, std::int64_t rows, GuardSide side) {
  GuardedBuffer<float> input(weights.size(), side);
  std::ranges::copy(weights, input.data());
  input.make_read_only();
  std::vector<std::unique_ptr<GuardedBuffer<std::byte>>> buffers;
  std::vector<std::span<std::byte>> parts;
  for (int i = 0; i < storage.part_count; ++i) {
    buffers.push_back(
        std::make_unique<GuardedBuffer<std::byte>>(storage.part_bytes(i, rows), side, 8));
    parts.push_back(buffers.back()->span());
    // What the scheme does not write shows up as a difference between two encodings.
    std::ranges::fill(parts.back(), side == GuardSide::after ? std::byte{0x33} : std::byte{0xCC});
  }
  encode(input.span(), rows, storage, parts);
  EncodedParts encoded;
  for (const auto& buffer : buffers) {
    require(buffer->is_intact(), "encode writes beside a part: " + storage.label());
    encoded.emplace_back(buffer->span().begin(), buffer->span().end());
  }
  return encoded;
}

EncodedParts encode_guarded(const QuantScheme& scheme, const QuantStorage& storage,
                            std::span<const float> weights, std::int64_t rows, GuardSide side) {
  const EncodeCall call = [&](std::span<const float> input, std::int64_t count,
                              const QuantStorage& how,
                              std::span<const std::span<std::byte>> parts) {
    scheme.encode(input, count, how.columns, how.format, how.parameter_type, parts);
  };
  return encode_guarded(call, storage, weights, rows, side);
}

std::vector<float> decode_guarded(const QuantScheme& scheme, const QuantStorage& storage,
                                  const EncodedParts& encoded, std::int64_t rows,
                                  std::int64_t first, std::int64_t count, GuardSide side) {
  std::vector<std::unique_ptr<GuardedBuffer<std::byte>>> buffers;
  std::vector<std::span<const std::byte>> parts;
  for (const auto& bytes : encoded) {
    buffers.push_back(std::make_unique<GuardedBuffer<std::byte>>(bytes.size() + 1, side));
    std::ranges::copy(bytes, buffers.back()->data() + 1);
    buffers.back()->make_read_only();
    parts.emplace_back(buffers.back()->span().subspan(1));
  }
  const QuantizedMatrix matrix{.rows = rows,
                               .columns = storage.columns,
                               .format = storage.format,
                               .parameter_type = storage.parameter_type,
                               .parts = parts};
  GuardedBuffer<float> output(static_cast<std::size_t>(count * storage.columns), side);
  scheme.decode(matrix, first, count, output.span());
  require(output.is_intact(), "decode writes beside its output: " + storage.label());
  return {output.span().begin(), output.span().end()};
}

}  // namespace quiver
