// Checks of quantization schemes.
#include "core/plugin/check_quant_storage.hpp"
#include "core/plugin/check_support.hpp"

#include <quiver/error.hpp>
#include <quiver/quant_scheme.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace quiver {
namespace {

constexpr int kThreads = 4;
constexpr std::int64_t kRows = 5;

std::string check_formats(const PluginLibrary& library, const PluginOffer& offer) {
  const QuantScheme& scheme = scheme_of(library);
  require(scheme.name() == offer.name, "calls itself '" + std::string(scheme.name()) + "'");
  const auto all = quant_storages(scheme);
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
  for (const QuantStorage& s : quant_storages(scheme)) {
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
  for (const QuantStorage& s : quant_storages(scheme)) {
    const std::vector<float> weights = check_weights(s, kRows);
    const auto decoded =
        decode_guarded(scheme, s, encode_guarded(scheme, s, weights, kRows), kRows, 0, kRows);
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
  for (const QuantStorage& s : quant_storages(scheme)) {
    const std::vector<float> weights = check_weights(s, kRows);
    const EncodedParts encoded = encode_guarded(scheme, s, weights, kRows);
    require(encoded == encode_guarded(scheme, s, weights, kRows, GuardSide::before),
            "encodes to other bytes the second time, or leaves some unwritten: " + s.label());
    const auto all = decode_guarded(scheme, s, encoded, kRows, 0, kRows);
    require(
        has_same_bits(all, decode_guarded(scheme, s, encoded, kRows, 0, kRows, GuardSide::before)),
        "decodes to other bits the second time: " + s.label());
    // A row alone, and among others.
    const auto columns = static_cast<std::size_t>(s.columns);
    const std::span<const float> third(weights.data() + 2 * columns, columns);
    const EncodedParts row = encode_guarded(scheme, s, third, 1);
    const std::span<const float> expected(all.data() + 2 * columns, columns);
    const auto alone = decode_guarded(scheme, s, row, 1, 0, 1);
    require(has_same_bits(std::span<const float>(alone), expected),
            "encodes a row otherwise among others: " + s.label());
    const auto inside = decode_guarded(scheme, s, encoded, kRows, 2, 1);
    require(has_same_bits(std::span<const float>(inside), expected),
            "decodes a row otherwise among others: " + s.label());
  }
  return {};
}

std::string check_saved(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  for (const QuantStorage& s : quant_storages(scheme)) {
    const EncodedParts encoded = encode_guarded(scheme, s, check_weights(s, kRows), kRows);
    // Straight from aligned memory, and from bytes as a mapped file has them.
    std::vector<std::span<const std::byte>> parts(encoded.begin(), encoded.end());
    const QuantizedMatrix matrix{.rows = kRows,
                                 .columns = s.columns,
                                 .format = s.format,
                                 .parameter_type = s.parameter_type,
                                 .parts = parts};
    std::vector<float> direct(static_cast<std::size_t>(kRows * s.columns));
    scheme.decode(matrix, 0, kRows, direct);
    require(has_same_bits(direct,
                          decode_guarded(scheme, s, encoded, kRows, 0, kRows, GuardSide::before)),
            "decodes saved bytes otherwise than its own: " + s.label());
  }
  return {};
}

std::string check_edges(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  for (const QuantStorage& s : quant_storages(scheme)) {
    for (const float value : {0.0F, -0.0F, 1.0F, -2.5F, 1e-38F, 6e4F}) {
      const std::vector<float> weights(static_cast<std::size_t>(s.columns), value);
      for (const float decoded :
           decode_guarded(scheme, s, encode_guarded(scheme, s, weights, 1), 1, 0, 1)) {
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
  for (const QuantStorage& s : quant_storages(scheme)) {
    for (const float value : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
      std::vector<float> weights = check_weights(s, kRows);
      weights[weights.size() - 2] = value;
      bool is_refused = false;
      try {
        encode_guarded(scheme, s, weights, kRows);
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
  const std::vector<QuantStorage> all = quant_storages(scheme);
  std::vector<EncodedParts> encoded;
  std::vector<std::vector<float>> decoded;
  for (const QuantStorage& s : all) {
    encoded.push_back(encode_guarded(scheme, s, check_weights(s, kRows), kRows));
    decoded.push_back(decode_guarded(scheme, s, encoded.back(), kRows, 0, kRows));
  }
  run_in_threads(kThreads, [&](int thread) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::size_t which = (i + static_cast<std::size_t>(thread)) % all.size();
      const QuantStorage& s = all[which];
      const EncodedParts again = encode_guarded(scheme, s, check_weights(s, kRows), kRows);
      require(again == encoded[which] &&
                  has_same_bits(decode_guarded(scheme, s, again, kRows, 0, kRows), decoded[which]),
              "other threads change the bits: " + s.label());
    }
  });
  return std::to_string(kThreads) + " threads";
}

/// What core's own kernels would read out of parts that a scheme says are `affine`.
std::string check_packed_format(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  int packed = 0;
  for (const QuantStorage& s : quant_storages(scheme)) {
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
    const EncodedParts encoded = encode_guarded(scheme, s, check_weights(s, 1), 1);
    const auto decoded = decode_guarded(scheme, s, encoded, 1, 0, 1);
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
  add_quant_encoder_checks(offer, plan);
}

void exercise_quant(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  const QuantStorage s = quant_storages(scheme).front();
  decode_guarded(scheme, s, encode_guarded(scheme, s, check_weights(s, kRows), kRows), kRows, 0,
                 kRows);
}

}  // namespace quiver
