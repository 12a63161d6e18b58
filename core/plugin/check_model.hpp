// A model with random weights, made from a config for the checks of architectures.
#pragma once

#include "core/decode/engine.hpp"
#include "core/model/loaded_model.hpp"
#include "core/model/model_config.hpp"
#include "core/tensor/tensor_view.hpp"

#include <quiver/experts.hpp>
#include <quiver/image_weights.hpp>
#include <quiver/recurrence.hpp>
#include <quiver/weights.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// Records which tensors a model takes, without any being there.
class RecordingWeights final : public Weights,
                               public RecurrentWeights,
                               public ExpertWeights,
                               public ImageWeights {
 public:
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

  Conv2d conv2d(std::string_view name, int outputs, int inputs, const Conv2dSpec& spec) override;
  std::span<const std::int64_t> kernel_shape(std::string_view name) override;

  /// In the order in which they were taken. Linears with a bias that is used if present have one.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }

  /// Elements of all tensors together.
  std::int64_t elements() const { return elements_; }

 private:
  std::int32_t take(std::string name, std::vector<std::int64_t> shape);

  std::vector<TensorInfo> tensors_;
  std::int64_t elements_ = 0;
  std::int32_t next_handle_ = 0;
};

/// A model folder with random weights, removed with the object.
class RandomCheckpoint {
 public:
  /// Writes `config` and float32 weights for `tensors`, all but the one named `left_out`.
  RandomCheckpoint(const std::filesystem::path& config, const std::vector<TensorInfo>& tensors,
                   std::string_view left_out = {});
  ~RandomCheckpoint();
  RandomCheckpoint(const RandomCheckpoint&) = delete;
  RandomCheckpoint& operator=(const RandomCheckpoint&) = delete;

  /// Throws as LoadedModel::load does.
  std::shared_ptr<const LoadedModel> load(const ArchitectureOffer& architecture) const;

 private:
  std::filesystem::path folder_;
};

/// Runs a detector on noise: finite, the same bits each time, on any number of threads and from any
/// block on. Returns a few words, and fails as checks do.
std::string check_detector_runs(const std::shared_ptr<const LoadedModel>& model);

/// Keys and values as plain float32 rows, so that a model can run without any other plugin.
std::shared_ptr<const KvStrategy> plain_kv_strategy();

}  // namespace quiver
