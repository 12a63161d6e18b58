// Measures a model, chooses widths under a budget, and writes the quantized folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/quantize/allocation.hpp"
#include "core/quantize/quantized_folder.hpp"
#include "core/quantize/ranks.hpp"
#include "core/quantize/sensitivity_table.hpp"
#include "core/quantize/uniform_results.hpp"

namespace quiver {

enum class ConvertMethod : std::uint8_t {
  measured,  ///< Divergences of the calibration text.
  by_rules,  ///< Scores from roles and places, no forward pass.
};

enum class ConvertSensitivity : std::uint8_t {
  exact,         ///< Divergences of the model with one layer quantized.
  weight_error,  ///< weight_errors(): a pass of the reference, no variants.
};

enum class ConvertReference : std::uint8_t {
  automatic,  ///< The full weights where they fit into memory, else the stand-in.
  full,
  uniform4,  ///< A 4-bit copy stands for the model; full weights are read a layer at a time.
};

/// What becomes of tensors for images and sound that the family does not run.
enum class UnusedModalities : std::uint8_t {
  left_out,  ///< With a warning; config.json still describes them.
  kept,      ///< As they are, in a file of their own (kTowerFile), which counts in no size.
  stripped,  ///< From config.json too.
};

struct ConvertOptions {
  double target_bpw = 5.0;  ///< True bits: of everything written, per parameter of everything.
  std::vector<int> bits{4, 8};
  int group_size = 64;
  ConvertMethod method = ConvertMethod::measured;
  ConvertSensitivity sensitivity = ConvertSensitivity::exact;
  ConvertReference reference = ConvertReference::automatic;
  bool is_optiq = false;  ///< The reference package's allocator, units and accounting.
  AllocationRules rules;
  int positions = 0;        ///< Scored tokens of each text; 0 = all.
  double refinement = 0.1;  ///< Work on measured swaps, as a share of the sweep's; 0 = none.
  UnusedModalities modalities = UnusedModalities::left_out;
  bool compares = false;  ///< Also measures all layers at each width; see uniform_results().
  bool resumes = false;
  bool replaces = false;
  std::string encoder_name = "exact";  ///< For records and the checkpoint.
  std::string base_model;              ///< For records.
};

/// What happens, for people: a stage with its progress. Returning true interrupts.
using ConvertProgress = std::function<bool(std::string_view stage, std::uint64_t done,
                                           std::uint64_t total, std::string_view unit)>;

/// What the conversion works with.
struct ConvertMeans {
  MatrixEncoder encoder;
  /// Encodes what is written where that is not what was measured, as the reference package has it.
  RowEncoder writer{};
  bool wants_importance = false;         ///< Whether the encoder weights columns.
  std::shared_ptr<const KvStrategy> kv;  ///< Stores float32.
  ThreadPool& threads;
  Ranks* ranks = nullptr;
  ConvertProgress progress;
  /// Loads a written folder again.
  std::function<std::shared_ptr<const LoadedModel>(const std::filesystem::path&)> load;
};

/// A layer of the result.
struct ConvertedLayer {
  std::string name;
  Role role = Role::other;
  int block = -1;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  LayerFormat format;
  std::uint64_t bytes = 0;  ///< As written, all parts.
  WidthDivergences kl;      ///< Empty where nothing was measured.
};

struct Conversion {
  std::vector<ConvertedLayer> layers;
  std::string reference;    ///< "bf16" (full weights), "uniform_4bit" or "structural_rules".
  double bpw_true = 0;      ///< Of all tensors of the folder but those in sidecars.
  double bpw_linear = 0;    ///< Bits of codes per parameter of the measured layers.
  std::uint64_t bytes = 0;  ///< Of all tensors but those in sidecars.
  std::uint64_t source_bytes = 0;
  std::uint64_t sidecar_bytes = 0;  ///< Of draft heads and the like, in files of their own.
  double kl_predicted = 0;       ///< Sum of the chosen widths' divergences (or scores, or errors).
  double kl_measured = 0;        ///< Of the written folder, over the calibration texts as fed.
  double perplexity = 0;         ///< Of the written folder, see ModelScore.
  double source_perplexity = 0;  ///< 0 where it was not compared.
  std::vector<ModelScore> uniform;  ///< Where it was compared: by ascending width.
  int swaps_tried = 0;
  int swaps_kept = 0;
  std::vector<std::string> warnings;
};

/// Converts `model` into the folder `out`, which appears when it is complete and has been read
/// back; results of the sweep are kept beside it until then (SweepCheckpoint). All that is measured
/// is measured over the texts as calibration_inputs() gives them. In ranks other than 0 it only
/// takes part in the sweep and returns an empty conversion; where it fails there, the caller tells
/// rank 0 (send_failure()). Equal arguments give equal bytes, interrupted and resumed or not,
/// whatever the numbers of threads and ranks.
///
/// Throws Error(usage) for widths or a target that cannot be, Error(bad_input) naming the layer for
/// weights that are not finite, Error(interrupted), and as calibration_inputs() does; nothing but
/// the checkpoint is left behind then.
Conversion convert(std::shared_ptr<const LoadedModel> model,
                   const std::vector<std::vector<std::int32_t>>& texts,
                   const std::filesystem::path& out, const ConvertOptions& options,
                   const ConvertMeans& means);

}  // namespace quiver
