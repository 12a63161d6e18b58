// Measures a model, chooses widths under a budget, and writes the quantized folder.
#include "core/quantize/convert.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <quiver/draft_head.hpp>
#include <quiver/error.hpp>

#include "core/decode/draft_vocabulary.hpp"
#include "core/model/available_memory.hpp"
#include "core/model/checkpoint.hpp"
#include "core/model/role_name.hpp"
#include "core/model/staging_folder.hpp"
#include "core/plugin/sha256.hpp"
#include "core/quantize/allocate_greedy.hpp"
#include "core/quantize/check_weights.hpp"
#include "core/quantize/convert_records.hpp"
#include "core/quantize/layer_problem.hpp"
#include "core/quantize/refine_allocation.hpp"
#include "core/quantize/shared_sweep.hpp"
#include "core/quantize/tower_file.hpp"
#include "core/tensor/atomic_file.hpp"

namespace quiver {
namespace {

constexpr int kStandInBits = 4;
// Share of the memory that is free which a model may take before a stand-in is used instead.
constexpr double kMemoryShare = 0.7;
// Swaps that are measured in one pass.
constexpr int kSwapBatch = 4;

class Converter {
 public:
  Converter(std::shared_ptr<const LoadedModel> model,
            const std::vector<std::vector<std::int32_t>>& texts, const std::filesystem::path& out,
            const ConvertOptions& options, const ConvertMeans& means)
      : model_(std::move(model)),
        texts_(calibration_inputs(*model_, texts)),
        out_(out),
        options_(options),
        means_(means) {
    layers_ = quantizable_layers(*model_, *means_.encoder.scheme, options_.group_size);
    fixed_ = fixed_size(*model_, layers_);
    result_.source_bytes = fixed_.bytes;
    for (const QuantizableLayer& layer : layers_) {
      result_.source_bytes += layer.matrix->size_bytes();
    }
  }

  Conversion run() {
    const bool is_root = means_.ranks == nullptr || means_.ranks->rank() == 0;
    check();
    if (is_root) {
      StagingFolder(out_, options_.replaces);  // a place that cannot be written fails now
      uses_stand_in_ = wants_stand_in();
      checkpoint_.emplace(SweepCheckpoint::place(out_), sweep_settings(), options_.resumes,
                          options_.replaces);
    }
    if (means_.ranks != nullptr) {
      uses_stand_in_ = means_.ranks->broadcast(uses_stand_in_ ? "1" : "") == "1";
    }
    check_weights(*model_, means_.threads, [&](std::size_t done, std::size_t total) {
      report("checking", done, total, "tensors");
    });
    if (is_measured()) {
      if (uses_stand_in_) make_stand_ins();
      result_.reference = uses_stand_in_ ? "uniform_4bit" : "bf16";
      is_estimated() ? estimate() : measure();
    } else {
      result_.reference = "structural_rules";
      if (means_.wants_importance && !texts_.empty()) start_runner();
    }
    if (!is_root) return {};
    allocate();
    write();
    return std::move(result_);
  }

 private:
  bool is_measured() const { return options_.method == ConvertMethod::measured; }
  bool is_estimated() const {
    return is_measured() && options_.sensitivity == ConvertSensitivity::weight_error;
  }

  void check() const {
    for (const int bits : options_.bits) {
      const auto formats = means_.encoder.scheme->formats();
      const bool is_known = bits == kKeepBits || std::ranges::any_of(formats, [&](const auto& f) {
                              return f.bits == bits && f.group_size == options_.group_size;
                            });
      if (is_known) continue;
      throw Error(ErrorCode::usage,
                  fmt::format("the scheme '{}' has no {} bits in groups of {}",
                              means_.encoder.scheme->name(), bits, options_.group_size),
                  "--candidate-bits, --group-size",
                  "'quiver plugins inspect' lists its formats; 16 keeps a layer as it is");
    }
  }

  nlohmann::json sweep_settings() const {
    nlohmann::json settings = model_record(*model_);
    settings["texts"] = texts_record(texts_);
    settings["widths"] = options_.bits;
    settings["group_size"] = options_.group_size;
    settings["encoder"] = options_.encoder_name;
    settings["scheme"] = means_.encoder.scheme->name();
    settings["positions"] = options_.positions;
    settings["sensitivity"] = is_estimated() ? "weight-error" : "exact";
    settings["reference"] = uses_stand_in_ ? "uniform_4bit" : "bf16";
    return settings;
  }

