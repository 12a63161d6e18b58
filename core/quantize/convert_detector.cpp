// Measures a detector, chooses widths under a budget, and writes the quantized folder.
#include "core/quantize/convert_detector.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <quiver/error.hpp>

#include "core/model/checkpoint.hpp"
#include "core/model/staging_folder.hpp"
#include "core/quantize/detection_divergence.hpp"
#include "core/quantize/detector_folder.hpp"

namespace quiver {
namespace {

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
        widths_(options.bits) {
    std::erase(widths_, kKeepBits);
    const auto convs = model_->weights().images().convs();
    for (std::size_t i = 0; i < convs.size(); ++i) {
      if (options_.is_optiq || !convs[i].is_depthwise) chosen_.push_back(i);
    }
    kl_.resize(convs.size());
  }

  Conversion run() {
    check();
    const StagingFolder probe(out_, options_.replaces);  // what cannot be written fails now
    encode();
    is_measured() ? measure() : estimate();
    allocate();
    write();
    return std::move(result_);
  }

 private:
  struct Candidate {
    int bits;
    EncodedMatrix matrix;
  };

  bool is_measured() const {
    return options_.method == ConvertMethod::measured && !options_.is_optiq &&
           options_.sensitivity == ConvertSensitivity::exact;
  }

  const Conv2dPart& part(std::size_t index) const {
    return model_->weights().images().convs()[index];
  }

