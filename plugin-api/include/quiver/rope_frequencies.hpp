// Inverse frequencies of rotary embeddings from a config: plain, linear, llama3 and yarn scaling.
#pragma once

#include <quiver/config.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

struct RopeFrequencies {
  std::vector<float> inverse;  ///< One value a pair of dimensions, rad a position.
  float magnitude = 1.0F;      ///< Multiplies cosine and sine.
};

namespace detail {

/// The dimension pair that turns `rotations` times over `context` positions (YaRN, eq. 17
/// inverted).
inline double yarn_pair(double rotations, int dims, double theta, double context) {
  return dims * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

inline double yarn_magnitude(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

/// YaRN: blends interpolated and plain frequencies between two pairs. Peng et al., arXiv
/// 2309.00071.
inline void apply_yarn(const Config& config, const std::string& scaling, int dims, double theta,
                       double factor, double context, RopeFrequencies& rope) {
  const double fast = config.number(scaling + ".beta_fast", 32);
  const double slow = config.number(scaling + ".beta_slow", 1);
  double low = yarn_pair(fast, dims, theta, context);
  double high = yarn_pair(slow, dims, theta, context);
  if (config.flag(scaling + ".truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1.0);
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < rope.inverse.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double plain = rope.inverse[i];
    rope.inverse[i] = static_cast<float>(plain / factor * ramp + plain * (1 - ramp));
  }
  const double mscale = config.number(scaling + ".mscale", 0);
  const double mscale_all = config.number(scaling + ".mscale_all_dim", 0);
  double magnitude = yarn_magnitude(factor, 1);
  if (mscale != 0 && mscale_all != 0) {
    magnitude = yarn_magnitude(factor, mscale) / yarn_magnitude(factor, mscale_all);
  }
  rope.magnitude = static_cast<float>(config.number(scaling + ".attention_factor", magnitude));
}

/// Llama 3.1: slows low frequencies, keeps high ones, blends between.
inline void apply_llama3(const Config& config, const std::string& scaling, double factor,
                         double context, RopeFrequencies& rope) {
  const double low = config.number(scaling + ".low_freq_factor");
  const double high = config.number(scaling + ".high_freq_factor");
  for (float& inverse : rope.inverse) {
    const double wavelength = 2 * std::numbers::pi / inverse;
    if (wavelength > context / low) {
      inverse = static_cast<float>(inverse / factor);
    } else if (wavelength >= context / high) {
      const double smooth = (context / wavelength - low) / (high - low);
      inverse = static_cast<float>((1 - smooth) * inverse / factor + smooth * inverse);
    }
  }
}

}  // namespace detail

/// Frequencies for `dims` rotated dimensions. Reads `rope_parameters` (newer configs) or
/// `rope_scaling` and `rope_theta` below `prefix` (e.g. "" or "text_config."); `default_theta`
/// where the config names none. Throws Error(bad_input) for an unknown rope type or values that
/// make no sense. [any-thread]
inline RopeFrequencies rope_frequencies(const Config& config, const std::string& prefix, int dims,
                                        double default_theta = 10000.0) {
  const std::string parameters = prefix + "rope_parameters";
  const std::string scaling = config.has(parameters) ? parameters : prefix + "rope_scaling";
  const double theta =
      config.number(scaling + ".rope_theta", config.number(prefix + "rope_theta", default_theta));
  const std::string type =
      config.text(scaling + ".rope_type", config.text(scaling + ".type", "default"));
  const auto invalid = [&](const char* what) {
    return Error(ErrorCode::bad_input, what, "config.json, " + scaling, "correct the file");
  };
  if (!(theta > 0) || dims < 2)
    throw invalid("the rotary embedding's theta or width is not positive");

  RopeFrequencies rope;
  for (int i = 0; i < dims / 2; ++i) {
    rope.inverse.push_back(static_cast<float>(std::pow(theta, -2.0 * i / dims)));
  }
  if (type == "default") return rope;
  const double factor = config.number(scaling + ".factor");
  if (!(factor > 0)) throw invalid("the rotary embedding's factor is not positive");
  if (type == "linear") {
    for (float& inverse : rope.inverse) inverse = static_cast<float>(inverse / factor);
    return rope;
  }
  const double context = config.number(scaling + ".original_max_position_embeddings",
                                       config.number(prefix + "max_position_embeddings", 0));
  if (!(context > 0)) throw invalid("original_max_position_embeddings is missing or not positive");
  if (type == "llama3") {
    detail::apply_llama3(config, scaling, factor, context, rope);
  } else if (type == "yarn") {
    detail::apply_yarn(config, scaling, dims, theta, factor, context, rope);
  } else {
    throw Error(ErrorCode::bad_input, "unknown rotary embedding type '" + type + "'",
                "config.json, " + scaling, "known are default, linear, llama3 and yarn");
  }
  return rope;
}

}  // namespace quiver
