// Checks of the encoders that a quantization scheme may have besides its own.
#include "core/plugin/check_quant_storage.hpp"
#include "core/plugin/check_support.hpp"

#include <quiver/error.hpp>
#include <quiver/quant_encoder.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

namespace quiver {
namespace {

constexpr int kThreads = 4;
constexpr std::int64_t kRows = 4;

/// Sums may differ in their last bits from those that an encoder compared.
constexpr double kRounding = 1e-6;

const QuantEncoder& encoder_of(const QuantScheme& scheme) {
  const void* found = scheme.extension(QuantEncoder::kInterfaceId);
  if (found == nullptr) throw CheckSkipped("has no encoders besides its own");
  return *static_cast<const QuantEncoder*>(found);
}

/// An encoder by name, with importances or without, as a call.
EncodeCall call_of(const QuantEncoder& encoder, std::string name,
                   const std::vector<float>& importance = {}) {
  return [&encoder, name = std::move(name), importance](
             std::span<const float> weights, std::int64_t rows, const QuantStorage& storage,
             std::span<const std::span<std::byte>> parts) {
    encoder.encode(name, weights, rows, storage.columns, storage.format, storage.parameter_type,
                   importance, parts);
  };
}

/// Importances over three orders of magnitude, some of them zero.
std::vector<float> check_importance(const QuantStorage& storage) {
  std::vector<float> importance = check_noise(static_cast<std::size_t>(storage.columns), 23);
  for (std::size_t i = 0; i < importance.size(); ++i) {
    importance[i] = i % 11 == 5 ? 0.0F : std::exp2(5 * importance[i]);
  }
  return importance;
}

std::string label_of(const QuantEncoderInfo& info, const QuantStorage& storage) {
  return std::string("encoder '") + info.name + "', " + storage.label();
}

std::string check_list(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  for (const char* id : {"", "quiver", "quiver.unknown/1", "quiver.quant-encoder/10"}) {
    require(scheme.extension(id) == nullptr,
            "answers the unknown extension '" + std::string(id) + "'");
  }
  const QuantEncoder& encoder = encoder_of(scheme);
  std::set<std::string> names;
  for (const QuantEncoderInfo& info : encoder.encoders()) {
    require(info.name != nullptr && info.name[0] != '\0' && info.summary != nullptr,
            "an encoder has no name or no summary");
    require(names.insert(info.name).second,
            "lists the encoder '" + std::string(info.name) + "' twice");
  }
  require(!names.empty(), "lists no encoder");
  const QuantStorage storage = quant_storages(scheme).front();
  bool is_refused = false;
  try {
    encode_guarded(call_of(encoder, "no-such-encoder"), storage, check_weights(storage, 1), 1);
  } catch (const Error& error) {
    is_refused = true;
    require(error.code() == ErrorCode::usage,
            "refuses an unknown encoder with another code than usage");
  }
  require(is_refused, "encodes by an encoder that it does not list");
  return std::to_string(names.size()) + " encoders";
}

/// Runs check(info, storage) for every encoder and every way of storing.
template <class CheckOne>
void for_each_encoder(const QuantScheme& scheme, const CheckOne& check) {
  const auto storages = quant_storages(scheme);
  for (const QuantEncoderInfo& info : encoder_of(scheme).encoders()) {
    for (const QuantStorage& storage : storages) check(info, storage);
  }
}

std::string check_deterministic(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  const QuantEncoder& encoder = encoder_of(scheme);
  for_each_encoder(scheme, [&](const QuantEncoderInfo& info, const QuantStorage& storage) {
    const auto weights = check_weights(storage, kRows);
    const auto importance = check_importance(storage);
    for (const auto& counted : {std::vector<float>(), importance}) {
      const EncodeCall call = call_of(encoder, info.name, counted);
      const EncodedParts encoded = encode_guarded(call, storage, weights, kRows);
      require(encoded == encode_guarded(call, storage, weights, kRows, GuardSide::before),
              "encodes to other bytes the second time, or leaves some unwritten: " +
                  label_of(info, storage));
      const auto columns = static_cast<std::size_t>(storage.columns);
      const auto row =
          encode_guarded(call, storage, std::span(weights).subspan(columns, columns), 1);
      for (std::size_t part = 0; part < row.size(); ++part) {
        const auto bytes = static_cast<std::ptrdiff_t>(row[part].size());
        require(std::equal(row[part].begin(), row[part].end(), encoded[part].begin() + bytes),
                "encodes a row otherwise among others: " + label_of(info, storage));
      }
    }
    const bool is_same =
        encode_guarded(call_of(encoder, info.name), storage, weights, kRows) ==
        encode_guarded(call_of(encoder, info.name, importance), storage, weights, kRows);
    require(info.uses_importance || is_same,
            "says that it does not use the importance, but does: " + label_of(info, storage));
  });
  return {};
}

/// By row.
std::vector<double> squared_errors(const QuantScheme& scheme, const QuantStorage& storage,
                                   const EncodedParts& encoded, std::span<const float> weights,
                                   std::span<const float> importance) {
  const auto decoded = decode_guarded(scheme, storage, encoded, kRows, 0, kRows);
  const auto columns = static_cast<std::size_t>(storage.columns);
  std::vector<double> sums(static_cast<std::size_t>(kRows), 0.0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double off = static_cast<double>(weights[i]) - decoded[i];
    sums[i / columns] += off * off * (importance.empty() ? 1.0 : importance[i % columns]);
  }
  return sums;
}

/// Rows as models have them, one of zeros and one of a constant.
std::vector<float> weights_with_edges(const QuantStorage& storage) {
  std::vector<float> weights = check_weights(storage, kRows);
  std::fill_n(weights.begin(), storage.columns, 0.0F);
  std::fill_n(weights.begin() + storage.columns, storage.columns, -0.0625F);
  return weights;
}

/// Fails where a row of `encoded` is worse than the same row of `own`; the best ratio of two rows.
double require_not_worse(const QuantScheme& scheme, const QuantStorage& storage,
                         const EncodedParts& own, const EncodedParts& encoded,
                         std::span<const float> importance, const std::string& label) {
  const std::vector<float> weights = weights_with_edges(storage);
  const auto least = squared_errors(scheme, storage, own, weights, importance);
  const auto errors = squared_errors(scheme, storage, encoded, weights, importance);
  double best = 1;
  for (std::size_t r = 0; r < least.size(); ++r) {
    require(errors[r] <= least[r] * (1 + kRounding),
            "leaves a squared error of " + std::to_string(errors[r]) + " where the scheme leaves " +
                std::to_string(least[r]) + (importance.empty() ? ": " : ", weighted: ") + label);
    if (least[r] > 0) best = std::min(best, errors[r] / least[r]);
  }
  return best;
}

std::string check_never_worse(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  const QuantEncoder& encoder = encoder_of(scheme);
  double best = 1;
  for_each_encoder(scheme, [&](const QuantEncoderInfo& info, const QuantStorage& storage) {
    const auto weights = weights_with_edges(storage);
    const std::string label = label_of(info, storage);
    const EncodedParts own = encode_guarded(scheme, storage, weights, kRows);
    const EncodedParts plain = encode_guarded(call_of(encoder, info.name), storage, weights, kRows);
    const bool is_first = info.name == std::string_view(encoder.encoders().front().name);
    require(!is_first || plain == own, "the first encoder is not the scheme's own: " + label);
    best = std::min(best, require_not_worse(scheme, storage, own, plain, {}, label));
    if (!info.uses_importance) return;
    const auto importance = check_importance(storage);
    const auto weighted =
        encode_guarded(call_of(encoder, info.name, importance), storage, weights, kRows);
    require_not_worse(scheme, storage, own, weighted, importance, label);
  });
  return "least error " + std::to_string(best) + " of the scheme's own";
}

std::string check_bad_input(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  const QuantEncoder& encoder = encoder_of(scheme);
  const auto require_refusal = [&](const EncodeCall& call, const QuantStorage& storage,
                                   const std::vector<float>& weights, const std::string& what) {
    bool is_refused = false;
    try {
      encode_guarded(call, storage, weights, kRows);
    } catch (const Error& error) {
      is_refused = true;
      require(error.code() == ErrorCode::bad_input,
              "refuses " + what + " with another code than bad_input");
    }
    require(is_refused, "takes " + what);
  };
  for_each_encoder(scheme, [&](const QuantEncoderInfo& info, const QuantStorage& storage) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      auto weights = check_weights(storage, kRows);
      weights[weights.size() - 2] = bad;
      require_refusal(call_of(encoder, info.name), storage, weights,
                      "weights that are not finite: " + label_of(info, storage));
    }
    if (!info.uses_importance) return;
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -1.0F}) {
      auto importance = check_importance(storage);
      importance.back() = bad;
      require_refusal(call_of(encoder, info.name, importance), storage,
                      check_weights(storage, kRows),
                      "importances that are negative or not finite: " + label_of(info, storage));
    }
  });
  return {};
}