  void check() const {
    static_cast<void>(detector_of(*model_));
    if (is_measured() && pictures_.empty()) {
      throw Error(ErrorCode::usage, "there are no pictures to measure with", "--calibration",
                  "name a folder of pictures, or use --sensitivity weight-error");
    }
    if (widths_.empty() || chosen_.empty()) {
      throw Error(ErrorCode::usage, "there is nothing to quantize", "--candidate-bits",
                  "name widths below 16");
    }
    for (const int bits : widths_) {
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

  void encode() {
    std::size_t done = 0;
    for (const std::size_t index : chosen_) {
      report("encoding", ++done, chosen_.size(), "kernels");
      const Conv2dPart& conv = part(index);
      kernels_.emplace(index, padded_kernel(conv, options_.group_size));
      const std::vector<float>& values = kernels_.at(index);
      if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
        throw Error(ErrorCode::bad_input, "weights that are not finite", conv.name + ".weight",
                    "use a complete checkpoint");
      }
      StoredMatrix dense;
      dense.rows = conv.outputs;
      dense.columns = padded_columns(conv.columns, options_.group_size);
      dense.dense = std::as_bytes(std::span(values));
      for (const int bits : widths_) {
        candidates_[index].push_back(
            {bits, EncodedMatrix(dense, conv.name, {bits, options_.group_size}, means_.encoder, {},
                                 means_.threads)});
      }
    }
  }

  /// By picture, so that only one picture's streams are kept at a time.
  void measure() {
    result_.reference = "bf16";
    DetectorRun run(model_, means_.threads);
    std::size_t done = 0;
    const std::size_t total = pictures_.size() * chosen_.size();
    std::vector<KeptStream> streams;
    for (const CalibrationPicture& picture : pictures_) {
      const RawDetections reference = run.trace(picture.view(), streams);
      for (const std::size_t index : chosen_) {
        report("measuring", done++, total, "kernels");
        const Conv2d conv{static_cast<std::int32_t>(index)};
        const int block = std::max(part(index).block, 0);
        for (const Candidate& candidate : candidates_.at(index)) {
          run.replace(conv, &candidate.matrix.matrix());
          const RawDetections changed =
              run.resume(picture.view(), streams[static_cast<std::size_t>(block)], block);
          kl_[index][candidate.bits] +=
              detection_divergence(reference, changed) / static_cast<double>(pictures_.size());
        }
        run.replace(conv, nullptr);
      }
    }
  }

  /// The reference package's figure counts the zeros that rows are filled up with.
  void estimate() {
    result_.reference = "structural_rules";
    for (const std::size_t index : chosen_) {
      const std::vector<float>& values = kernels_.at(index);
      std::vector<float> decoded(values.size());
      const auto padded =
          static_cast<std::size_t>(padded_columns(part(index).columns, options_.group_size));
      const auto columns = static_cast<std::size_t>(part(index).columns);
      for (const Candidate& candidate : candidates_.at(index)) {
        candidate.matrix.matrix().decode(0, part(index).outputs, decoded);
        std::vector<float> a;
        std::vector<float> b;
        for (std::size_t i = 0; i < values.size(); ++i) {
          if (i % padded >= columns) continue;
          a.push_back(values[i]);
          b.push_back(decoded[i]);
        }
        kl_[index][candidate.bits] = weight_damage(a, b);
      }
    }
  }

  /// Units in the order of chosen_, and everything else as fixed.
  AllocationProblem problem() const {
    AllocationProblem problem;
    const auto convs = model_->weights().images().convs();
    std::uint64_t kernel_bytes = 0;
    std::uint64_t kernel_elements = 0;
    for (const std::size_t index : chosen_) {
      const Conv2dPart& conv = convs[index];
      kernel_bytes += conv.matrix.size_bytes();
      kernel_elements += stored_elements(conv);
      AllocationUnit unit;
      unit.name = conv.name;
      unit.role = conv.role;
      unit.block = conv.block;
      unit.parameters = static_cast<std::uint64_t>(conv.outputs * conv.columns);
      const bool is_protected =
          !options_.is_optiq && (conv.role == Role::embedding || conv.role == Role::head);
      for (const Candidate& candidate : candidates_.at(index)) {
        if (is_protected && candidate.bits != widths_.back()) continue;
        unit.choices.push_back({candidate.bits, options_.group_size,
                                candidate.matrix.matrix().size_bytes(),
                                kl_[index].at(candidate.bits)});
      }
      if (!options_.is_optiq && options_.bits.back() == kKeepBits) {
        unit.choices.push_back({kKeepBits, 0, conv.matrix.size_bytes(), 0});
      }
      problem.units.push_back(std::move(unit));
    }
    std::uint64_t bytes = 0;
    std::uint64_t elements = 0;
    for (const std::string& name : model_->checkpoint()->names()) {
      const TensorView& tensor = *model_->checkpoint()->find(name);
      bytes += tensor.data.size();
      elements += static_cast<std::uint64_t>(tensor.elements());
    }
    problem.fixed_bytes = bytes - kernel_bytes;
    problem.fixed_parameters = elements - kernel_elements;
    return problem;
  }

  static std::uint64_t stored_elements(const Conv2dPart& conv) {
    if (conv.matrix.scheme == nullptr)
      return conv.matrix.dense.size() / size_bytes(conv.matrix.dtype);
    std::uint64_t elements = 0;
    for (int i = 0; i < conv.matrix.part_count; ++i) {
      elements += conv.matrix.parts[static_cast<std::size_t>(i)].size() / sizeof(float);
    }
    return elements;
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
    for (std::size_t u = 0; u < chosen_.size(); ++u) {
      const AllocationChoice& choice = all.units[u].choices[choices[u]];
      bits_[chosen_[u]] = choice.bits;
    }
    result_.source_bytes = model_->checkpoint()->size_bytes();
  }

  const EncodedMatrix* encoded(std::size_t index) const {
    const auto bits = bits_.find(index);
    if (bits == bits_.end() || bits->second == kKeepBits) return nullptr;
    for (const Candidate& candidate : candidates_.at(index)) {
      if (candidate.bits == bits->second) return &candidate.matrix;
    }
    return nullptr;
  }

  void write() {
    std::vector<WrittenKernel> kernels;
    const auto convs = model_->weights().images().convs();
    for (std::size_t i = 0; i < convs.size(); ++i) {
      kernels.push_back({Conv2d{static_cast<std::int32_t>(i)}, encoded(i)});
      ConvertedLayer layer;
      layer.name = convs[i].name;
      layer.role = convs[i].role;
      layer.block = convs[i].block;
      layer.rows = convs[i].outputs;
      layer.columns = convs[i].columns;
      layer.kl = kl_[i];
      const EncodedMatrix* matrix = kernels.back().encoded;
      if (matrix != nullptr) layer.format = {matrix->matrix().format.bits, options_.group_size};
      layer.bytes =
          matrix != nullptr ? matrix->matrix().size_bytes() : convs[i].matrix.size_bytes();
      result_.layers.push_back(std::move(layer));
    }
    StagingFolder staging(out_, options_.replaces);
    result_.bytes = write_detector_folder(*model_, kernels, options_.group_size, staging.path());
    write_records(staging.path());
    const auto written = means_.load(staging.path());
    verify_detector_folder(*written, *model_, kernels);
    if (!pictures_.empty()) compare(written);
    staging.commit();
  }

  void compare(const std::shared_ptr<const LoadedModel>& written) {
    DetectorRun before(model_, means_.threads);
    DetectorRun after(written, means_.threads);
    for (const CalibrationPicture& picture : pictures_) {
      report("comparing", 0, 1, "pictures");
      result_.kl_measured +=
          detection_divergence(before.run(picture.view()), after.run(picture.view())) /
          static_cast<double>(pictures_.size());
    }
  }

  /// sensitivity.json and allocation.json as the reference package has them.
  void write_records(const std::filesystem::path& folder) const {
    nlohmann::json layers = nlohmann::json::array();
    nlohmann::json allocation = nlohmann::json::object();
    std::uint64_t bits = 0;
    std::uint64_t parameters = 0;
    std::map<int, int> counts;
    for (const std::size_t index : chosen_) {
      const std::string name = written_name(*model_, part(index).name + ".weight");
      const auto count = static_cast<std::uint64_t>(part(index).outputs * part(index).columns);
      nlohmann::json sensitivities = nlohmann::json::object();
      for (const auto& [width, value] : kl_[index]) sensitivities[std::to_string(width)] = value;
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
                     {"n_high", counts[widths_.back()]},
                     {"n_low", counts[widths_.front()]},
                     {"total_params", parameters},
                     {"true_bpw", result_.bpw_true}});
  }

