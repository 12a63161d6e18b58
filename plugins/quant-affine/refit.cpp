// Parameters of affine groups by least squares.
#include "affine.hpp"
#include "groups.hpp"
#include "parameters.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace quiver::affine {
namespace {

/// Shares of the group's range that the search starts from. The whole range comes first, so that
/// one start is what the exact encoder takes.
constexpr std::array<float, 8> kShares = {1.0F, 1.05F, 0.95F, 0.9F, 0.85F, 0.8F, 0.75F, 0.7F};
constexpr std::size_t kFinalists = 2;  ///< Starts that are followed to their end.
constexpr int kMostRounds = 8;
constexpr int kMostNudges = 3;

/// An error counts as smaller only by more than the rounding of its sum, so that it is smaller.
constexpr float kSurely = 1 - 4e-6F;

/// Below it sums of squares lose their small terms, and weights are no weights.
constexpr float kLeastError = 1e-30F;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A group and how its columns count.
struct Group {
  const float* weights;
  const float* importance;
  std::size_t size;
  float total;  ///< Sum of the importance.
};

/// Parameters as they are stored, the weighted squared error that their nearest codes leave, and
/// the weighted sums of the errors and codes that least squares needs.
struct Candidate {
  Parameters parameters{0, 0};
  float error = kInfinity;
  float errors = 0;
  float codes = 0;
  float squared_codes = 0;
  float products = 0;
};

[[gnu::always_inline]] inline float sum(const std::array<float, kLanes>& lanes) {
  std::array<float, 8> eight;
  for (std::size_t i = 0; i < 8; ++i) eight[i] = lanes[i] + lanes[i + 8];
  std::array<float, 4> four;
  for (std::size_t i = 0; i < 4; ++i) four[i] = eight[i] + eight[i + 4];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

/// The nearest codes for stored parameters. A product with the inverse may round to the other of
/// two codes that are equally near, which is as good.
template <int kBits>
[[gnu::always_inline]] inline Candidate try_parameters(const Group& group, Parameters parameters) {
  constexpr auto kLargestCode = static_cast<float>((1 << kBits) - 1);
  Candidate candidate{.parameters = parameters};
  const float inverse = 1 / parameters.scale;
  if (!std::isfinite(inverse) || !is_finite(parameters)) return candidate;
  std::array<float, kLanes> error{};
  std::array<float, kLanes> errors{};
  std::array<float, kLanes> codes{};
  std::array<float, kLanes> squared_codes{};
  std::array<float, kLanes> products{};
  for (std::size_t i = 0; i < group.size; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float weight = group.weights[i + lane];
      const float code = nearest_code((weight - parameters.bias) * inverse, kLargestCode);
      const float off = weight - (parameters.scale * code + parameters.bias);
      const float counted_off = group.importance[i + lane] * off;
      const float counted_code = group.importance[i + lane] * code;
      error[lane] += counted_off * off;
      errors[lane] += counted_off;
      codes[lane] += counted_code;
      squared_codes[lane] += counted_code * code;
      products[lane] += counted_code * off;
    }
  }
  candidate.error = sum(error);
  candidate.errors = sum(errors);
  candidate.codes = sum(codes);
  candidate.squared_codes = sum(squared_codes);
  candidate.products = sum(products);
  return candidate;
}

/// What the exact encoder leaves: its codes are chosen before its parameters are rounded.
template <int kBits>
[[gnu::always_inline]] inline float exact_error(const Group& group, Parameters exact,
                                                Parameters stored) {
  constexpr auto kLargestCode = static_cast<float>((1 << kBits) - 1);
  std::array<float, kLanes> error{};
  for (std::size_t i = 0; i < group.size; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float weight = group.weights[i + lane];
      const float code = nearest_code((weight - exact.bias) / exact.scale, kLargestCode);
      const float off = weight - (stored.scale * code + stored.bias);
      error[lane] += group.importance[i + lane] * off * off;
    }
  }
  return sum(error);
}

/// The best bias for the candidate's codes under another scale.
float best_bias(DType type, const Group& group, const Candidate& from, float scale) {
  const double change = static_cast<double>(scale) - static_cast<double>(from.parameters.scale);
  const double bias =
      from.parameters.bias + (from.errors - change * from.codes) / static_cast<double>(group.total);
  return as_stored(type, static_cast<float>(bias));
}

/// The least-squares line through the weights over the candidate's codes, as it is stored: its
/// scale first, and the bias that is best with the rounded scale.
Parameters regress(DType type, const Group& group, const Candidate& from) {
  const double total = group.total;
  const double codes = from.codes;
  const double spread = total * from.squared_codes - codes * codes;
  const double change =
      spread > 0 ? (total * from.products - codes * static_cast<double>(from.errors)) / spread : 0;
  const float scale = as_stored(type, static_cast<float>(from.parameters.scale + change));
  return {scale, best_bias(type, group, from, scale)};
}

