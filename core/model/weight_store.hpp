// All parts that a model took, and where their values lie.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <quiver/experts.hpp>
#include <quiver/image_encoder.hpp>
#include <quiver/recurrence.hpp>
#include <quiver/weights.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/image_parts.hpp"
#include "core/model/model_config.hpp"
#include "core/model/stored_matrix.hpp"

namespace quiver {

class Checkpoint;
struct ModelTensor;

/// Gives the quantization scheme of a name; throws Error(plugin) where none is installed.
using SchemeSource = std::function<std::shared_ptr<const QuantScheme>(std::string_view name)>;

/// How files shape a matrix of which `columns` are stored: [rows, columns], or with experts, which
/// lie one below the other, [experts, rows / experts, columns]. [any-thread]
inline std::vector<std::int64_t> stored_shape(std::int64_t rows, std::int64_t columns,
                                              int experts) {
  if (experts == 0) return {rows, columns};
  return {experts, rows / experts, columns};
}

struct LinearPart {
  std::string name;
  Role role = Role::other;
  int block = -1;
  StoredMatrix matrix;  ///< Of experts: one below the other.
  bool has_bias = false;
  std::vector<float> bias;  ///< Empty = none, or a bare config.
  int experts = 0;          ///< 0 = one matrix for all rows.
  int experts_per_row = 0;

  /// Outputs for a row.
  std::int64_t outputs() const { return experts == 0 ? matrix.rows : matrix.rows / experts; }
};

struct EmbeddingPart {
  std::string name;
  int block = -1;
  StoredMatrix matrix;
};

struct NormPart {
  std::string name;
  int block = -1;
  float epsilon = 0;
  int width = 0;
  bool has_weight = true;
  std::vector<float> weight;  ///< Empty = none, or a bare config.
};

struct CausalConvPart {
  std::string name;
  int block = -1;
  int channels = 0;
  int kernel = 0;
  std::vector<float> weight;  ///< [kernel, channels]: tap by tap, so that channels are adjacent.
  bool has_bias = false;
  std::vector<float> bias;  ///< Empty = none, or a bare config.
};

struct RopePart {
  std::vector<float> inverse_frequencies;
  std::vector<std::uint8_t> position_of_pair;
  float magnitude = 1;
  RopeLayout layout = RopeLayout::half;
};

struct KvCachePart {
  int block = -1;
  int kv_heads = 0;
  int head_dim = 0;
  int window = 0;
  CacheUse use = CacheUse::target;
  int hidden_tokens = 0;
};

struct DeltaRulePart {
  std::string name;
  int block = -1;
  DeltaRuleSpec spec;
  std::vector<float> a_log;    ///< [value_heads]; empty on a bare config.
  std::vector<float> dt_bias;  ///< [value_heads]; empty on a bare config.

