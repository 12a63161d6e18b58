// Measures a detector, chooses widths under a budget, and writes the quantized folder.
#include "core/quantize/convert_detector.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <quiver/error.hpp>

#include "core/model/checkpoint.hpp"
#include "core/model/staging_folder.hpp"
#include "core/plugin/sha256.hpp"
#include "core/quantize/check_weights.hpp"
#include "core/quantize/convert_records.hpp"
#include "core/quantize/detector_allocation.hpp"
#include "core/quantize/detector_folder.hpp"

namespace quiver {
namespace {

KernelFormats kernel_formats(const ConvertOptions& options) {
  KernelFormats formats{options.bits, options.group_size, options.is_optiq};
  std::erase(formats.bits, kKeepBits);
  return formats;
}

/// A sum over the pictures as the model sees them.
std::string pictures_record(const std::vector<CalibrationPicture>& pictures) {
  Sha256 sum;
  for (const CalibrationPicture& picture : pictures) {
    const std::string size = fmt::format("{} x {}\n", picture.height, picture.width);
    sum.add(std::as_bytes(std::span(size)));
    sum.add(std::as_bytes(std::span(picture.values)));
  }
  return sum.finish();
}

class DetectorConverter {
 public:
  DetectorConverter(std::shared_ptr<const LoadedModel> model,
                    const std::vector<CalibrationPicture>& pictures,
                    const std::filesystem::path& out, const ConvertOptions& options,
                    const ConvertMeans& means)
      : model_(std::move(model)),
        pictures_(pictures),
        out_(out),
        options_(options),
        means_(means),
        kernels_(model_, kernel_formats(options), means.encoder, means.threads) {}

  Conversion run() {
    const bool is_root = means_.ranks == nullptr || means_.ranks->rank() == 0;
    check();
    if (is_root) {
      StagingFolder(out_, options_.replaces);  // a place that cannot be written fails now
      checkpoint_.emplace(SweepCheckpoint::place(out_), sweep_settings(), options_.resumes,
                          options_.replaces);
    }
    check_weights(*model_, means_.threads, [&](std::size_t done, std::size_t total) {
      report("checking", done, total, "tensors");
    });
    if (is_root) {
      encode();
      check_target();
    }
    if (is_measured()) {
      measure();
    } else if (is_root) {
      estimate();
    }
    if (!is_root) return {};
    allocate();
    write();
    return std::move(result_);
  }

 private:
  bool is_measured() const {
    return options_.method == ConvertMethod::measured && !options_.is_optiq &&
           options_.sensitivity == ConvertSensitivity::exact;
  }

  void check() const {
    static_cast<void>(detector_of(*model_));
    if (is_measured() && pictures_.empty()) {
      throw Error(ErrorCode::usage, "there are no pictures to measure with", "--calibration",
                  "name a folder of pictures, or use --sensitivity weight-error");
    }
    if (kernels_.formats().bits.empty() || kernels_.chosen().empty()) {
      throw Error(ErrorCode::usage, "there is nothing to quantize", "--candidate-bits",
                  "name widths below 16");
    }
    for (const int bits : kernels_.formats().bits) {
      const bool is_known =
          std::ranges::any_of(means_.encoder.scheme->formats(), [&](const QuantFormat& format) {
            return format.bits == bits && format.group_size == options_.group_size;
          });
      if (is_known) continue;
      throw Error(ErrorCode::usage,
                  fmt::format("the scheme '{}' has no {} bits in groups of {}",
                              means_.encoder.scheme->name(), bits, options_.group_size),
                  "--candidate-bits, --group-size", "'quiver plugins inspect' lists its formats");
    }
  }

  nlohmann::json sweep_settings() const {
    nlohmann::json settings = model_record(*model_);
    settings["pictures"] = pictures_record(pictures_);
    settings["widths"] = kernels_.formats().bits;
    settings["group_size"] = options_.group_size;
    settings["encoder"] = options_.encoder_name;
    settings["scheme"] = means_.encoder.scheme->name();
    settings["sensitivity"] = is_measured() ? "exact" : "weight-error";
    return settings;
  }