  void report(std::string_view stage, std::uint64_t done, std::uint64_t total,
              std::string_view unit) const {
    if (means_.progress && means_.progress(stage, done, total, unit)) {
      throw Error(ErrorCode::interrupted, "interrupted");
    }
  }

  std::shared_ptr<const LoadedModel> model_;
  const std::vector<CalibrationPicture>& pictures_;
  const std::filesystem::path& out_;
  const ConvertOptions& options_;
  const ConvertMeans& means_;
  std::vector<int> widths_;          ///< Without the one that keeps.
  std::vector<std::size_t> chosen_;  ///< Convolutions that may be quantized.
  std::map<std::size_t, std::vector<float>> kernels_;
  std::map<std::size_t, std::vector<Candidate>> candidates_;
  std::vector<WidthDivergences> kl_;  ///< By convolution.
  std::map<std::size_t, int> bits_;
  Conversion result_;
};

}  // namespace

std::vector<std::size_t> allocate_detector_greedy(const AllocationProblem& problem,
                                                  double target_bpw) {
  struct Upgrade {
    double benefit;
    std::size_t unit;
    std::size_t choice;
    double cost;
  };
  std::vector<Upgrade> upgrades;
  double parameters = 0;
  for (std::size_t u = 0; u < problem.units.size(); ++u) {
    const auto& choices = problem.units[u].choices;
    const auto count = static_cast<double>(problem.units[u].parameters);
    parameters += count;
    for (std::size_t c = 1; c < choices.size(); ++c) {
      const double cost = (choices[c].bits - choices[0].bits) * count;
      upgrades.push_back({(choices[0].kl - choices[c].kl) / cost, u, c, cost});
    }
  }
  std::ranges::stable_sort(upgrades, std::ranges::greater(), &Upgrade::benefit);
  std::vector<std::size_t> chosen(problem.units.size(), 0);
  const int narrowest = problem.units.empty() ? 0 : problem.units.front().choices.front().bits;
  double left = (target_bpw - narrowest) * parameters;
  for (const Upgrade& upgrade : upgrades) {
    if (left <= 0) break;
    if (chosen[upgrade.unit] != 0 || upgrade.cost > 1.05 * left) continue;
    chosen[upgrade.unit] = upgrade.choice;
    left -= upgrade.cost;
  }
  return chosen;
}

Conversion convert_detector(std::shared_ptr<const LoadedModel> model,
                            const std::vector<CalibrationPicture>& pictures,
                            const std::filesystem::path& out, const ConvertOptions& options,
                            const ConvertMeans& means) {
  return DetectorConverter(std::move(model), pictures, out, options, means).run();
}

}  // namespace quiver
