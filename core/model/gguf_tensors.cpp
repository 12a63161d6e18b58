// Names, types and shapes of imported tensors.
#include "core/model/gguf_tensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <quiver/error.hpp>
#include <set>
#include <string_view>

#include "core/model/tensor_rules.hpp"
#include "core/tensor/gguf_affine.hpp"
#include "core/tensor/half.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/utf8.hpp"

namespace quiver {
namespace {

constexpr std::string_view kWeight = ".weight";

/// The same elements in a model folder; nothing for blocks.
std::optional<DType> stored_type(GgufType type) {
  switch (type) {
    case GgufType::f32: return DType::f32;
    case GgufType::f16: return DType::f16;
    case GgufType::bf16: return DType::bf16;
    case GgufType::i8: return DType::i8;
    case GgufType::i16: return DType::i16;
    case GgufType::i32: return DType::i32;
    case GgufType::i64: return DType::i64;
    default: return std::nullopt;
  }
}

bool is_integer(GgufType type) {
  const auto stored = stored_type(type);
  return stored && *stored != DType::f32 && *stored != DType::f16 && *stored != DType::bf16;
}

bool is_matrix(const GgufTensor& tensor) {
  return tensor.shape.size() >= 2;
}

class Planner {
 public:
  Planner(const GgufFile& file, std::span<const TensorRule> rules, const Config& config,
          const TensorImportOptions& options, const std::function<void()>& check)
      : file_(file), rules_(rules), config_(config), options_(options), check_(check) {}

  ImportedTensors plan() {
    plan_.float_type = most_weights_type();
    for (const GgufTensor& tensor : file_.tensors()) {
      check_();
      add(tensor);
      file_.release(tensor);
    }
    warn_of_expanded();
    return std::move(plan_);
  }

 private:
  [[noreturn]] void fail(const GgufTensor& tensor, const std::string& what,
                         const char* hint = "use the original checkpoint of this model") const {
    throw Error(ErrorCode::bad_input, "tensor " + in_quotes(tensor.name) + " " + what,
                file_.label(), hint);
  }

  DType matrix_type(GgufType type) const {
    if (options_.dtype) return *options_.dtype;
    return type == GgufType::f64 ? DType::f32 : stored_type(type).value_or(DType::f16);
  }

  DType most_weights_type() const {
    std::map<DType, double> elements;
    for (const GgufTensor& tensor : file_.tensors()) {
      if (!is_matrix(tensor) || is_integer(tensor.type)) continue;
      elements[matrix_type(tensor.type)] += static_cast<double>(tensor.elements());
    }
    const auto most =
        std::ranges::max_element(elements, {}, [](const auto& entry) { return entry.second; });
    return most != elements.end() ? most->first : options_.dtype.value_or(DType::f16);
  }

  void add(const GgufTensor& tensor) {
    const AppliedRule rule = apply_rules(rules_, tensor.name, config_);
    if (is_drop(rule.kind)) return;
    if (rule.name == tensor.name || !is_utf8(rule.name)) {
      fail(tensor, "is unknown to the architecture that is to run the model");
    }
    ImportedTensor imported;
    imported.source = &tensor;
    if (rule.kind == TensorRuleKind::rename_deinterleave_heads) {
      imported.heads = checked_heads(tensor, rule.heads);
    }
    const auto bits = affine_bits(tensor.type);
    if (options_.keeps_quantized && bits && is_matrix(tensor) && rule.name.ends_with(kWeight)) {
      imported.bits = *bits;
      imported.module = rule.name.substr(0, rule.name.size() - kWeight.size());
      add_affine(imported);
    } else {
      imported.outputs = {{rule.name, dense_type(tensor), tensor.shape}};
      if (options_.keeps_quantized && !stored_type(tensor.type)) ++expanded_[tensor.type];
    }
    for (const TensorInfo& output : imported.outputs) {
      if (!names_.insert(output.name).second) {
        fail(tensor, "would be the second one named " + in_quotes(output.name));
      }
      // No overflow: a file's tensors have at most four elements a byte.
      std::uint64_t size = size_bytes(output.dtype);
      for (const std::int64_t dimension : output.shape) {
        size *= static_cast<std::uint64_t>(dimension);
      }
      imported.bytes += size;
    }
    plan_.tensors.push_back(std::move(imported));
  }