/// Alternates until the error does not shrink, then tries scales beside the last one, where the
/// type is so coarse that the rounded scale need not be the best.
template <int kBits>
[[gnu::always_inline]] inline Candidate follow(DType type, const Group& group, Candidate best) {
  for (int round = 0; round < kMostRounds; ++round) {
    const Parameters next = regress(type, group, best);
    if (next.scale == best.parameters.scale && next.bias == best.parameters.bias) break;
    const Candidate tried = try_parameters<kBits>(group, next);
    if (!(tried.error < best.error)) break;
    best = tried;
  }
  if (type == DType::f32) return best;
  for (int nudge = 0; nudge < kMostNudges; ++nudge) {
    const Candidate before = best;
    for (const int steps : {-1, 1}) {
      const float scale = beside(type, before.parameters.scale, steps);
      const Candidate tried =
          try_parameters<kBits>(group, {scale, best_bias(type, group, before, scale)});
      if (tried.error < best.error) best = tried;
    }
    if (!(best.error < before.error)) break;
  }
  return best;
}

/// The best candidate from all starts.
template <int kBits>
[[gnu::always_inline]] inline Candidate best_fit(DType type, const Group& group, Parameters exact) {
  constexpr auto kLargestCode = static_cast<float>((1 << kBits) - 1);
  std::array<Candidate, kFinalists> finalists;
  for (const float share : kShares) {
    const float margin = exact.scale * kLargestCode * (1 - share) / 2;
    const Parameters start = as_stored(type, {exact.scale * share, exact.bias + margin});
    Candidate tried = try_parameters<kBits>(group, start);
    if (!(tried.error < kInfinity)) continue;
    const Candidate next = try_parameters<kBits>(group, regress(type, group, tried));
    if (next.error < tried.error) tried = next;
    for (Candidate& finalist : finalists) {
      if (tried.error < finalist.error) std::swap(tried, finalist);
    }
  }
  Candidate best;
  for (const Candidate& finalist : finalists) {
    if (!(finalist.error < kInfinity)) continue;
    const Candidate followed = follow<kBits>(type, group, finalist);
    if (followed.error < best.error) best = followed;
  }
  return best;
}

template <int kBits>
[[gnu::always_inline]] inline EncodeResult refit_groups(std::size_t group_size, DType type,
                                                        std::span<const float> weights,
                                                        std::span<const float> importance,
                                                        const EncodedRow& row) {
  constexpr auto kLargestCode = static_cast<float>((1 << kBits) - 1);
  std::byte* words = row.words;
  for (std::size_t first = 0; first < weights.size(); first += group_size) {
    Group group{weights.data() + first, importance.data() + first, group_size, 0};
    const Range range = range_of(group.weights, group_size);
    if (!range.is_finite) return {Fault::weight_not_finite, first};
    const Parameters exact = fit(range, kLargestCode);
    const Parameters stored = as_stored(type, exact);
    if (!is_finite(stored)) return {Fault::parameter_overflows, first};
    for (std::size_t i = 0; i < group_size; ++i) group.total += group.importance[i];
    const float error = exact_error<kBits>(group, exact, stored);
    Candidate best{.parameters = stored};
    if (error > kLeastError) best = best_fit<kBits>(type, group, exact);
    const bool is_better = best.error < error * kSurely;
    const Parameters chosen = is_better ? best.parameters : stored;
    const float inverse = 1 / chosen.scale;
    store_parameter(type, row.scales, first / group_size, chosen.scale);
    store_parameter(type, row.biases, first / group_size, chosen.bias);
    write_codes<kBits>(group_size, words, [&](std::size_t i) {
      if (!is_better) return quantize(group.weights + i, exact, kLargestCode);
      std::array<std::uint32_t, kChunk> codes;
      for (std::size_t k = 0; k < kChunk; ++k) {
        const float code =
            nearest_code((group.weights[i + k] - chosen.bias) * inverse, kLargestCode);
        codes[k] = static_cast<std::uint32_t>(static_cast<std::int32_t>(code));
      }
      return codes;
    });
  }
  return {};
}

}  // namespace

QUIVER_WIDER EncodeResult refit_row(const QuantFormat& format, DType parameter_type,
                                    std::span<const float> weights,
                                    std::span<const float> importance, const EncodedRow& row) {
  const auto group_size = static_cast<std::size_t>(format.group_size);
  return with_bits(
      format.bits, [&]<int kBits>() __attribute__((always_inline)) {
        return refit_groups<kBits>(group_size, parameter_type, weights, importance, row);
      });
}

}  // namespace quiver::affine