  std::size_t head_size() const {
    return static_cast<std::size_t>(spec.key_dim) * static_cast<std::size_t>(spec.value_dim);
  }
  /// Values of all keys, and of all values, of a row.
  std::size_t keys_size() const {
    return static_cast<std::size_t>(spec.key_heads) * static_cast<std::size_t>(spec.key_dim);
  }
  std::size_t values_size() const {
    return static_cast<std::size_t>(spec.value_heads) * static_cast<std::size_t>(spec.value_dim);
  }
  /// Values of what a row changes the state by: its keys, a difference for each value, and a decay
  /// for each value head.
  std::size_t update_size() const {
    return keys_size() + values_size() + static_cast<std::size_t>(spec.value_heads);
  }
  /// Values of its state in a sequence.
  std::size_t state_size() const {
    return static_cast<std::size_t>(spec.value_heads) * head_size();
  }
};

struct LayerNormPart {
  std::string name;
  float epsilon = 0;
  std::vector<float> weight;  ///< [width]; empty on a bare config.
  std::vector<float> bias;    ///< [width]; empty on a bare config.
  int width = 0;
};

struct PositionTablePart {
  std::string name;
  int side = 0;
  int width = 0;
  std::vector<float> values;  ///< [side, side, width]; empty on a bare config.
};

/// The host's Weights. Filled by one Architecture::create, then finished, then immutable and
/// readable from any thread. Matrices stay where the checkpoint has them; small parts (norms,
/// biases, convolutions) are copied as float32.
class WeightStore : public Weights,
                    public RecurrentWeights,
                    public ExpertWeights,
                    public TowerWeights {
 public:
  /// `checkpoint` may be nullptr: a bare config, whose parts have sizes and no values. The
  /// checkpoint must outlive the store.
  WeightStore(const Checkpoint* checkpoint, const ModelConfig& config, SchemeSource schemes);

  /// On a bare config: tensors that has() speaks of as if they were there.
  void assume(std::set<std::string, std::less<>> names) { assumed_ = std::move(names); }

  void begin_block(int index) override;
  Linear linear(std::string_view name, int outputs, int inputs, const LinearSpec& spec) override;
  Embedding embedding(std::string_view name, int rows, int width) override;
  Norm norm(std::string_view name, int width, const NormSpec& spec) override;
  CausalConv causal_conv(std::string_view name, int channels, int kernel,
                         const CausalConvSpec& spec) override;
  Rope rope(const RopeSpec& spec) override;
  KvCache kv_cache(const KvCacheSpec& spec) override;
  bool has(std::string_view name) const override;
  int shape(std::string_view name, std::span<std::int64_t> sizes) const override;
  bool read(std::string_view name, std::span<float> values) override;
  void* extension(std::string_view interface_id) override;
  DeltaRule delta_rule(std::string_view name, const DeltaRuleSpec& spec) override;
  ExpertLinear expert_linear(std::string_view name, int outputs, int inputs,
                             const ExpertLinearSpec& spec) override;
  Linear patch_embedding(std::string_view name, int outputs, const PatchShape& patch) override;
  LayerNorm layer_norm(std::string_view name, int width, float epsilon) override;
  PositionTable position_table(std::string_view name, int side, int width) override;

  /// Ends building: every tensor of the checkpoint must have been taken. Throws Error(bad_input)
  /// naming one that was not. [load-thread]
  void finish() const;

  const LinearPart& operator[](Linear handle) const;
  const EmbeddingPart& operator[](Embedding handle) const;
  const NormPart& operator[](Norm handle) const;
  const CausalConvPart& operator[](CausalConv handle) const;
  const RopePart& operator[](Rope handle) const;
  const KvCachePart& operator[](KvCache handle) const;
  const DeltaRulePart& operator[](DeltaRule handle) const;
  const LinearPart& operator[](ExpertLinear handle) const;
  const LayerNormPart& operator[](LayerNorm handle) const;
  const PositionTablePart& operator[](PositionTable handle) const;

  /// Those of experts too.
  std::span<const LinearPart> linears() const noexcept { return linears_; }
  std::span<const EmbeddingPart> embeddings() const noexcept { return embeddings_; }
  std::span<const NormPart> norms() const noexcept { return norms_; }
  std::span<const CausalConvPart> causal_convs() const noexcept { return causal_convs_; }
  std::span<const KvCachePart> kv_caches() const noexcept { return kv_caches_; }
  std::span<const DeltaRulePart> delta_rules() const noexcept { return delta_rules_; }

  /// Convolutions of models that look at pictures.
  const ImageParts& images() const noexcept { return images_; }

 private:
  friend class ImageParts;
  /// `experts` = 0: one matrix of two dimensions; otherwise so many of rows / experts rows.
  StoredMatrix matrix(const std::string& name, std::int64_t rows, std::int64_t columns,
                      int experts = 0);
  StoredMatrix quantized(const std::string& name, const ModelTensor& codes, std::int64_t rows,
                         std::int64_t columns, int experts);
  bool match_format(const std::string& name, StoredMatrix& matrix, int experts,
                    DType parameter_type, const QuantFormat& format);
  std::vector<float> vector(const std::string& name, std::int64_t size, bool is_optional);

  const Checkpoint* checkpoint_;
  const ModelConfig& config_;
  SchemeSource schemes_;
  int block_ = -1;
  std::set<std::string, std::less<>> assumed_;
  std::set<std::string, std::less<>> taken_;
  std::vector<LinearPart> linears_;
  std::vector<EmbeddingPart> embeddings_;
  std::vector<NormPart> norms_;
  std::vector<CausalConvPart> causal_convs_;
  std::vector<RopePart> ropes_;
  std::vector<KvCachePart> kv_caches_;
  std::vector<DeltaRulePart> delta_rules_;
  std::vector<LayerNormPart> layer_norms_;
  std::vector<PositionTablePart> position_tables_;
  /// Matrices that had to be put into another order.
  std::vector<std::unique_ptr<std::vector<float>>> reordered_;
  ImageParts images_{*this};
};

}  // namespace quiver