  void encode() {
    std::size_t done = 0;
    for (const std::size_t index : kernels_.chosen()) {
      report("encoding", done++, kernels_.chosen().size(), "kernels");
      kernels_.candidates(index);
    }
  }

  AllocationProblem problem() {
    const bool may_keep = !options_.is_optiq && options_.bits.back() == kKeepBits;
    return detector_problem(kernels_, kl_, {may_keep, !options_.is_optiq});
  }

  /// Refuses rules and targets that no widths meet, before anything is measured.
  void check_target() {
    if (options_.is_optiq) return;  // its target is where it stops, whatever it takes
    const AllocationProblem unmeasured = problem();
    unit_budget(unmeasured, allowed_choices(unmeasured, options_.rules), options_.target_bpw);
  }

  DetectorSweep sweep() {
    return {kernels_,
            pictures_,
            means_.threads,
            checkpoint_ ? &*checkpoint_ : nullptr,
            means_.ranks,
            [&](std::uint64_t done, std::uint64_t total) {
              return progress("measuring", done, total, "block passes");
            }};
  }

  void measure() {
    result_.reference = "bf16";
    kl_ = sweep_kernels(sweep());
  }

  void estimate() {
    result_.reference = options_.method == ConvertMethod::by_rules ? "structural_rules" : "bf16";
    for (const std::size_t index : kernels_.chosen()) kl_.push_back(kernels_.damage(index));
  }

  void allocate() {
    const AllocationProblem all = problem();
    const std::vector<std::size_t> choices =
        options_.is_optiq ? allocate_detector_greedy(all, options_.target_bpw)
                          : allocate_exact(all, options_.rules, options_.target_bpw).choices;
    const Allocation sums = evaluate(all, choices);
    result_.bpw_linear = sums.bpw_linear;
    result_.bpw_true = sums.bpw_true;
    result_.kl_predicted = sums.kl;
    planned_bytes_ = sums.bytes;
    fixed_bytes_ = all.fixed_bytes;
    parameters_ = all.fixed_parameters;
    for (std::size_t u = 0; u < choices.size(); ++u) {
      bits_[kernels_.chosen()[u]] = all.units[u].choices[choices[u]].bits;
      parameters_ += all.units[u].parameters;
    }
    result_.source_bytes = model_->checkpoint()->size_bytes();
  }

  /// Every convolution of the model as it is written.
  std::vector<WrittenKernel> written_kernels() {
    std::vector<WrittenKernel> kernels;
    for (std::size_t i = 0; i < model_->weights().images().convs().size(); ++i) {
      const auto bits = bits_.find(i);
      kernels.push_back({Conv2d{static_cast<std::int32_t>(i)},
                         bits == bits_.end() ? nullptr : kernels_.find(i, bits->second)});
    }
    return kernels;
  }

  void list_layers(const std::vector<WrittenKernel>& kernels) {
    for (const WrittenKernel& kernel : kernels) {
      const auto index = static_cast<std::size_t>(kernel.conv.id);
      const Conv2dPart& conv = kernels_.part(index);
      const StoredMatrix& matrix = kernel.encoded ? kernel.encoded->matrix() : conv.matrix;
      const LayerFormat format =
          kernel.encoded ? LayerFormat{matrix.format.bits, options_.group_size} : LayerFormat{};
      const auto unit = std::ranges::find(kernels_.chosen(), index);
      const auto place = static_cast<std::size_t>(unit - kernels_.chosen().begin());
      result_.layers.push_back({conv.name, conv.role, conv.block, conv.outputs, conv.columns,
                                format, matrix.size_bytes(),
                                place < kl_.size() ? kl_[place] : WidthDivergences{}});
    }
  }