  int checked_heads(const GgufTensor& tensor, int heads) const {
    const std::int64_t rows = is_matrix(tensor) ? tensor.rows() : tensor.elements();
    const bool has_elements = is_matrix(tensor) || info_of(tensor.type).block_elements == 1;
    if (heads <= 0 || rows % (2 * std::int64_t{heads}) != 0 || !has_elements) {
      fail(tensor, fmt::format("of the shape {} is not made of pairs in {} heads",
                               shape_text(tensor.shape), heads));
    }
    return heads;
  }

  void add_affine(ImportedTensor& imported) const {
    const GgufTensor& tensor = *imported.source;
    const DType scale_type = whole_scale_type(tensor);
    std::vector<std::int64_t> codes = tensor.shape;
    std::vector<std::int64_t> groups = tensor.shape;
    groups.back() = tensor.columns() / kBlockGroupSize;
    codes.back() = groups.back() * imported.bits;  // 32 codes of b bits fill b words.
    imported.outputs = {{imported.module + ".weight", DType::u32, codes},
                        {imported.module + ".scales", scale_type, groups},
                        {imported.module + ".biases", scale_type, groups}};
  }

  DType whole_scale_type(const GgufTensor& tensor) const {
    DType type = DType::f16;
    for_each_piece(tensor, 0, [&](std::span<const std::byte> piece) {
      try {
        if (affine_scale_type(tensor.type, piece) == DType::f32) type = DType::f32;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::bad_input) throw;
        fail(tensor, "has a scale that is not a finite number",
             "the file is damaged; fetch it again");
      }
      check_();
    });
    return type;
  }

  DType dense_type(const GgufTensor& tensor) const {
    if (is_integer(tensor.type)) return *stored_type(tensor.type);
    if (is_matrix(tensor)) return matrix_type(tensor.type);
    return holds_exactly(tensor, plan_.float_type) ? plan_.float_type : DType::f32;
  }

  bool holds_exactly(const GgufTensor& tensor, DType type) const {
    if (type == DType::f32) return true;
    bool is_exact = true;
    std::vector<float> values;
    std::vector<float> again;
    std::vector<std::byte> bytes;
    for_each_piece(tensor, 0, [&](std::span<const std::byte> piece) {
      check_();
      if (!is_exact) return;
      const GgufTypeInfo& info = info_of(tensor.type);
      values.resize(piece.size() / info.block_bytes * info.block_elements);
      again.resize(values.size());
      bytes.resize(values.size() * size_bytes(type));
      dequantize(tensor.type, piece, values);
      from_float(values, type, bytes);
      to_float(type, bytes, again);
      is_exact = values == again;
    });
    return is_exact;
  }

  void warn_of_expanded() {
    for (const auto& [type, count] : expanded_) {
      plan_.warnings.push_back(
          fmt::format("{} tensors of the type {} have no exact affine form and are written as {}",
                      count, info_of(type).name, dtype_name(matrix_type(type))));
    }
  }

  const GgufFile& file_;
  std::span<const TensorRule> rules_;
  const Config& config_;
  const TensorImportOptions& options_;
  const std::function<void()>& check_;
  ImportedTensors plan_;
  std::set<std::string> names_;
  std::map<GgufType, int> expanded_;
};

}  // namespace

ImportedTensors plan_tensors(const GgufFile& file, std::span<const TensorRule> rules,
                             const Config& config, const TensorImportOptions& options,
                             const std::function<void()>& check) {
  return Planner(file, rules, config, options, check).plan();
}

}  // namespace quiver
