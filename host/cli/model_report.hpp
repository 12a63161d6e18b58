// What a model is made of and how much memory it takes: the numbers behind `quiver info`.
#pragma once

#include "core/model/loaded_model.hpp"

#include "core/cache/kv_plan.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quiver::cli {

/// One matrix of a model. `bytes` are stored ones; predicted from the config where there are no
/// tensors.
struct LayerReport {
  std::string name;
  std::string role;
  int block = -1;  ///< -1 = of no block.
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  int bits = 0;                   ///< Of one code, or of one float where not quantized.
  std::optional<int> group_size;  ///< Nothing where not quantized.
  std::uint64_t bytes = 0;
  std::uint64_t parameters = 0;
};

struct ModelReport {
  std::string architecture;  ///< The offer that runs it.
  std::string plugin;
  std::string model_type;
  bool is_bare = false;  ///< Without tensors: sizes are predictions.
  std::vector<LayerReport> layers;
  std::uint64_t parameters = 0;        ///< Of layers and everything else.
  std::uint64_t bytes = 0;             ///< Of all stored tensors.
  std::uint64_t layer_parameters = 0;  ///< Of layers alone: what quantization can shrink.
  std::uint64_t other_bytes = 0;       ///< Of what is never quantized.
  int blocks = 0;
  std::optional<TextModelInfo> text;

  /// Bits that one parameter takes on average, parameters of schemes included.
  double bpw() const;

  /// Bytes if all layers together took `bpw` bits a parameter.
  std::uint64_t bytes_at(double bpw) const;
};

/// Memory of one sequence's keys and values.
struct KvReport {
  struct Layer {
    int block = 0;
    std::uint64_t bytes_per_token = 0;
  };
  std::uint64_t bytes_per_token = 0;  ///< Of tokens that are not kept in a finer form.
  std::uint64_t bytes = 0;            ///< For `context` tokens, in whole pages.
  std::vector<Layer> layers;          ///< By KvCache::id.
  std::uint64_t context = 0;
};

/// [any-thread]
ModelReport report_model(const LoadedModel& model, const SchemeSource& schemes);

/// [any-thread]
KvReport report_kv(const LoadedModel& model, const KvPlan& kv, std::uint64_t context);

/// "1.5 GB" in powers of 1000. [any-thread]
std::string bytes_text(std::uint64_t bytes);

}  // namespace quiver::cli
