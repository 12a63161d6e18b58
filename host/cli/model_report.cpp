// What a model is made of and how much memory it takes: the numbers behind `quiver info`.
#include "host/cli/model_report.hpp"

#include "core/decode/engine.hpp"
#include "core/model/role_name.hpp"
#include "core/tensor/checked_math.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace quiver::cli {
namespace {

std::uint64_t product(std::uint64_t a, std::uint64_t b) {
  const auto result = checked_multiply(a, b);
  if (!result) {
    throw Error(ErrorCode::bad_input, "the sizes in config.json exceed any memory", "config.json",
                "correct the file");
  }
  return *result;
}

/// How config.json would store the matrices of a model that has no tensors yet.
class StoredForm {
 public:
  StoredForm(const ModelConfig& config, const SchemeSource& schemes)
      : json_(config.json()), schemes_(schemes), dtype_(float_type()) {}

  DType dtype() const { return dtype_; }

  void predict(LayerReport& layer) const {
    const nlohmann::json* entry = quantization_of(layer.name);
    if (entry != nullptr && predict_quantized(*entry, layer)) return;
    layer.bits = static_cast<int>(8 * size_bytes(dtype_));
    layer.bytes = product(layer.parameters, size_bytes(dtype_));
  }

 private:
  DType float_type() const {
    for (const char* key : {"torch_dtype", "dtype"}) {
      if (!json_.contains(key) || !json_.at(key).is_string()) continue;
      const std::string name = json_.at(key);
      if (name == "float32") return DType::f32;
      if (name == "float16") return DType::f16;
    }
    return DType::bf16;
  }

  /// The module's own entry, else the model's; nullptr where it is not quantized.
  const nlohmann::json* quantization_of(const std::string& name) const {
    for (const char* key : {"quantization", "quantization_config"}) {
      const auto table = json_.find(key);
      if (table == json_.end() || !table->is_object()) continue;
      const auto entry = table->find(name);
      if (entry == table->end()) return &*table;
      return entry->is_object() ? &*entry : nullptr;
    }
    return nullptr;
  }

  bool predict_quantized(const nlohmann::json& entry, LayerReport& layer) const {
    const auto integer = [&](const char* key) {
      const auto value = entry.find(key);
      return value != entry.end() && value->is_number_integer() ? value->get<std::int64_t>() : 0;
    };
    const std::int64_t bits = integer("bits");
    const std::int64_t group_size = integer("group_size");
    if (bits < 1 || bits > 32 || group_size < 1 || group_size > (1 << 20)) return false;
    const auto mode = entry.find("mode");
    const std::string scheme_name =
        mode != entry.end() && mode->is_string() ? mode->get<std::string>() : "affine";
    const auto scheme = schemes_(scheme_name);
    std::array<QuantPart, QuantScheme::kMaxParts> parts{};
    const QuantFormat format{static_cast<std::int32_t>(bits),
                             static_cast<std::int32_t>(group_size)};
    const int count = scheme->parts(format, layer.columns, dtype_, parts);
    if (count <= 0) return false;
    std::uint64_t row_bytes = 0;
    for (int i = 0; i < count; ++i) {
      const QuantPart& part = parts[static_cast<std::size_t>(i)];
      row_bytes += product(static_cast<std::uint64_t>(part.columns), size_bytes(part.dtype));
    }
    layer.bits = format.bits;
    layer.group_size = format.group_size;
    layer.bytes = product(static_cast<std::uint64_t>(layer.rows), row_bytes);
    return true;
  }

