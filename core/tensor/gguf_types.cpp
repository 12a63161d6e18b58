// The table of GGUF element types and the choice of their decoder.
#include "core/tensor/gguf_types.hpp"

#include "core/tensor/gguf_blocks.hpp"
#include "core/tensor/half.hpp"

#include <quiver/error.hpp>

#include <array>
#include <utility>

namespace quiver {

namespace {

constexpr std::array<GgufTypeInfo, 18> kTypes = {{
    {GgufType::f32, "F32", 1, 4},
    {GgufType::f16, "F16", 1, 2},
    {GgufType::q4_0, "Q4_0", 32, 18},
    {GgufType::q4_1, "Q4_1", 32, 20},
    {GgufType::q5_0, "Q5_0", 32, 22},
    {GgufType::q5_1, "Q5_1", 32, 24},
    {GgufType::q8_0, "Q8_0", 32, 34},
    {GgufType::q2_k, "Q2_K", 256, 84},
    {GgufType::q3_k, "Q3_K", 256, 110},
    {GgufType::q4_k, "Q4_K", 256, 144},
    {GgufType::q5_k, "Q5_K", 256, 176},
    {GgufType::q6_k, "Q6_K", 256, 210},
    {GgufType::i8, "I8", 1, 1},
    {GgufType::i16, "I16", 1, 2},
    {GgufType::i32, "I32", 1, 4},
    {GgufType::i64, "I64", 1, 8},
    {GgufType::f64, "F64", 1, 8},
    {GgufType::bf16, "BF16", 1, 2},
}};

/// Types that files may hold and that are named in messages only.
constexpr std::array<std::pair<std::uint32_t, std::string_view>, 16> kOtherNames = {{
    {9, "Q8_1"},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {20, "IQ4_NL"},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {23, "IQ4_XS"},
    {29, "IQ1_M"},
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    {39, "MXFP4"},
    {40, "NVFP4"},
    {41, "Q1_0"},
}};

}  // namespace

const GgufTypeInfo* find_gguf_type(std::uint32_t id) noexcept {
  for (const GgufTypeInfo& info : kTypes) {
    if (static_cast<std::uint32_t>(info.type) == id) return &info;
  }
  return nullptr;
}

const GgufTypeInfo& info_of(GgufType type) noexcept {
  return *find_gguf_type(static_cast<std::uint32_t>(type));
}

std::string_view gguf_type_name(std::uint32_t id) noexcept {
  if (const GgufTypeInfo* info = find_gguf_type(id)) return info->name;
  for (const auto& [other, name] : kOtherNames) {
    if (other == id) return name;
  }
  return {};
}

void dequantize(GgufType type, std::span<const std::byte> bytes, std::span<float> values) {
  const GgufTypeInfo& info = info_of(type);
  const std::size_t count = bytes.size() / info.block_bytes;
  if (bytes.size() % info.block_bytes != 0 || values.size() % info.block_elements != 0 ||
      values.size() / info.block_elements != count) {
    throw Error(ErrorCode::internal, "dequantization between buffers of different sizes");
  }
  if (count == 0) return;
  switch (type) {
    case GgufType::f32: return to_float(DType::f32, bytes, values);
    case GgufType::f16: return to_float(DType::f16, bytes, values);
    case GgufType::bf16: return to_float(DType::bf16, bytes, values);
    case GgufType::f64: return to_float(DType::f64, bytes, values);
    case GgufType::i8: return to_float(DType::i8, bytes, values);
    case GgufType::i16: return to_float(DType::i16, bytes, values);
    case GgufType::i32: return to_float(DType::i32, bytes, values);
    case GgufType::i64: return to_float(DType::i64, bytes, values);
    case GgufType::q4_0: return blocks::decode_blocks<blocks::Q4_0>(bytes, values);
    case GgufType::q4_1: return blocks::decode_blocks<blocks::Q4_1>(bytes, values);
    case GgufType::q5_0: return blocks::decode_blocks<blocks::Q5_0>(bytes, values);
    case GgufType::q5_1: return blocks::decode_blocks<blocks::Q5_1>(bytes, values);
    case GgufType::q8_0: return blocks::decode_blocks<blocks::Q8_0>(bytes, values);
    case GgufType::q2_k: return blocks::decode_blocks<blocks::Q2_K>(bytes, values);
    case GgufType::q3_k: return blocks::decode_blocks<blocks::Q3_K>(bytes, values);
    case GgufType::q4_k: return blocks::decode_blocks<blocks::Q4_K>(bytes, values);
    case GgufType::q5_k: return blocks::decode_blocks<blocks::Q5_K>(bytes, values);
    case GgufType::q6_k: return blocks::decode_blocks<blocks::Q6_K>(bytes, values);
  }
}

}  // namespace quiver
