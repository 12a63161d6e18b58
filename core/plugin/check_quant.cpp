// Checks of quantization schemes.
#include "core/plugin/check_support.hpp"
#include "core/plugin/guarded_buffer.hpp"

#include <quiver/error.hpp>
#include <quiver/quant_scheme.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace quiver {
namespace {

constexpr int kThreads = 4;
constexpr std::int64_t kRows = 5;

/// What a matrix is stored as, and how wide it is.
struct Storage {
  QuantFormat format;
  DType parameter_type;
  std::int64_t columns;
  std::array<QuantPart, QuantScheme::kMaxParts> parts{};
  int part_count = 0;

  std::string label() const {
    const char* type = parameter_type == DType::f32   ? "f32"
                       : parameter_type == DType::f16 ? "f16"
                                                      : "bf16";
    return std::to_string(format.bits) + " bits, groups of " + std::to_string(format.group_size) +
           ", " + type + " parameters, " + std::to_string(columns) + " columns";
  }

  std::size_t part_bytes(int part, std::int64_t rows) const {
    const QuantPart& p = parts[static_cast<std::size_t>(part)];
    return static_cast<std::size_t>(rows * p.columns) * size_bytes(p.dtype);
  }
};

/// Encoded rows: the bytes of each part.
using Encoded = std::vector<std::vector<std::byte>>;

const QuantScheme& scheme_of(const PluginLibrary& library) {
  return provider_of<QuantScheme>(library);
}

std::optional<Storage> storage(const QuantScheme& scheme, const QuantFormat& format, DType type,
                               std::int64_t columns) {
  Storage result{.format = format, .parameter_type = type, .columns = columns};
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

/// Every way of storing that the scheme knows, at a width that its groups divide.
std::vector<Storage> storages(const QuantScheme& scheme) {
  std::vector<Storage> all;
  for (const QuantFormat& format : scheme.formats()) {
    require(format.bits >= 1 && format.bits <= 16,
            "a format has " + std::to_string(format.bits) + " bits");
    require(format.group_size >= 1 && format.group_size <= 4096,
            "a format has groups of " + std::to_string(format.group_size));
    bool has_type = false;
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
      const std::int64_t group = format.group_size;
      // A whole number of groups that also fills whole 32-bit words of codes.
      const auto found = storage(scheme, format, type, group * (group < 32 ? 96 : 3));
      if (found) all.push_back(*found);
      has_type |= found.has_value();
    }
    require(has_type, "lists a format that it cannot store: " + std::to_string(format.bits) +
                          " bits, groups of " + std::to_string(format.group_size));
  }
  require(!all.empty(), "knows no format");
  return all;
}

std::vector<float> weights_of(const Storage& storage, std::int64_t rows) {
  std::vector<float> weights = check_noise(static_cast<std::size_t>(rows * storage.columns), 17);
  for (float& weight : weights) weight *= 0.08F;
  return weights;
}

Encoded encode(const QuantScheme& scheme, const Storage& storage, std::span<const float> weights,
               std::int64_t rows, GuardSide side = GuardSide::after) {
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
  scheme.encode(input.span(), rows, storage.columns, storage.format, storage.parameter_type, parts);
  Encoded encoded;
  for (const auto& buffer : buffers) {
    require(buffer->is_intact(), "encode writes beside a part: " + storage.label());
    encoded.emplace_back(buffer->span().begin(), buffer->span().end());
  }
  return encoded;
}

/// Decodes from bytes that end at a forbidden page or begin at an odd address, as they may in a
/// file.
std::vector<float> decode(const QuantScheme& scheme, const Storage& storage, const Encoded& encoded,
                          std::int64_t rows, std::int64_t first, std::int64_t count,
                          GuardSide side = GuardSide::after) {
  std::vector<std::unique_ptr<GuardedBuffer<std::byte>>> buffers;
  std::vector<std::span<const std::byte>> parts;
  for (const auto& bytes : encoded) {
    buffers.push_back(std::make_unique<GuardedBuffer<std::byte>>(bytes.size() + 1, side));
    std::ranges::copy(bytes, buffers.back()->data() + 1);
    buffers.back()->make_read_only();
    parts.push_back(buffers.back()->span().subspan(1));
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

std::string check_formats(const PluginLibrary& library, const PluginOffer& offer) {
  const QuantScheme& scheme = scheme_of(library);
  require(scheme.name() == offer.name, "calls itself '" + std::string(scheme.name()) + "'");
  const auto all = storages(scheme);
  std::array<QuantPart, QuantScheme::kMaxParts> parts{};
  for (const QuantFormat& wrong : {QuantFormat{0, 64}, QuantFormat{-4, 64}, QuantFormat{4, 0},
                                   QuantFormat{4, -64}, QuantFormat{1000, 64}}) {
    require(scheme.parts(wrong, 192, DType::f32, parts) == 0,
            "takes a format of " + std::to_string(wrong.bits) + " bits in groups of " +
                std::to_string(wrong.group_size));
  }
  return std::to_string(scheme.formats().size()) + " formats, stored in " +
         std::to_string(all.size()) + " ways";
}

std::string check_ragged(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  std::array<QuantPart, QuantScheme::kMaxParts> parts{};
  for (const Storage& s : storages(scheme)) {
    const std::int64_t group = s.format.group_size;
    for (const std::int64_t columns : {std::int64_t{0}, std::int64_t{-group}, s.columns + 1,
                                       s.columns + group / 2, s.columns - 1}) {
      if (columns > 0 && columns % group == 0) continue;
      require(
          scheme.parts(s.format, columns, s.parameter_type, parts) == 0,
          "takes " + std::to_string(columns) + " columns in groups of " + std::to_string(group));
    }
  }
  return {};
}

/// Root of the mean squared error relative to that of the weights. A scheme that is as good as
/// rounding to 2^bits even steps over +-2.5 sigma stays below half of this; beyond eight bits the
/// rounding of bf16 parameters dominates.
double error_bound(int bits) {
  return std::clamp(std::exp2(2.0 - bits), 1.0 / 64, 0.9);
}

std::string check_error(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  double worst = 0;
  for (const Storage& s : storages(scheme)) {
    const std::vector<float> weights = weights_of(s, kRows);
    const auto decoded = decode(scheme, s, encode(scheme, s, weights, kRows), kRows, 0, kRows);
    double squares = 0;
    double errors = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      require(std::isfinite(decoded[i]), "decodes to something not finite: " + s.label());
      squares += static_cast<double>(weights[i]) * weights[i];
      errors += std::pow(static_cast<double>(weights[i]) - decoded[i], 2);
    }
    const double relative = std::sqrt(errors / squares);
    require(relative <= error_bound(s.format.bits),
            "the relative error is " + std::to_string(relative) + ", above " +
                std::to_string(error_bound(s.format.bits)) + ": " + s.label());
    worst = std::max(worst, relative);
  }
  return "relative error at most " + std::to_string(worst);
}

std::string check_deterministic(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  for (const Storage& s : storages(scheme)) {
    const std::vector<float> weights = weights_of(s, kRows);
    const Encoded encoded = encode(scheme, s, weights, kRows);
    require(encoded == encode(scheme, s, weights, kRows, GuardSide::before),
            "encodes to other bytes the second time, or leaves some unwritten: " + s.label());
    const auto all = decode(scheme, s, encoded, kRows, 0, kRows);
    require(has_same_bits(all, decode(scheme, s, encoded, kRows, 0, kRows, GuardSide::before)),
            "decodes to other bits the second time: " + s.label());
    // A row alone, and among others.
    const auto columns = static_cast<std::size_t>(s.columns);
    const std::span<const float> third(weights.data() + 2 * columns, columns);
    const Encoded row = encode(scheme, s, third, 1);
    const std::span<const float> expected(all.data() + 2 * columns, columns);
    const auto alone = decode(scheme, s, row, 1, 0, 1);
    require(has_same_bits(std::span<const float>(alone), expected),
            "encodes a row otherwise among others: " + s.label());
    const auto inside = decode(scheme, s, encoded, kRows, 2, 1);
    require(has_same_bits(std::span<const float>(inside), expected),
            "decodes a row otherwise among others: " + s.label());
  }
  return {};
}

std::string check_saved(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  for (const Storage& s : storages(scheme)) {
    const Encoded encoded = encode(scheme, s, weights_of(s, kRows), kRows);
    // Straight from aligned memory, and from bytes as a mapped file has them.
    std::vector<std::span<const std::byte>> parts(encoded.begin(), encoded.end());
    const QuantizedMatrix matrix{.rows = kRows,
                                 .columns = s.columns,
                                 .format = s.format,
                                 .parameter_type = s.parameter_type,
                                 .parts = parts};
    std::vector<float> direct(static_cast<std::size_t>(kRows * s.columns));
    scheme.decode(matrix, 0, kRows, direct);
    require(has_same_bits(direct, decode(scheme, s, encoded, kRows, 0, kRows, GuardSide::before)),
            "decodes saved bytes otherwise than its own: " + s.label());
  }
  return {};
}

std::string check_edges(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  for (const Storage& s : storages(scheme)) {
    for (const float value : {0.0F, -0.0F, 1.0F, -2.5F, 1e-38F, 6e4F}) {
      const std::vector<float> weights(static_cast<std::size_t>(s.columns), value);
      for (const float decoded : decode(scheme, s, encode(scheme, s, weights, 1), 1, 0, 1)) {
        require(std::isfinite(decoded), "turns a row of " + std::to_string(value) +
                                            " into something not finite: " + s.label());
        require(value != 0 || decoded == 0, "turns zeros into something else: " + s.label());
      }
    }
  }
  return {};
}

std::string check_not_finite(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  using Limits = std::numeric_limits<float>;
  for (const Storage& s : storages(scheme)) {
    for (const float value : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
      std::vector<float> weights = weights_of(s, kRows);
      weights[weights.size() - 2] = value;
      bool is_refused = false;
      try {
        encode(scheme, s, weights, kRows);
      } catch (const Error& error) {
        is_refused = true;
        require(error.code() == ErrorCode::bad_input,
                "refuses it with another code than bad_input");
      }
      require(is_refused, "encodes weights that are not finite: " + s.label());
    }
  }
  return {};
}

std::string check_threads(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  const std::vector<Storage> all = storages(scheme);
  std::vector<Encoded> encoded;
  std::vector<std::vector<float>> decoded;
  for (const Storage& s : all) {
    encoded.push_back(encode(scheme, s, weights_of(s, kRows), kRows));
    decoded.push_back(decode(scheme, s, encoded.back(), kRows, 0, kRows));
  }
  run_in_threads(kThreads, [&](int thread) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::size_t which = (i + static_cast<std::size_t>(thread)) % all.size();
      const Storage& s = all[which];
      const Encoded again = encode(scheme, s, weights_of(s, kRows), kRows);
      require(again == encoded[which] &&
                  has_same_bits(decode(scheme, s, again, kRows, 0, kRows), decoded[which]),
              "other threads change the bits: " + s.label());
    }
  });
  return std::to_string(kThreads) + " threads";
}

