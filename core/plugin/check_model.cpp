// Random checkpoints and what it takes to run them.
#include "core/plugin/check_model.hpp"

#include "core/plugin/check_support.hpp"
#include "core/tensor/safetensors_writer.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <set>
#include <system_error>
#include <utility>

namespace quiver {
namespace {

constexpr std::int64_t kMostElements = std::int64_t{1} << 40U;

/// Values that keep activations near one from layer to layer.
std::vector<float> random_values(const TensorInfo& tensor, std::uint64_t seed) {
  std::size_t count = 1;
  for (const std::int64_t size : tensor.shape) count *= static_cast<std::size_t>(size);
  std::vector<float> values = check_noise(count, seed);
  // The inputs that are summed into one output; a vector scales or shifts.
  const std::size_t inputs =
      tensor.shape.empty() ? 1 : count / static_cast<std::size_t>(tensor.shape[0]);
  const bool is_scale = tensor.shape.size() == 1 && tensor.name.ends_with(".weight");
  for (float& value : values) {
    value = tensor.shape.size() == 1 ? 0.1F * value
                                     : value * std::sqrt(3.0F / static_cast<float>(inputs));
    if (is_scale) value += 1.0F;
  }
  return values;
}

/// [2][kTokens][kv_heads][head_dim] in the order of the page's keys and values.
class PlainRows final : public KvStrategy {
 public:
  std::size_t page_bytes(const KvShape& shape) const override {
    return 2 * kTokens * row(shape) * sizeof(float);
  }

  void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
             std::span<const float> values) const override {
    const std::size_t bytes = row(shape) * sizeof(float);
    const auto at = static_cast<std::size_t>(slot);
    std::memcpy(page + at * bytes, keys.data(), bytes);
    std::memcpy(page + (kTokens + at) * bytes, values.data(), bytes);
  }

  void scores(const KvShape& shape, const Slots& slots, const float* queries, int query_count,
              float* scores) const override {
    const auto dim = static_cast<std::size_t>(shape.head_dim);
    for (int query = 0; query < query_count; ++query) {
      const float* q = queries + static_cast<std::size_t>(query) * dim;
      for (int slot = slots.first; slot < slots.last; ++slot) {
        const float* key = at(shape, slots, slot, 0);
        float sum = 0;
        for (std::size_t d = 0; d < dim; ++d) sum += q[d] * key[d];
        scores[query * slots.stride() + slot] = sum;
      }
    }
  }

  void accumulate(const KvShape& shape, const Slots& slots, const float* weights, int query_count,
                  float* output, const std::byte*) const override {
    const auto dim = static_cast<std::size_t>(shape.head_dim);
    for (int query = 0; query < query_count; ++query) {
      float* out = output + static_cast<std::size_t>(query) * dim;
      for (int slot = slots.first; slot < slots.last; ++slot) {
        const float* value = at(shape, slots, slot, kTokens);
        const float weight = weights[query * slots.stride() + slot];
        for (std::size_t d = 0; d < dim; ++d) out[d] += weight * value[d];
      }
    }
  }

 private:
  static std::size_t row(const KvShape& shape) {
    return static_cast<std::size_t>(shape.kv_heads) * static_cast<std::size_t>(shape.head_dim);
  }
  /// Keys are the rows from 0 on of a page, values those from kTokens on.
  static const float* at(const KvShape& shape, const Slots& slots, int slot, int first_row) {
    const auto page = static_cast<std::size_t>(slot / kTokens);
    const auto row_of_slot = static_cast<std::size_t>(first_row + slot % kTokens);
    // Pages are aligned to 64 bytes.
    return reinterpret_cast<const float*>(slots.pages[page]) + row_of_slot * row(shape) +
           static_cast<std::size_t>(slots.kv_head) * static_cast<std::size_t>(shape.head_dim);
  }
};

}  // namespace

std::int32_t RecordingWeights::take(std::string name, std::vector<std::int64_t> shape) {
  std::int64_t elements = 1;
  for (const std::int64_t size : shape) {
    if (size <= 0 || elements > kMostElements / size) {
      throw Error(ErrorCode::bad_input, "config.json gives it an absurd size", name,
                  "correct config.json");
    }
    elements *= size;
  }
  elements_ += elements;
  tensors_.push_back({std::move(name), DType::f32, std::move(shape)});
  return next_handle_++;
}

void RecordingWeights::begin_block(int) {}