  bool wants_stand_in() const {
    if (!is_measured() || options_.reference == ConvertReference::full) return false;
    if (options_.reference == ConvertReference::uniform4) return true;
    return static_cast<double>(result_.source_bytes) >
           kMemoryShare * static_cast<double>(available_memory());
  }

  void make_stand_ins() {
    reference_bits_ = kStandInBits;
    stand_ins_.reserve(layers_.size());
    for (const QuantizableLayer& layer : layers_) {
      if (layer.group_size == 0) continue;
      report("making the stand-in", stand_ins_.size(), layers_.size(), "layers");
      stand_ins_.emplace_back(*layer.matrix, layer.name,
                              QuantFormat{kStandInBits, layer.group_size}, means_.encoder,
                              std::span<const float>(), means_.threads);
      base_.push_back({layer.matrix, &stand_ins_.back().matrix()});
      release(layer);
    }
  }

  /// Lets the system take the memory behind a layer's pages in the file back.
  void release(const QuantizableLayer& layer) const {
    for (const auto& bytes : layer.matrix->stored_bytes()) model_->checkpoint()->release(bytes);
  }

  void start_runner() {
    report("running the reference", 0, 1, "pass");
    runner_.emplace(model_, means_.kv, means_.threads, texts_, options_.positions, base_);
    trace_layers(*runner_, layers_, means_.wants_importance || is_estimated());
  }

  /// Refuses rules and targets that no widths meet, before they cost hours of measuring.
  void check_target() {
    if (options_.is_optiq) return;  // its target is where it stops, whatever it takes
    const LayerProblem unmeasured(layers_, {}, fixed_, options_, *means_.encoder.scheme, 0);
    AllocationProblem problem = unmeasured.problem();
    // Which layers a floor lifts is known after the sweep; it takes the least if they are small.
    for (AllocationUnit& unit : problem.units) {
      for (AllocationChoice& choice : unit.choices) {
        choice.kl = 1.0 / static_cast<double>(unit.parameters);
      }
    }
    unit_budget(problem, allowed_choices(problem, options_.rules), options_.target_bpw);
  }

  void estimate() {
    start_runner();
    check_target();
    const SweepOptions options{options_.bits, means_.encoder};
    for (const QuantizableLayer& layer : layers_) {
      report("estimating", kl_.size(), layers_.size(), "layers");
      const bool has_choice = layer.group_size != 0 && layer.phase >= 0;
      kl_.push_back(has_choice ? weight_errors(layer, options, means_.threads)
                               : WidthDivergences{});
    }
  }

  void measure() {
    start_runner();
    check_target();
    const SweepOptions options{options_.bits, means_.encoder};
    const SharedSweep sweep{*runner_,
                            layers_,
                            options,
                            reference_bits_,
                            means_.threads,
                            checkpoint_ ? &*checkpoint_ : nullptr,
                            means_.ranks,
                            [&](std::uint64_t done, std::uint64_t total) {
                              return progress("measuring", done, total, "block passes");
                            }};
    kl_ = sweep_layers(sweep);
    runner_.reset();
  }

  void allocate() {
    const int uniform_bits = is_measured() && !is_estimated() ? reference_bits_ : 0;
    problem_.emplace(layers_, kl_, fixed_, options_, *means_.encoder.scheme, uniform_bits);
    const AllocationProblem& problem = problem_->problem();
    if (options_.is_optiq) {
      const Allocation allocation =
          allocate_greedy(problem, {options_.target_bpw, options_.rules.floor_per_block});
      take(allocation.choices, widest_bits(problem, allocation));
      result_.kl_predicted = allocation.kl;
      return;
    }
    const Allocation allocation = allocate_exact(problem, options_.rules, options_.target_bpw);
    result_.kl_predicted = allocation.kl;
    take(allocation.choices, options_.bits.back());
    if (is_measured() && !is_estimated() && options_.refinement > 0) refine(allocation.choices);
  }

  void take(const std::vector<std::size_t>& choices, int widest) {
    formats_ = problem_->formats(choices, widest);
    result_.bpw_linear = evaluate(problem_->problem(), choices).bpw_linear;
  }

  /// How many swaps cost the wanted share of the sweep.
  int swap_trials(const BlockRunner& runner) const {
    const SweepOptions options{options_.bits, means_.encoder};
    std::uint64_t work = 0;
    for (const QuantizableLayer& layer : layers_) {
      if (layer.phase >= 0) work += layer_work(runner, layer, options);
    }
    const double trials =
        options_.refinement * static_cast<double>(work) / static_cast<double>(runner.phases());
    return static_cast<int>(std::min(trials, 10000.0));
  }