  const nlohmann::json& json_;
  const SchemeSource& schemes_;
  DType dtype_;
};

LayerReport report_layer(const std::string& name, Role role, int block, const StoredMatrix& matrix,
                         const StoredForm& form) {
  LayerReport layer;
  layer.name = name;
  layer.role = role_name(role);
  layer.is_draft = role == Role::draft_head;
  layer.block = block;
  layer.rows = matrix.rows;
  layer.columns = matrix.columns;
  layer.parameters =
      product(static_cast<std::uint64_t>(matrix.rows), static_cast<std::uint64_t>(matrix.columns));
  if (!matrix.has_data()) {
    form.predict(layer);
    return layer;
  }
  layer.bytes = matrix.size_bytes();
  layer.bits = matrix.scheme ? matrix.format.bits : static_cast<int>(8 * size_bytes(matrix.dtype));
  if (matrix.scheme) layer.group_size = matrix.format.group_size;
  return layer;
}

/// Parameters outside of matrices: norms, biases, convolutions.
std::uint64_t other_parameters(const WeightStore& weights) {
  std::uint64_t count = 0;
  for (const LinearPart& part : weights.linears()) {
    if (part.has_bias) count += static_cast<std::uint64_t>(part.matrix.rows);
  }
  for (const NormPart& part : weights.norms()) {
    if (part.has_weight) count += static_cast<std::uint64_t>(part.width);
  }
  for (const CausalConvPart& part : weights.causal_convs()) {
    count += product(static_cast<std::uint64_t>(part.channels),
                     static_cast<std::uint64_t>(part.kernel) + (part.has_bias ? 1 : 0));
  }
  for (const Conv2dPart& part : weights.images().convs()) {
    count += static_cast<std::uint64_t>(part.side_parameters);
  }
  for (const DeltaRulePart& part : weights.delta_rules()) {
    count += 2 * static_cast<std::uint64_t>(part.spec.value_heads);
  }
  return count;
}

/// Bytes of a layer's keys and values, in whole pages.
std::uint64_t kv_bytes(const PageSizes& sizes, std::uint64_t context) {
  constexpr std::uint64_t kPage = KvStrategy::kTokens;
  const std::uint64_t pages = (context + kPage - 1) / kPage;
  const std::uint64_t stored =
      sizes.fresh == 0 ? pages
                       : stored_tokens(context, static_cast<std::uint64_t>(sizes.recent)) / kPage;
  return product(sizes.stored, stored) + product(sizes.fresh, pages - stored);
}

/// Bytes that a sequence has for states and windows, whatever its length.
std::uint64_t state_bytes(const CacheLayout& layout) {
  std::uint64_t values = 0;
  for (const CacheLayout::Recurrence& recurrence : layout.recurrences) {
    values += recurrence.state_size;
  }
  for (const CacheLayout::Window& window : layout.windows) {
    values += static_cast<std::uint64_t>(window.rows) * static_cast<std::uint64_t>(window.channels);
  }
  return sizeof(float) * values;
}

}  // namespace

bool LayerReport::is_quantizable() const {
  constexpr std::int64_t kSmallestGroup = 32;
  return role != role_name(Role::embedding) && role != role_name(Role::tower) && !is_draft &&
         columns % kSmallestGroup == 0;
}

double ModelReport::bpw() const {
  return parameters == 0 ? 0 : 8 * static_cast<double>(bytes) / static_cast<double>(parameters);
}

std::uint64_t ModelReport::bytes_at(double bpw) const {
  return static_cast<std::uint64_t>(static_cast<double>(layer_parameters) * bpw / 8) + other_bytes;
}

ModelReport report_model(const LoadedModel& model, const SchemeSource& schemes) {
  ModelReport report;
  report.architecture = model.architecture().offer;
  report.plugin = model.architecture().plugin;
  report.model_type = model.config().model_type();
  report.is_bare = model.checkpoint() == nullptr;
  report.blocks = model.model().block_count();
  if (model.is_text()) report.text = model.text().info();
  const WeightStore& weights = model.weights();
  const StoredForm form(model.config(), schemes);
  for (const EmbeddingPart& part : weights.embeddings()) {
    report.layers.push_back(
        report_layer(part.name, Role::embedding, part.block, part.matrix, form));
  }
  for (const LinearPart& part : weights.linears()) {
    report.layers.push_back(report_layer(part.name, part.role, part.block, part.matrix, form));
    report.layers.back().experts = part.experts;
    report.layers.back().experts_per_row = part.experts_per_row;
  }
  for (const Conv2dPart& part : weights.images().convs()) {
    LayerReport layer = report_layer(part.name, part.role, part.block, part.matrix, form);
    // Zeros behind the rows of quantized kernels take room, and are no parameters.
    layer.columns = part.columns;
    layer.parameters = static_cast<std::uint64_t>(part.outputs * part.columns);
    report.layers.push_back(std::move(layer));
  }
  std::uint64_t layer_bytes = 0;
  report.parameters = other_parameters(weights);
  const std::uint64_t float_bytes = product(report.parameters, size_bytes(form.dtype()));
  for (const LayerReport& layer : report.layers) {
    report.parameters += layer.parameters;
    (layer.is_draft ? report.draft_bytes : layer_bytes) += layer.bytes;
    if (!layer.is_draft) report.layer_parameters += layer.parameters;
  }
  report.bytes = report.is_bare ? layer_bytes + report.draft_bytes + float_bytes
                                : model.checkpoint()->size_bytes();
  report.other_bytes = report.bytes - std::min(report.bytes, layer_bytes);
  report.float_bytes = size_bytes(form.dtype());
  return report;
}

