// Packs affine matrices from the layout of their files into that of the kernels.
#include "core/kernels/packed_weights.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace quiver {
namespace {

/// Bits of the planes that codes are split into, the low bits first; 0 = no second plane.
std::array<int, 2> planes_of(int bits) {
  switch (bits) {
    case 8: return {8, 0};
    case 6: return {4, 2};
    case 5: return {4, 1};
    case 4: return {4, 0};
    case 3: return {2, 1};
    default: return {2, 0};
  }
}

/// One span of one output: 32 codes -> its words of each plane, 16 words apart.
void pack_span(const std::uint8_t* codes, int bits, std::uint32_t* words) {
  int shift = 0;
  for (const int plane : planes_of(bits)) {
    if (plane == 0) break;
    const std::uint32_t mask = (1U << plane) - 1U;
    const int fields = 8 / plane;  // of a byte
    for (int word = 0; word < plane; ++word) {
      std::uint32_t value = 0;
      for (int field = 0; field < fields; ++field) {
        const int half = word * fields + field;  // eight halves of chunks in a span
        for (int j = 0; j < 4; ++j) {
          const std::uint32_t code = codes[8 * (half / 2) + 2 * j + half % 2];
          value |= ((code >> shift) & mask) << (8 * j + field * plane);
        }
      }
      words[word * kStripeOutputs] = value;
    }
    words += plane * kStripeOutputs;
    shift += plane;
  }
}

/// Codes of one span from a row's bit stream; `bits` divides 8 or not.
void unpack_span(const std::byte* stream, int bits, std::uint8_t* codes) {
  // A span of any width is a whole number of 32-bit words.
  std::uint32_t words[8];
  std::memcpy(words, stream, static_cast<std::size_t>(bits) * 4);
  const std::uint32_t mask = (1U << bits) - 1U;
  for (int i = 0; i < kSpan; ++i) {
    const int at = i * bits;
    std::uint32_t code = words[at / 32] >> (at % 32);
    if (at % 32 + bits > 32) code |= words[at / 32 + 1] << (32 - at % 32);
    codes[i] = static_cast<std::uint8_t>(code & mask);
  }
}

/// The even bytes of a chunk of eight, then the odd ones.
std::array<std::uint32_t, 2> split_bytes(const std::byte* chunk) {
  std::array<std::uint32_t, 2> words{};
  for (std::uint32_t j = 0; j < 4; ++j) {
    words[0] |= std::to_integer<std::uint32_t>(chunk[2 * j]) << (8 * j);
    words[1] |= std::to_integer<std::uint32_t>(chunk[2 * j + 1]) << (8 * j);
  }
  return words;
}

/// 4-bit words as they are, `count` of each of `outputs` streams: word by word, so that writing is
/// sequential, which is several times faster than output by output.
void transpose_words(const std::byte* streams, std::size_t stride, std::size_t outputs,
                     std::size_t count, std::uint32_t* words) {
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t o = 0; o < outputs; ++o) {
      std::memcpy(words + i * kStripeOutputs + o, streams + o * stride + 4 * i, 4);
    }
  }
}

/// One group of one output into its places of a stripe's group; not for 4 bits.
void pack_group(const PackedWeights& layout, const std::byte* stream, std::uint32_t* words) {
  const int spans = layout.group_size / kSpan;
  for (int s = 0; s < spans; ++s) {
    if (layout.bits == 8) {
      for (int chunk = 0; chunk < 4; ++chunk) {
        const auto halves = split_bytes(stream + 8 * chunk);
        words[2 * chunk * kStripeOutputs] = halves[0];
        words[(2 * chunk + 1) * kStripeOutputs] = halves[1];
      }
    } else {
      std::uint8_t codes[kSpan];
      unpack_span(stream, layout.bits, codes);
      pack_span(codes, layout.bits, words);
    }
    stream += 4 * layout.bits;
    words += layout.bits * kStripeOutputs;
  }
}

}  // namespace

bool is_packable(int bits, int group_size, std::int64_t inputs) {
  const bool has_bits = bits == 2 || bits == 3 || bits == 4 || bits == 5 || bits == 6 || bits == 8;
  const bool has_group = group_size == 32 || group_size == 64 || group_size == 128;
  return has_bits && has_group && inputs > 0 && inputs % group_size == 0;
}

PackedWeights packed_layout(std::int64_t outputs, std::int64_t inputs, int bits, int group_size,
                            DType parameter_type) {
  PackedWeights w;
  w.outputs = outputs;
  w.inputs = inputs;
  w.bits = bits;
  w.group_size = group_size;
  w.parameter_type = parameter_type;
  w.stripes = (outputs + kStripeOutputs - 1) / kStripeOutputs;
  w.code_bytes =
      static_cast<std::size_t>(group_size) * static_cast<std::size_t>(bits) * (kStripeOutputs / 8);
  w.group_bytes = w.code_bytes + 2 * kStripeOutputs * size_bytes(parameter_type);
  w.stripe_bytes = static_cast<std::size_t>(inputs / group_size) * w.group_bytes;
  return w;
}

void pack_stripes(const PackedWeights& layout, const std::byte* codes, const std::byte* scales,
                  const std::byte* biases, std::int64_t first, std::int64_t count, std::byte* out) {
  const auto groups = static_cast<std::size_t>(layout.inputs / layout.group_size);
  const std::size_t group_stream =
      static_cast<std::size_t>(layout.group_size) * static_cast<std::size_t>(layout.bits) / 8;
  const std::size_t width = size_bytes(layout.parameter_type);
  for (std::int64_t stripe = first; stripe < first + count; ++stripe) {
    const std::int64_t first_output = stripe * kStripeOutputs;
    const auto outputs = static_cast<std::size_t>(
        std::min<std::int64_t>(kStripeOutputs, layout.outputs - first_output));
    if (outputs < kStripeOutputs) std::memset(out, 0, layout.stripe_bytes);
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t first_group = static_cast<std::size_t>(first_output) * groups + g;
      auto* words = reinterpret_cast<std::uint32_t*>(out);
      if (layout.bits == 4) {
        transpose_words(codes + first_group * group_stream, groups * group_stream, outputs,
                        group_stream / 4, words);
      } else {
        for (std::size_t o = 0; o < outputs; ++o) {
          pack_group(layout, codes + (first_group + o * groups) * group_stream, words + o);
        }
      }
      std::byte* parameters = out + layout.code_bytes;
      for (std::size_t o = 0; o < outputs; ++o) {
        const std::size_t group = first_group + o * groups;
        std::memcpy(parameters + o * width, scales + group * width, width);
        std::memcpy(parameters + (kStripeOutputs + o) * width, biases + group * width, width);
      }
      out += layout.group_bytes;
    }
  }
}

std::size_t activation_row_bytes(ActivationFormat format, std::int64_t inputs, int group_size) {
  const bool is_int8 = format == ActivationFormat::int8;
  const auto count = static_cast<std::size_t>(inputs);
  const std::size_t blocks = count / static_cast<std::size_t>(is_int8 ? kSpan : group_size);
  const std::size_t groups = count / static_cast<std::size_t>(group_size);
  return count * (is_int8 ? 1 : 2) + sizeof(float) * (blocks + groups);
}

}  // namespace quiver
