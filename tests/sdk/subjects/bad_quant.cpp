// A quantization scheme whose defect is chosen by an environment variable; good without one.
#include <quiver/error.hpp>
#include <quiver/plugin.hpp>
#include <quiver/quant_encoder.hpp>
#include <quiver/quant_scheme.hpp>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>

namespace {

using namespace quiver;

std::string_view defect() {
  const char* name = std::getenv("QUIVER_TEST_DEFECT");
  return name != nullptr ? name : "";
}

constexpr int kGroup = 32;
constexpr float kScale = 1.0F / 1536;
constexpr float kBias = -128 * kScale;
constexpr QuantFormat kFormats[] = {{8, kGroup}};

/// w = (code - 128) / 1536: fixed steps for weights below 0.08 in size.
class Scheme final : public QuantScheme {
 public:
  std::string_view name() const override { return defect() == "other-name" ? "other" : "crude"; }
  std::span<const QuantFormat> formats() const override { return kFormats; }

  int parts(const QuantFormat& format, std::int64_t columns, DType type,
            std::span<QuantPart> parts) const override {
    if (format.bits != 8 || format.group_size != kGroup) {
      if (defect() != "any-format") return 0;
    }
    if (type != DType::f32) return 0;
    if (columns <= 0 || (columns % kGroup != 0 && defect() != "takes-ragged")) return 0;
    parts[0] = {".weight", DType::u32, columns / 4};
    parts[1] = {".scales", DType::f32, columns / kGroup};
    parts[2] = {".biases", DType::f32, columns / kGroup};
    return defect() == "too-many-parts" ? 5 : 3;
  }

  void encode(std::span<const float> weights, std::int64_t, std::int64_t, const QuantFormat&, DType,
              std::span<const std::span<std::byte>> parts) const override {
    static std::atomic<int> calls{0};
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (!std::isfinite(weights[i]) && defect() != "takes-nan") {
        throw Error(defect() == "wrong-code" ? ErrorCode::usage : ErrorCode::bad_input,
                    "not finite");
      }
      const float limited = std::fmin(std::fmax(weights[i] / kScale, -127), 127);
      parts[0][i] = static_cast<std::byte>(static_cast<int>(std::rint(limited)) + 128);
    }
    if (defect() == "encode-remembers") parts[0][0] = static_cast<std::byte>(++calls);
    if (defect() == "encode-overruns") parts[0].data()[parts[0].size()] = std::byte{1};
    if (defect() == "leaves-unwritten") return;
    for (std::size_t i = 0; i < parts[1].size(); i += 4) {
      std::memcpy(parts[1].data() + i, &kScale, 4);
      std::memcpy(parts[2].data() + i, &kBias, 4);
    }
  }

  void decode(const QuantizedMatrix& matrix, std::int64_t first, std::int64_t count,
              std::span<float> weights) const override {
    const std::byte* codes = matrix.parts[0].data() + first * matrix.columns;
    const auto size = static_cast<std::size_t>(count * matrix.columns);
    for (std::size_t i = 0; i < size; ++i) {
      const float product = kScale * static_cast<float>(std::to_integer<int>(codes[i]));
      weights[i] = product + kBias;
      if (defect() == "decodes-noise") weights[i] = i % 2 == 0 ? 5 : -5;
      if (defect() == "decodes-otherwise") weights[i] += 0.001F;
      if (defect() == "depends-on-rows") weights[i] += static_cast<float>(count) * 1e-3F;
      if (defect() == "decodes-infinite") weights[i] = std::numeric_limits<float>::infinity();
    }
    if (defect() == "needs-alignment" && reinterpret_cast<std::uintptr_t>(codes) % 4 != 0) {
      weights[0] = 1;
    }
    if (defect() == "decode-overruns") weights.data()[size] = 1;
  }

  PackedFormat packed_format(const QuantFormat&) const override { return PackedFormat::affine; }

  const void* extension(std::string_view id) const override;
};

/// The scheme's own encoding under two names, the second with defects.
class Encoders final : public QuantEncoder {
 public:
  explicit Encoders(const Scheme& scheme) : scheme_(scheme) {}

  std::span<const QuantEncoderInfo> encoders() const override {
    static constexpr QuantEncoderInfo kTwice[] = {{"plain", "As it is", false},
                                                  {"plain", "As it is", false}};
    static constexpr QuantEncoderInfo kEncoders[] = {{"plain", "As it is", false},
                                                     {"other", "Almost the same", true}};
    static constexpr QuantEncoderInfo kSilent[] = {{"plain", "As it is", false},
                                                   {"other", "Almost the same", false}};
    if (defect() == "encoder-twice") return kTwice;
    return defect() == "encoder-weighs" ? std::span<const QuantEncoderInfo>(kSilent) : kEncoders;
  }

  void encode(std::string_view name, std::span<const float> weights, std::int64_t rows,
              std::int64_t columns, const QuantFormat& format, DType type,
              std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const override {
    static std::atomic<int> calls{0};
    if (name != "plain" && name != "other" && defect() != "encoder-any") {
      throw Error(ErrorCode::usage, "no such encoder");
    }
    for (const float value : importance) {
      if (!(value >= 0) && defect() != "encoder-takes-nan") {
        throw Error(ErrorCode::bad_input, "bad importance");
      }
    }
    scheme_.encode(weights, rows, columns, format, type, parts);
    if (name == "plain") {
      if (defect() == "encoder-other-first") parts[0][0] ^= std::byte{1};
      return;
    }
    if (defect() == "encoder-worse") parts[0].back() ^= std::byte{16};
    if (defect() == "encoder-remembers") parts[0][0] = static_cast<std::byte>(++calls);
    if (defect() == "encoder-overruns") parts[2].data()[parts[2].size()] = std::byte{1};
    if (defect() == "encoder-counts-rows") parts[0][0] = static_cast<std::byte>(rows);
    if (defect() == "encoder-weighs" && !importance.empty()) {
      for (std::byte& code : parts[0]) code ^= std::byte{1};
    }
  }

 private:
  const Scheme& scheme_;
};

const void* Scheme::extension(std::string_view id) const {
  static const Encoders encoders(*this);
  if (defect() == "answers-any") return this;
  return provide<QuantEncoder>(id, encoders);
}

const void* get(std::string_view id) {
  static const Scheme scheme;
  return provide<QuantScheme>(id, scheme);
}

}  // namespace

QUIVER_PLUGIN(get, "bad-quant", "1.0.0", "Apache-2.0", "A scheme with a defect on request",
              QUIVER_OFFER_QUANT_SCHEME("crude", "Fixed steps of 1/1536"));
