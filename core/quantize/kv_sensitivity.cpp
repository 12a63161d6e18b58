// How much a model's predictions suffer from storing each layer's keys and values in few bits.
#include "core/quantize/kv_sensitivity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <quiver/error.hpp>
#include <utility>

#include "core/decode/engine.hpp"
#include "core/eval/divergence.hpp"
#include "core/model/available_memory.hpp"
#include "core/quantize/split_pages.hpp"

namespace quiver {
namespace {

// Below this everywhere, what was measured is rounding.
constexpr double kLeastKl = 1e-6;
// Logits are made this many at a time at most.
constexpr int kLogitChunk = 1 << 25;

/// Counts what has passed through the model.
class Meter {
 public:
  Meter(const KvSweep& sweep, std::uint64_t total) : sweep_(sweep), total_(total) {}

  void add(std::size_t tokens) {
    done_ += tokens;
    if (sweep_.progress && !sweep_.progress(done_, total_)) {
      throw Error(ErrorCode::interrupted, "interrupted");
    }
  }

 private:
  const KvSweep& sweep_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
};

void check_texts(const KvSweep& sweep, std::span<const CalibrationInput> texts) {
  if (texts.empty()) throw Error(ErrorCode::bad_input, "there is no text", "calibration");
  const int vocabulary = sweep.model->text().info().vocabulary;
  for (const CalibrationInput& text : texts) {
    if (text.tokens.empty()) {
      throw Error(ErrorCode::bad_input, "a calibration text has no tokens", "calibration",
                  "leave it out");
    }
    check_token_ids(text.tokens, vocabulary);
    const auto bytes = std::uint64_t{text.tokens.size()} * static_cast<unsigned>(vocabulary) * 4;
    if (bytes > available_memory() / 2) {
      throw Error(ErrorCode::resources,
                  fmt::format("the predictions for a text take {} MB", bytes / 1000000 + 1),
                  "calibration", "take shorter texts");
    }
  }
}

/// Rows of a pass over a text: as many as their logits allow, and never part of what sees itself.
std::size_t piece_rows(const CalibrationInput& text, int vocabulary) {
  const int most = std::clamp(kLogitChunk / vocabulary, 1, Engine::kPromptGrid);
  const auto block = static_cast<std::size_t>(std::max(text.visibility.block_length, 1));
  switch (text.visibility.kind) {
    case VisibilityKind::causal:
    case VisibilityKind::alone: break;
    case VisibilityKind::canvas: return text.tokens.size();
    case VisibilityKind::block_causal:
      return std::max<std::size_t>(static_cast<std::size_t>(most) / block, 1) * block;
  }
  return static_cast<std::size_t>(most);
}

/// Runs a text through an engine; visit(first, logits) sees the logits piece by piece.
template <class Visit>
void for_each_piece(Engine& engine, const CalibrationInput& text, Meter& meter,
                    const Visit& visit) {
  const std::size_t rows = piece_rows(text, engine.info().vocabulary);
  Sequence sequence = engine.new_sequence();
  const std::span<const std::int32_t> tokens = text.tokens;
  for (std::size_t at = 0; at < tokens.size(); at += rows) {
    const Feed feed{&sequence, tokens.subspan(at, std::min(rows, tokens.size() - at)), Wanted::all,
                    RowForm::prompt, text.visibility};
    Logits logits = engine.forward({&feed, 1});
    sequence.accept(logits.rows);
    visit(at, std::move(logits));
    meter.add(feed.tokens.size());
  }
}

/// Divergences of a text's tokens, one by one.
std::vector<double> compare(Engine& engine, const CalibrationInput& text,
                            const std::vector<Logits>& reference, ThreadPool& threads,
                            Meter& meter) {
  std::vector<double> kl(text.tokens.size());
  std::size_t piece = 0;
  for_each_piece(engine, text, meter, [&](std::size_t first, const Logits& logits) {
    const Logits& want = reference[piece++];
    threads.run(logits.rows, [&](int row, int) {
      kl[first + static_cast<std::size_t>(row)] = kl_divergence(want.row(row), logits.row(row));
    });
  });
  return kl;
}

/// What the names of a block's tensors have in common: everything up to its number.
std::string block_name(const WeightStore& weights, int block) {
  const std::string number = fmt::format(".{}.", block);
  for (const LinearPart& part : weights.linears()) {
    if (part.block != block) continue;
    const std::size_t at = part.name.find(number);
    if (at != std::string::npos) return part.name.substr(0, at + number.size() - 1);
  }
  return fmt::format("layers.{}", block);
}

/// The blocks that keep keys and values, with sizes and without divergences.
std::vector<KvLayerSensitivity> kv_layers(const WeightStore& weights) {
  std::map<int, KvLayerSensitivity> layers;
  for (const KvCachePart& part : weights.kv_caches()) {
    // kv_config.json could not name one of no block; a draft head's changes no prediction.
    if (part.block < 0 || part.use == CacheUse::draft) continue;
    const auto [entry, is_new] = layers.try_emplace(part.block);
    KvLayerSensitivity& layer = entry->second;
    if (is_new) {
      layer.block = part.block;
      layer.name = block_name(weights, part.block);
      layer.kv_heads = part.kv_heads;
      layer.head_dim = part.head_dim;
    }
    layer.page_numbers += std::uint64_t{2} * KvStrategy::kTokens *
                          static_cast<unsigned>(part.kv_heads) *
                          static_cast<unsigned>(part.head_dim);
  }
  std::vector<KvLayerSensitivity> list;
  for (auto& [block, layer] : layers) list.push_back(std::move(layer));
  if (list.empty()) {
    throw Error(ErrorCode::bad_input, "no layer of the model keeps keys and values", "kv cache",
                "there is nothing to store in fewer bits");
  }
  return list;
}

/// One measurement of the sweep, and where its result goes.
struct Probe {
  std::shared_ptr<const KvStrategy> strategy;
  int bits = 0;
  WidthDivergences KvLayerSensitivity::*result = nullptr;
};

std::vector<Probe> probes_of(const KvSweep& sweep, std::span<const int> bits, bool is_apart) {
  std::vector<Probe> probes;
  for (const int width : bits) {
    auto stored = sweep.make(width, width);
    if (!is_apart) {
      probes.push_back({std::move(stored), width, &KvLayerSensitivity::kl});
      continue;
    }
    probes.push_back(
        {std::make_shared<SplitPages>(stored, sweep.full), width, &KvLayerSensitivity::key_kl});
    probes.push_back(
        {std::make_shared<SplitPages>(sweep.full, stored), width, &KvLayerSensitivity::value_kl});
  }
  return probes;
}

}  // namespace

std::vector<double> kv_divergences(const KvSweep& sweep, std::span<const CalibrationInput> texts,
                                   std::span<const KvPlan> plans) {
  check_texts(sweep, texts);
  std::uint64_t tokens = 0;
  for (const CalibrationInput& text : texts) tokens += text.tokens.size();
  Meter meter(sweep, tokens * (plans.size() + 1));
  const ComputeOptions exact{ComputeMode::exact};
  std::vector<double> sums(plans.size());
  for (const CalibrationInput& text : texts) {
    std::vector<Logits> reference;
    Engine full(sweep.model, sweep.full, sweep.threads, exact);
    for_each_piece(full, text, meter,
                   [&](std::size_t, Logits&& logits) { reference.push_back(std::move(logits)); });
    for (std::size_t i = 0; i < plans.size(); ++i) {
      Engine engine(sweep.model, plans[i], sweep.threads, exact);
      const std::vector<double> kl = compare(engine, text, reference, sweep.threads, meter);
      sums[i] += std::accumulate(kl.begin(), kl.end(), 0.0) / static_cast<double>(kl.size());
    }
  }
  for (double& sum : sums) sum = std::max(sum / static_cast<double>(texts.size()), 0.0);
  return sums;
}

KvPlan plan_of_block(const WeightStore& weights, std::shared_ptr<const KvStrategy> full, int block,
                     const std::shared_ptr<const KvStrategy>& strategy) {
  KvPlan plan(std::move(full));
  for (const KvCachePart& part : weights.kv_caches()) {
    plan.layers.push_back(part.block == block ? strategy : nullptr);
  }
  return plan;
}

std::vector<KvLayerSensitivity> measure_kv(const KvSweep& sweep,
                                           std::span<const CalibrationInput> texts,
                                           std::span<const int> bits, bool is_apart) {
  const WeightStore& weights = sweep.model->weights();
  std::vector<KvLayerSensitivity> layers = kv_layers(weights);
  const std::vector<Probe> probes = probes_of(sweep, bits, is_apart);
  std::vector<KvPlan> plans;
  for (KvLayerSensitivity& layer : layers) {
    for (const int width : bits) {
      const auto stored = sweep.make(width, width);
      for (const KvCachePart& part : weights.kv_caches()) {
        if (part.block != layer.block) continue;
        layer.page_bytes[width] += stored->page_bytes({part.kv_heads, part.head_dim});
      }
    }
    for (const Probe& probe : probes) {
      plans.push_back(plan_of_block(weights, sweep.full, layer.block, probe.strategy));
    }
  }
  const std::vector<double> measured = kv_divergences(sweep, texts, plans);
  double largest = 0;
  std::size_t next = 0;
  for (KvLayerSensitivity& layer : layers) {
    for (const Probe& probe : probes) {
      const double kl = measured[next++];
      (layer.*probe.result)[probe.bits] = kl;
      if (is_apart) layer.kl[probe.bits] += kl;
      largest = std::max(largest, kl);
    }
  }
  if (largest < kLeastKl) {
    throw Error(ErrorCode::bad_input,
                fmt::format("no layer's cache makes a difference at any width: the largest KL is "
                            "{:.1e} nats a token",
                            largest),
                "kv cache", "take longer texts, or the narrowest width for all layers");
  }
  return layers;
}

nlohmann::json kv_sensitivity_record(std::span<const KvLayerSensitivity> layers) {
  const auto by_width = [](const WidthDivergences& kl) {
    nlohmann::json json = nlohmann::json::object();
    for (const auto& [bits, value] : kl) json[std::to_string(bits)] = value;
    return json;
  };
  nlohmann::json list = nlohmann::json::array();
  for (const KvLayerSensitivity& layer : layers) {
    nlohmann::json entry = {{"layer_idx", layer.block},
                            {"layer_name", layer.name},
                            {"sensitivities", by_width(layer.kl)},
                            {"n_kv_heads", layer.kv_heads},
                            {"head_dim", layer.head_dim}};
    if (!layer.key_kl.empty()) {
      entry["k_sensitivities"] = by_width(layer.key_kl);
      entry["v_sensitivities"] = by_width(layer.value_kl);
    }
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace quiver
