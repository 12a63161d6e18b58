// How much a model's predictions suffer from each layer's quantization.
#include "core/quantize/sensitivity.hpp"

#include <algorithm>
#include <numeric>
#include <quiver/error.hpp>
#include <unordered_map>

#include "core/quantize/folder_plan.hpp"

namespace quiver {
namespace {

/// The wanted group size, or the largest smaller one that divides the columns; 0 = none.
int fitting_group(const QuantScheme& scheme, std::int64_t columns, int wanted) {
  int best = 0;
  for (const QuantFormat& format : scheme.formats()) {
    const bool fits = format.group_size <= wanted && columns % format.group_size == 0;
    if (fits) best = std::max(best, static_cast<int>(format.group_size));
  }
  return best;
}

/// Adds the squares of rows [rows, sums.size()], column by column.
void add_squares(std::span<const float> values, int rows, std::vector<double>& sums) {
  const std::size_t columns = sums.size();
  for (int r = 0; r < rows; ++r) {
    const float* row = values.data() + static_cast<std::size_t>(r) * columns;
    for (std::size_t c = 0; c < columns; ++c) {
      sums[c] += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    }
  }
}

}  // namespace

std::vector<QuantizableLayer> quantizable_layers(const LoadedModel& model,
                                                 const QuantScheme& scheme, int group_size) {
  std::vector<QuantizableLayer> layers;
  const auto add = [&](const std::string& name, Role role, int block, const StoredMatrix& matrix,
                       int experts) {
    if (role == Role::draft_head || role == Role::tower ||
        sidecar_of(model, name + ".weight") != nullptr)
      return;
    const int group = fitting_group(scheme, matrix.columns, group_size);
    layers.push_back({name, role, block, &matrix, group, -1, {}, experts});
  };
  for (const EmbeddingPart& part : model.weights().embeddings()) {
    add(part.name, Role::embedding, part.block, part.matrix, 0);
  }
  for (const LinearPart& part : model.weights().linears()) {
    add(part.name, part.role, part.block, part.matrix, part.experts);
  }
  return layers;
}

void trace_layers(BlockRunner& runner, std::span<QuantizableLayer> layers, bool wants_importance) {
  struct Seen {
    QuantizableLayer* layer;
    std::vector<double> squares;
    std::int64_t rows = 0;
  };
  std::unordered_map<const StoredMatrix*, Seen> seen;
  for (QuantizableLayer& layer : layers) {
    layer.phase = -1;
    seen.emplace(layer.matrix, Seen{&layer, {}, 0});
  }
  runner.run_reference(
      [&](int phase, const StoredMatrix& matrix, int rows, std::span<const float> inputs) {
        const auto found = seen.find(&matrix);
        if (found == seen.end()) return;
        Seen& entry = found->second;
        int& first = entry.layer->phase;
        first = first < 0 ? phase : std::min(first, phase);
        if (!wants_importance || inputs.empty()) return;
        entry.squares.resize(static_cast<std::size_t>(matrix.columns));
        add_squares(inputs, rows, entry.squares);
        entry.rows += rows;
      });
  for (auto& [matrix, entry] : seen) {
    std::vector<float>& importance = entry.layer->importance;
    importance.clear();
    if (entry.rows == 0) continue;
    const auto rows = static_cast<double>(entry.rows);
    for (const double sum : entry.squares) importance.push_back(static_cast<float>(sum / rows));
  }
}

void measure_layers(BlockRunner& runner, std::span<const QuantizableLayer> layers,
                    const SweepOptions& options, int reference_bits, ThreadPool& threads,
                    const SweepHooks& hooks) {
  std::vector<std::size_t> order(layers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return layers[i].phase; });
  for (const std::size_t index : order) {
    const QuantizableLayer& layer = layers[index];
    if (layer.phase < 0 || layer.group_size == 0) continue;
    if (hooks.wants && !hooks.wants(index)) continue;
    while (runner.phase() < layer.phase) {
      if (hooks.interrupted && hooks.interrupted()) {
        throw Error(ErrorCode::interrupted, "interrupted");
      }
      runner.advance();
    }
    WidthDivergences kl;
    std::vector<int> widths;
    std::vector<EncodedMatrix> encoded;
    for (const int bits : options.bits) {
      if (bits == kKeepBits && reference_bits == 0) {
        kl[bits] = 0;
        continue;
      }
      if (bits == reference_bits) {
        kl[bits] = 0;
        continue;
      }
      widths.push_back(bits);
      if (bits == kKeepBits) continue;
      encoded.emplace_back(*layer.matrix, layer.name, QuantFormat{bits, layer.group_size},
                           options.encoder, layer.importance, threads);
    }
    std::vector<WeightVariant> variants;
    std::size_t next = 0;
    for (const int bits : widths) {
      const StoredMatrix* other = bits == kKeepBits ? layer.matrix : &encoded[next++].matrix();
      variants.push_back({{layer.matrix, other}});
    }
    const auto divergences = runner.divergences(variants, hooks.interrupted);
    for (std::size_t i = 0; i < widths.size(); ++i) kl[widths[i]] = mean(divergences[i]);
    if (hooks.measured) hooks.measured(index, kl);
  }
}

WidthDivergences weight_errors(const QuantizableLayer& layer, const SweepOptions& options,
                               ThreadPool& threads) {
  const StoredMatrix& matrix = *layer.matrix;
  const auto columns = static_cast<std::size_t>(matrix.columns);
  const std::vector<float> ones(layer.importance.empty() ? columns : 0, 1.0F);
  const std::vector<float>& weights = layer.importance.empty() ? ones : layer.importance;
  WidthDivergences errors;
  for (const int bits : options.bits) {
    if (bits == kKeepBits) {
      errors[bits] = 0;
      continue;
    }
    const EncodedMatrix encoded(matrix, layer.name, {bits, layer.group_size}, options.encoder,
                                layer.importance, threads);
    std::vector<double> lost(static_cast<std::size_t>(matrix.rows));
    std::vector<double> whole(lost.size());
    threads.run(static_cast<int>(matrix.rows), [&](int row, int) {
      std::vector<float> source(columns);
      std::vector<float> decoded(columns);
      matrix.decode(row, 1, source);
      encoded.matrix().decode(row, 1, decoded);
      const auto r = static_cast<std::size_t>(row);
      for (std::size_t c = 0; c < columns; ++c) {
        const double w = source[c];
        const double e = w - static_cast<double>(decoded[c]);
        lost[r] += weights[c] * e * e;
        whole[r] += weights[c] * w * w;
      }
    });
    const double total = std::accumulate(whole.begin(), whole.end(), 0.0);
    errors[bits] = total > 0 ? std::accumulate(lost.begin(), lost.end(), 0.0) / total : 0.0;
  }
  return errors;
}

double mean(const TextDivergences& texts) {
  return std::accumulate(texts.begin(), texts.end(), 0.0) / static_cast<double>(texts.size());
}

}  // namespace quiver