/// What core's own kernels would read out of parts that a scheme says are `affine`.
std::string check_packed_format(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  int packed = 0;
  for (const Storage& s : storages(scheme)) {
    const PackedFormat format = scheme.packed_format(s.format);
    if (format == PackedFormat::none) continue;
    require(format == PackedFormat::affine, "names an unknown packed format");
    ++packed;
    const bool is_affine = s.part_count == 3 && std::string(s.parts[0].suffix) == ".weight" &&
                           std::string(s.parts[1].suffix) == ".scales" &&
                           std::string(s.parts[2].suffix) == ".biases" &&
                           s.parts[1].dtype == s.parameter_type &&
                           s.parts[2].dtype == s.parameter_type &&
                           s.parts[1].columns == s.columns / s.format.group_size &&
                           s.parts[2].columns == s.parts[1].columns &&
                           s.part_bytes(0, 1) * 8 == static_cast<std::size_t>(s.columns) *
                                                         static_cast<std::size_t>(s.format.bits);
    require(is_affine, "says its parts are affine, but they are not: " + s.label());
    if (s.parameter_type != DType::f32) continue;
    const Encoded encoded = encode(scheme, s, weights_of(s, 1), 1);
    const auto decoded = decode(scheme, s, encoded, 1, 0, 1);
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      std::uint32_t code = 0;
      for (std::size_t bit = 0; bit < static_cast<std::size_t>(s.format.bits); ++bit) {
        const std::size_t at = i * static_cast<std::size_t>(s.format.bits) + bit;
        const auto byte = std::to_integer<std::uint32_t>(encoded[0][at / 8]);
        code |= (byte >> (at % 8) & 1U) << bit;
      }
      const std::size_t group = i / static_cast<std::size_t>(s.format.group_size);
      float scale = 0;
      float bias = 0;
      std::memcpy(&scale, encoded[1].data() + 4 * group, sizeof scale);
      std::memcpy(&bias, encoded[2].data() + 4 * group, sizeof bias);
      // In two statements, so that no compiler fuses them.
      const volatile float product = scale * static_cast<float>(code);
      require(decoded[i] == product + bias,
              "decodes otherwise than scale * code + bias: " + s.label());
    }
  }
  if (packed == 0) throw CheckSkipped("maps to none of core's packed formats");
  return {};
}

using QuantCheck = std::string (*)(const PluginLibrary&, const PluginOffer&);

}  // namespace

void add_quant_checks(const PluginOffer& offer, std::vector<Check>& plan) {
  constexpr std::array<std::pair<const char*, QuantCheck>, 9> kChecks{
      {{"formats-valid", check_formats},
       {"ragged-columns-refused", check_ragged},
       {"error-bounded", check_error},
       {"deterministic-within-buffers", check_deterministic},
       {"saved-equals-direct", check_saved},
       {"edge-inputs", check_edges},
       {"non-finite-weights-refused", check_not_finite},
       {"independent-of-threads", check_threads},
       {"packed-format-true", check_packed_format}}};
  for (const auto& [name, check] : kChecks) {
    plan.push_back({offer.name + "/" + name, [offer, check = check](const CheckSubject& subject) {
                      return check(*subject.load(), offer);
                    }});
  }
}

void exercise_quant(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  const Storage s = storages(scheme).front();
  decode(scheme, s, encode(scheme, s, weights_of(s, kRows), kRows), kRows, 0, kRows);
}

}  // namespace quiver