WidthSplit split_widths(const ModelReport& report, double target) {
  if (target < WidthSplit::kNarrow || target > WidthSplit::kWide) {
    throw Error(ErrorCode::usage,
                fmt::format("no widths of 4 and 8 bits have a mean of {}", target), "--target-bpw",
                "name something in between");
  }
  WidthSplit split;
  std::vector<std::uint64_t> sizes;
  split.bytes = report.other_bytes;
  for (const LayerReport& layer : report.layers) {
    const bool is_embedding = layer.role == role_name(Role::embedding);
    if (layer.is_draft) continue;
    if (layer.columns % WidthSplit::kGroup != 0) {
      split.bytes += layer.bytes;
      continue;
    }
    (is_embedding ? split.embedding_parameters : split.parameters) += layer.parameters;
    if (!is_embedding) sizes.push_back(layer.parameters);
  }
  split.linears = sizes.size();
  const double share = (target - WidthSplit::kNarrow) / (WidthSplit::kWide - WidthSplit::kNarrow);
  split.wide_parameters = static_cast<std::uint64_t>(share * static_cast<double>(split.parameters));
  std::ranges::sort(sizes);
  std::uint64_t sum = 0;
  for (std::size_t i = sizes.size(); i > 0 && sum < split.wide_parameters; --i) {
    sum += sizes[i - 1];
    ++split.fewest_wide;
  }
  sum = 0;
  for (const std::uint64_t size : sizes) {
    sum += size;
    if (sum > split.wide_parameters) break;
    ++split.most_wide;
  }
  split.most_wide = std::max(split.most_wide, split.fewest_wide);
  const std::uint64_t quantized = split.parameters + split.embedding_parameters;
  const std::uint64_t wide = split.wide_parameters + split.embedding_parameters;
  const std::uint64_t scales = quantized / WidthSplit::kGroup * 2;
  split.bytes += (wide * WidthSplit::kWide + (quantized - wide) * WidthSplit::kNarrow) / 8 +
                 scales * report.float_bytes;
  return split;
}

KvReport report_kv(const LoadedModel& model, const KvPlan& kv, std::uint64_t context) {
  const CacheLayout layout = cache_layout(model.weights(), kv);
  KvReport report;
  report.context = context;
  report.state_bytes = state_bytes(layout);
  const auto caches = model.weights().kv_caches();
  std::uint64_t page_bytes = 0;
  for (std::size_t i = 0; i < caches.size(); ++i) {
    if (caches[i].use == CacheUse::draft) continue;
    const PageSizes sizes = layout.sizes(i);
    report.layers.push_back({caches[i].block, i, sizes.stored / KvStrategy::kTokens});
    report.bytes += kv_bytes(sizes, context);
    page_bytes += sizes.stored;
  }
  report.bytes_per_token = page_bytes / KvStrategy::kTokens;
  if (report.layers.size() == caches.size()) return report;
  const CacheLayout drafted = cache_layout(model.weights(), kv, model.text().info().hidden);
  report.draft_bytes = state_bytes(drafted) - report.state_bytes;
  for (std::size_t i = 0; i < caches.size(); ++i) {
    if (caches[i].use == CacheUse::draft) report.draft_bytes += kv_bytes(drafted.sizes(i), context);
  }
  return report;
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} bytes", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace quiver::cli