Linear RecordingWeights::linear(std::string_view name, int outputs, int inputs,
                                const LinearSpec& spec) {
  const std::string base(name);
  const Linear handle{take(base + ".weight", {outputs, inputs})};
  if (spec.bias != Bias::none) take(base + ".bias", {outputs});
  return handle;
}

Embedding RecordingWeights::embedding(std::string_view name, int rows, int width) {
  return {take(std::string(name) + ".weight", {rows, width})};
}

Norm RecordingWeights::norm(std::string_view name, int width, const NormSpec& spec) {
  if (!spec.has_weight) return {next_handle_++};
  return {take(std::string(name) + ".weight", {width})};
}

CausalConv RecordingWeights::causal_conv(std::string_view name, int channels, int kernel,
                                         const CausalConvSpec& spec) {
  const std::string base(name);
  const CausalConv handle{take(base + ".weight", {channels, 1, kernel})};
  if (spec.has_bias) take(base + ".bias", {channels});
  return handle;
}

Rope RecordingWeights::rope(const RopeSpec&) {
  return {next_handle_++};
}
KvCache RecordingWeights::kv_cache(const KvCacheSpec&) {
  return {next_handle_++};
}
bool RecordingWeights::has(std::string_view) const {
  return false;
}
int RecordingWeights::shape(std::string_view, std::span<std::int64_t>) const {
  return -1;
}
bool RecordingWeights::read(std::string_view, std::span<float>) {
  return false;
}

void* RecordingWeights::extension(std::string_view interface_id) {
  if (interface_id == RecurrentWeights::kInterfaceId) return static_cast<RecurrentWeights*>(this);
  if (interface_id == ExpertWeights::kInterfaceId) return static_cast<ExpertWeights*>(this);
  if (interface_id == ImageWeights::kInterfaceId) return static_cast<ImageWeights*>(this);
  return nullptr;
}

/// As where a norm was folded into the convolution.
Conv2d RecordingWeights::conv2d(std::string_view name, int outputs, int inputs,
                                const Conv2dSpec& spec) {
  const std::string base(name);
  const Conv2d handle{
      take(base + ".weight", {outputs, spec.kernel, spec.kernel, spec.is_depthwise ? 1 : inputs})};
  take(base + ".bias", {outputs});
  return handle;
}
std::span<const std::int64_t> RecordingWeights::kernel_shape(std::string_view) {
  return {};
}

DeltaRule RecordingWeights::delta_rule(std::string_view name, const DeltaRuleSpec& spec) {
  const std::string base(name);
  take(base + ".dt_bias", {spec.value_heads});
  return {take(base + ".A_log", {spec.value_heads})};
}

ExpertLinear RecordingWeights::expert_linear(std::string_view name, int outputs, int inputs,
                                             const ExpertLinearSpec& spec) {
  return {take(std::string(name) + ".weight", {spec.experts, outputs, inputs})};
}

RandomCheckpoint::RandomCheckpoint(const std::filesystem::path& config,
                                   const std::vector<TensorInfo>& tensors,
                                   std::string_view left_out) {
  std::string pattern = (std::filesystem::temp_directory_path() / "quiver-check-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw Error(ErrorCode::resources, "no temporary folder can be made", pattern,
                "check TMPDIR and the space there");
  }
  folder_ = pattern;
  std::filesystem::copy_file(config, folder_ / "config.json");
  std::vector<TensorInfo> written;
  // A part that is taken twice is stored once.
  std::set<std::string> names;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.name != left_out && names.insert(tensor.name).second) written.push_back(tensor);
  }
  SafetensorsWriter writer(folder_ / "model.safetensors", written);
  for (std::size_t i = 0; i < written.size(); ++i) {
    const std::vector<float> values = random_values(written[i], 100 + i);
    writer.write(written[i].name, std::as_bytes(std::span(values)));
  }
  writer.commit();
}

RandomCheckpoint::~RandomCheckpoint() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::shared_ptr<const LoadedModel> RandomCheckpoint::load(
    const ArchitectureOffer& architecture) const {
  const auto no_scheme = [](std::string_view name) -> std::shared_ptr<const QuantScheme> {
    throw Error(ErrorCode::plugin, "a check has no quantization schemes", std::string(name));
  };
  return LoadedModel::load(
      folder_, [&](std::string_view) { return architecture; }, no_scheme);
}

std::shared_ptr<const KvStrategy> plain_kv_strategy() {
  return std::make_shared<PlainRows>();
}

}  // namespace quiver