  void refine(const std::vector<std::size_t>& start) {
    start_runner();
    const AllocationProblem& problem = problem_->problem();
    const auto allowed = allowed_choices(problem, options_.rules);
    const std::uint64_t budget = unit_budget(problem, allowed, options_.target_bpw);
    const int trials = swap_trials(*runner_);
    std::uint64_t done = 0;
    const AllocationMeasure measure = [&](std::span<const std::vector<std::size_t>> allocations) {
      report("refining", done, static_cast<std::uint64_t>(trials), "swaps");
      done += allocations.size();
      std::vector<double> kls;
      for (const auto& choices : allocations) kls.push_back(measured_kl(choices));
      return kls;
    };
    const Refinement refined =
        refine_allocation(problem, options_.rules, budget, start, trials, kSwapBatch, measure);
    result_.swaps_tried = refined.tried;
    result_.swaps_kept = refined.kept;
    take(refined.choices, options_.bits.back());
  }

  /// The divergence of an allocation, from the checkpoint where it has been measured before.
  double measured_kl(const std::vector<std::size_t>& choices) {
    std::string key;
    for (std::size_t u = 0; u < choices.size(); ++u) {
      key += fmt::format("{} ", problem_->problem().units[u].choices[choices[u]].bits);
    }
    key = sha256_hex(key);
    if (const auto known = checkpoint_->find_allocation(key)) return *known;
    take(choices, options_.bits.back());
    WeightVariant variant;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      if (formats_[i].bits != kKeepBits) {
        variant.push_back({layers_[i].matrix, &encoded(i, formats_[i].bits)});
      } else if (reference_bits_ != 0 && layers_[i].group_size != 0) {
        variant.push_back({layers_[i].matrix, layers_[i].matrix});
      }
    }
    const double kl = mean(runner_->divergences({&variant, 1}, [&] {
      return means_.progress && means_.progress("refining", 0, 0, "swaps");
    })[0]);
    checkpoint_->add_allocation(key, kl);
    return kl;
  }

  /// A layer's encoding; the last two widths of each layer are kept, which is what swaps go
  /// between.
  const StoredMatrix& encoded(std::size_t layer, int bits) {
    auto& kept = encoded_[layer];
    const auto found = std::ranges::find(kept, bits, [](const auto& e) { return e.first; });
    if (found != kept.end()) return found->second.matrix();
    if (kept.size() == 2) kept.erase(kept.begin());
    kept.emplace_back(bits, EncodedMatrix(*layers_[layer].matrix, layers_[layer].name,
                                          {bits, layers_[layer].group_size}, means_.encoder,
                                          layers_[layer].importance, means_.threads));
    return kept.back().second.matrix();
  }

  void write() {
    encoded_.clear();
    StagingFolder staging(out_, options_.replaces);
    const MatrixEncoder writer{means_.encoder.scheme,
                               means_.writer ? means_.writer : means_.encoder.encode};
    QuantizedFolder folder{*model_, layers_, formats_, writer};
    folder.strips_modalities = options_.modalities == UnusedModalities::stripped;
    const auto towers = model_->checkpoint()->towers();
    const bool keeps = options_.modalities == UnusedModalities::kept && !towers.empty();
    staging.require_space(written_bytes() + sidecar_size(folder) +
                          (keeps ? tower_bytes(towers) : 0));
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const QuantizableLayer& layer = layers_[i];
      result_.layers.push_back({layer.name, layer.role, layer.block, layer.matrix->rows,
                                layer.matrix->columns, formats_[i], problem_->bytes(i, formats_[i]),
                                i < kl_.size() ? kl_[i] : WidthDivergences{}});
    }
    result_.warnings = problem_->warnings();
    const WrittenFolder written = write_quantized_folder(
        folder, staging.path(), means_.threads, [&](std::uint64_t done, std::uint64_t total) {
          return !progress("writing", done / 1000000, total / 1000000, "MB");
        });
    if (keeps) {
      write_towers(towers, staging.path(), [&] { return progress("writing", 0, 0, "MB"); });
    } else if (!folder.strips_modalities && !towers.empty()) {
      result_.warnings.push_back(towers_warning(towers));
    }
    write_draft_vocabulary(staging.path());
    result_.bytes = written.bytes;
    result_.sidecar_bytes = written.sidecar_bytes;
    result_.bpw_true = 8.0 * static_cast<double>(written.bytes) /
                       static_cast<double>(parameter_count(*model_, layers_));
    write_json_file(staging.path() / "optiq_metadata.json", metadata(result_, options_));
    write_json_file(staging.path() / "sensitivity.json",
                    sensitivity_record(result_, options_, fixed_));
    report("reading back", 0, 1, "folder");
    verify_quantized_folder(folder, written, staging.path());
    measure_written(staging);
    staging.commit();
    checkpoint_->remove();
  }