std::string check_threads(const PluginLibrary& library, const PluginOffer&) {
  const QuantScheme& scheme = scheme_of(library);
  const QuantEncoder& encoder = encoder_of(scheme);
  const auto storages = quant_storages(scheme);
  for (const QuantEncoderInfo& info : encoder.encoders()) {
    const EncodeCall call = call_of(encoder, info.name);
    std::vector<EncodedParts> expected;
    for (const QuantStorage& storage : storages) {
      expected.push_back(encode_guarded(call, storage, check_weights(storage, kRows), kRows));
    }
    run_in_threads(kThreads, [&](int thread) {
      for (std::size_t i = 0; i < storages.size(); ++i) {
        const std::size_t which = (i + static_cast<std::size_t>(thread)) % storages.size();
        const QuantStorage& storage = storages[which];
        require(
            encode_guarded(call, storage, check_weights(storage, kRows), kRows) == expected[which],
            "other threads change the bytes: " + label_of(info, storage));
      }
    });
  }
  return std::to_string(kThreads) + " threads";
}

using EncoderCheck = std::string (*)(const PluginLibrary&, const PluginOffer&);

}  // namespace

void add_quant_encoder_checks(const PluginOffer& offer, std::vector<Check>& plan) {
  constexpr std::array<std::pair<const char*, EncoderCheck>, 5> kChecks{
      {{"encoders-listed", check_list},
       {"encoders-deterministic-within-buffers", check_deterministic},
       {"encoders-never-worse", check_never_worse},
       {"encoders-refuse-bad-input", check_bad_input},
       {"encoders-independent-of-threads", check_threads}}};
  for (const auto& [name, check] : kChecks) {
    plan.push_back({offer.name + "/" + name, [offer, check = check](const CheckSubject& subject) {
                      return check(*subject.load(), offer);
                    }});
  }
}

}  // namespace quiver