  void write() {
    const std::vector<WrittenKernel> kernels = written_kernels();
    list_layers(kernels);
    StagingFolder staging(out_, options_.replaces);
    staging.require_space(planned_bytes_);
    report("writing", 0, 1, "folder");
    result_.bytes = write_detector_folder(*model_, kernels, options_.group_size, staging.path());
    write_records(staging.path());
    report("reading back", 0, 1, "folder");
    const auto written = means_.load(staging.path());
    verify_detector_folder(*written, *model_, kernels);
    compare(written);
    staging.commit();
    checkpoint_->remove();
  }

  void compare(const std::shared_ptr<const LoadedModel>& written) {
    result_.perplexity = std::numeric_limits<double>::quiet_NaN();
    result_.source_perplexity = result_.perplexity;
    if (pictures_.empty()) return;
    const auto interrupted = [&] { return progress("comparing", 0, 1, "pass"); };
    DetectorRun before(model_, means_.threads);
    DetectorRun after(written, means_.threads);
    result_.kl_measured = mean_divergence(before, after, pictures_, interrupted);
    if (!options_.compares) return;
    result_.uniform = uniform_detectors(sweep(), fixed_bytes_, parameters_, interrupted);
  }

  /// sensitivity.json and allocation.json as the reference package has them.
  void write_records(const std::filesystem::path& folder) const {
    nlohmann::json layers = nlohmann::json::array();
    nlohmann::json allocation = nlohmann::json::object();
    std::uint64_t bits = 0;
    std::uint64_t parameters = 0;
    std::map<int, int> counts;
    for (std::size_t u = 0; u < kernels_.chosen().size(); ++u) {
      const std::size_t index = kernels_.chosen()[u];
      const std::string name = written_name(*model_, kernels_.part(index).name + ".weight");
      const auto count =
          static_cast<std::uint64_t>(kernels_.part(index).outputs * kernels_.part(index).columns);
      nlohmann::json sensitivities = nlohmann::json::object();
      for (const auto& [width, value] : kl_[u]) sensitivities[std::to_string(width)] = value;
      layers.push_back(
          {{"layer_name", name}, {"sensitivities", sensitivities}, {"param_count", count}});
      const int chosen = bits_.at(index);
      if (chosen != kKeepBits) allocation[name] = chosen;
      bits += count * static_cast<std::uint64_t>(chosen);
      parameters += count;
      ++counts[chosen];
    }
    write_json_file(folder / "sensitivity.json", layers);
    write_json_file(folder / "allocation.json",
                    {{"allocation", allocation},
                     {"achieved_bpw", static_cast<double>(bits) / static_cast<double>(parameters)},
                     {"n_high", counts[kernels_.formats().bits.back()]},
                     {"n_low", counts[kernels_.formats().bits.front()]},
                     {"total_params", parameters},
                     {"true_bpw", result_.bpw_true}});
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
  const std::vector<CalibrationPicture>& pictures_;
  const std::filesystem::path& out_;
  const ConvertOptions& options_;
  const ConvertMeans& means_;
  DetectorKernels kernels_;
  std::optional<SweepCheckpoint> checkpoint_;
  std::vector<WidthDivergences> kl_;  ///< By unit; empty = not measured yet.
  std::map<std::size_t, int> bits_;   ///< By convolution.
  std::uint64_t planned_bytes_ = 0;   ///< Of all tensors that will be written.
  std::uint64_t fixed_bytes_ = 0;
  std::uint64_t parameters_ = 0;
  Conversion result_;
};

}  // namespace

Conversion convert_detector(std::shared_ptr<const LoadedModel> model,
                            const std::vector<CalibrationPicture>& pictures,
                            const std::filesystem::path& out, const ConvertOptions& options,
                            const ConvertMeans& means) {
  return DetectorConverter(std::move(model), pictures, out, options, means).run();
}

}  // namespace quiver