  /// What a draft head chooses from: what the calibration texts use most.
  void write_draft_vocabulary(const std::filesystem::path& folder) const {
    const Model& model = model_->model();
    const void* text = model.extension(TextModel::kInterfaceId);
    if (text == nullptr || model.extension(DraftHead::kInterfaceId) == nullptr) return;
    std::vector<std::span<const std::int32_t>> texts;
    for (const CalibrationInput& input : texts_) texts.emplace_back(input.tokens);
    const int vocabulary = static_cast<const TextModel*>(text)->info().vocabulary;
    const std::string json = nlohmann::json(frequent_tokens(texts, vocabulary)).dump();
    write_file(folder / kDraftVocabularyFile, std::as_bytes(std::span(json)));
  }

  std::uint64_t written_bytes() const {
    std::uint64_t bytes = fixed_.bytes;
    for (std::size_t i = 0; i < layers_.size(); ++i) bytes += problem_->bytes(i, formats_[i]);
    return bytes;
  }

  /// Loads what was written as any user would, and measures that.
  void measure_written(const StagingFolder& staging) {
    if (texts_.empty()) return;
    const auto written = means_.load(staging.path());
    if (!runner_ || runner_->phase() != 0) start_runner();
    const auto interrupted = [&] { return progress("measuring the result", 0, 1, "pass"); };
    BlockRunner result(written, means_.kv, means_.threads, texts_, options_.positions);
    result.compare_with(*runner_);
    const ModelScore score = score_variant(result, {}, interrupted);
    result_.kl_measured = score.kl;
    result_.perplexity = score.perplexity;
    if (!options_.compares) return;
    std::vector<int> widths = options_.bits;
    std::erase(widths, kKeepBits);
    result_.uniform = uniform_results(*runner_, layers_, fixed_, widths, means_.encoder,
                                      means_.threads, interrupted);
    const std::array<int, 1> kept{kKeepBits};
    result_.source_perplexity = uniform_results(*runner_, layers_, fixed_, kept, means_.encoder,
                                                means_.threads, interrupted)[0]
                                    .perplexity;
  }

  bool progress(std::string_view stage, std::uint64_t done, std::uint64_t total,
                std::string_view unit) const {
    return means_.progress && means_.progress(stage, done, total, unit);
  }

  /// Tells, and ends where the user wants to.
  void report(std::string_view stage, std::uint64_t done, std::uint64_t total,
              std::string_view unit) const {
    if (progress(stage, done, total, unit)) throw Error(ErrorCode::interrupted, "interrupted");
  }

  std::shared_ptr<const LoadedModel> model_;
  std::vector<CalibrationInput> texts_;  ///< As the model wants to be measured with them.
  const std::filesystem::path& out_;
  const ConvertOptions& options_;
  const ConvertMeans& means_;
  std::vector<QuantizableLayer> layers_;
  FixedSize fixed_;
  bool uses_stand_in_ = false;
  int reference_bits_ = 0;  ///< Of the stand-in; 0 = none.
  std::vector<EncodedMatrix> stand_ins_;
  WeightVariant base_;
  std::optional<BlockRunner> runner_;
  std::optional<SweepCheckpoint> checkpoint_;
  std::vector<WidthDivergences> kl_;
  std::optional<LayerProblem> problem_;
  std::vector<LayerFormat> formats_;
  std::map<std::size_t, std::vector<std::pair<int, EncodedMatrix>>> encoded_;
  Conversion result_;
};

}  // namespace

Conversion convert(std::shared_ptr<const LoadedModel> model,
                   const std::vector<std::vector<std::int32_t>>& texts,
                   const std::filesystem::path& out, const ConvertOptions& options,
                   const ConvertMeans& means) {
  return Converter(std::move(model), texts, out, options, means).run();
}

}  // namespace quiver
