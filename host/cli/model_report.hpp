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
  int experts = 0;          ///< Of a stack: its matrices, which lie one below the other.
  int experts_per_row = 0;  ///< How many of them a token passes.
  bool is_draft = false;    ///< Of a draft head, which only drafting runs and nothing quantizes.

  /// Whether it is a linear that conversions choose a width for.
  bool is_quantizable() const;
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
  std::uint64_t draft_bytes = 0;       ///< Of a draft head's matrices, which other_bytes counts.
  std::uint64_t other_bytes = 0;       ///< Of what is never quantized.
  std::size_t float_bytes = 0;         ///< Of one number that is not quantized, scales included.
  int blocks = 0;
  std::optional<TextModelInfo> text;

  /// Bits that one parameter takes on average, parameters of schemes included.
  double bpw() const;

  /// Bytes if all layers together took `bpw` bits a parameter.
  std::uint64_t bytes_at(double bpw) const;
};

/// Two widths for all linears, counted as the reference package of mixed precision does: bits of
/// codes over the parameters of linears whose columns its groups divide. Whatever else is
/// quantized, an embedding with its tied head that is, has the wide width and is not counted.
struct WidthSplit {
  static constexpr int kNarrow = 4;
  static constexpr int kWide = 8;
  static constexpr int kGroup = 64;
  std::size_t linears = 0;
  std::uint64_t parameters = 0;       ///< Of these linears.
  std::uint64_t wide_parameters = 0;  ///< Of them, at the wide width.
  /// How many linears that is, from the largest ones (the last of them may pass the target) to the
  /// smallest ones.
  std::size_t fewest_wide = 0;
  std::size_t most_wide = 0;
  std::uint64_t embedding_parameters = 0;
  std::uint64_t bytes = 0;  ///< Of everything, scales and biases too.
};

/// Memory of one sequence's keys and values, and of what layers without them keep.
struct KvReport {
  struct Layer {
    int block = 0;
    std::size_t cache = 0;  ///< KvCache::id.
    std::uint64_t bytes_per_token = 0;
  };
  std::uint64_t bytes_per_token = 0;  ///< Of tokens that are not kept in a finer form.
  std::uint64_t bytes = 0;            ///< For `context` tokens, in whole pages.
  std::vector<Layer> layers;          ///< Those of a draft head left out.
  std::uint64_t draft_bytes = 0;      ///< What a draft head's layers take more, where it drafts.
  /// For states of recurrences and windows of convolutions, whatever the context.
  std::uint64_t state_bytes = 0;
  std::uint64_t context = 0;
};

/// [any-thread]
ModelReport report_model(const LoadedModel& model, const SchemeSource& schemes);

/// Throws Error(usage) for a target that lies outside the two widths. [any-thread]
WidthSplit split_widths(const ModelReport& report, double target);

/// [any-thread]
KvReport report_kv(const LoadedModel& model, const KvPlan& kv, std::uint64_t context);

/// "1.5 GB" in powers of 1000. [any-thread]
std::string bytes_text(std::uint64_t bytes);

}  // namespace quiver::cli
