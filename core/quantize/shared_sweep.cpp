// The sensitivity sweep with its checkpoint, shared by the ranks of a job.
#include "core/quantize/shared_sweep.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace quiver {
namespace {

bool is_measurable(const QuantizableLayer& layer) {
  return layer.phase >= 0 && layer.group_size != 0;
}

class Sweep {
 public:
  explicit Sweep(const SharedSweep& sweep) : sweep_(sweep) {
    for (const QuantizableLayer& layer : sweep.layers) {
      if (is_measurable(layer)) total_ += layer_work(sweep.runner, layer, sweep.options);
    }
  }

  std::vector<WidthDivergences> run() {
    deal();
    SweepHooks hooks;
    hooks.wants = [&](std::size_t index) { return mine_.contains(index); };
    hooks.measured = [&](std::size_t index, const WidthDivergences& kl) { measured(index, kl); };
    hooks.interrupted = [&] {
      collect(false);
      return sweep_.progress && sweep_.progress(done_, total_);
    };
    measure_layers(sweep_.runner, sweep_.layers, sweep_.options, sweep_.reference_bits,
                   sweep_.threads, hooks);
    if (!is_root()) return {};
    while (waiting_ > 0) {
      if (sweep_.progress && sweep_.progress(done_, total_)) {
        throw Error(ErrorCode::interrupted, "interrupted");
      }
      collect(true);
    }
    return results();
  }

 private:
  bool is_root() const { return sweep_.ranks == nullptr || sweep_.ranks->rank() == 0; }

  /// Decides which layers this rank measures.
  void deal() {
    std::vector<std::size_t> open;
    std::string text;
    if (is_root()) {
      for (std::size_t i = 0; i < sweep_.layers.size(); ++i) {
        if (!is_measurable(sweep_.layers[i])) continue;
        if (is_complete(i)) {
          done_ += layer_work(sweep_.runner, sweep_.layers[i], sweep_.options);
        } else {
          open.push_back(i);
        }
      }
      text = nlohmann::json(open).dump();
    }
    if (sweep_.ranks != nullptr) {
      open = nlohmann::json::parse(sweep_.ranks->broadcast(text)).get<std::vector<std::size_t>>();
    }
    const auto ranks = static_cast<std::size_t>(sweep_.ranks == nullptr ? 1 : sweep_.ranks->size());
    const auto rank = static_cast<std::size_t>(sweep_.ranks == nullptr ? 0 : sweep_.ranks->rank());
    for (std::size_t i = 0; i < open.size(); ++i) {
      if (i % ranks == rank) mine_.insert(open[i]);
    }
    if (is_root()) waiting_ = open.size() - mine_.size();
  }

  bool is_complete(std::size_t index) const {
    const WidthDivergences* kl = sweep_.checkpoint->find(sweep_.layers[index].name);
    return kl != nullptr &&
           std::ranges::all_of(sweep_.options.bits, [&](int bits) { return kl->contains(bits); });
  }

  void measured(std::size_t index, const WidthDivergences& kl) {
    if (is_root()) {
      keep(index, kl);
      return;
    }
    nlohmann::json widths = nlohmann::json::array();
    for (const auto& [bits, value] : kl) widths.push_back({bits, value});
    sweep_.ranks->send(nlohmann::json({{"layer", index}, {"kl", widths}}).dump());
  }

  void keep(std::size_t index, const WidthDivergences& kl) {
    sweep_.checkpoint->add(sweep_.layers[index].name, kl);
    done_ += layer_work(sweep_.runner, sweep_.layers[index], sweep_.options);
  }

  /// Takes over what other ranks have sent.
  void collect(bool waits) {
    if (sweep_.ranks == nullptr || !is_root()) return;
    while (waiting_ > 0) {
      const auto text = sweep_.ranks->receive(waits);
      if (!text) return;
      const nlohmann::json json = nlohmann::json::parse(*text);
      if (json.contains("error")) {  // the other results of that rank will not come
        throw Error(static_cast<ErrorCode>(json.at("code").get<int>()), json.at("error"),
                    json.at("where"), json.at("hint"));
      }
      WidthDivergences kl;
      for (const auto& width : json.at("kl")) kl[width.at(0)] = width.at(1).get<double>();
      keep(json.at("layer"), kl);
      --waiting_;
      if (waits) return;
    }
  }

  std::vector<WidthDivergences> results() const {
    std::vector<WidthDivergences> results(sweep_.layers.size());
    for (std::size_t i = 0; i < sweep_.layers.size(); ++i) {
      if (is_measurable(sweep_.layers[i])) {
        results[i] = *sweep_.checkpoint->find(sweep_.layers[i].name);
      }
    }
    return results;
  }

  const SharedSweep& sweep_;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
  std::set<std::size_t> mine_;
  std::size_t waiting_ = 0;  // results that other ranks owe
};

}  // namespace

std::uint64_t layer_work(const BlockRunner& runner, const QuantizableLayer& layer,
                         const SweepOptions& options) {
  return static_cast<std::uint64_t>(runner.phases() - layer.phase) * options.bits.size();
}

void send_failure(Ranks& ranks, const Error& error) {
  ranks.send(nlohmann::json({{"code", static_cast<int>(error.code())},
                             {"error", error.message()},
                             {"where", error.where()},
                             {"hint", error.hint()}})
                 .dump());
}

std::vector<WidthDivergences> sweep_layers(const SharedSweep& sweep) {
  return Sweep(sweep).run();
}

}  // namespace quiver
