// Times the sensitivity sweep against whole forward passes per layer and width, with the same
// kernels and on the same texts. Prints one line of JSON.
#include "bench/load_model.hpp"
#include "bench/process_usage.hpp"
#include "core/kernels/kernel_table.hpp"
#include "core/quantize/sensitivity.hpp"

#include <quiver/error.hpp>

#include <boost/program_options.hpp>
#include <nlohmann/json.hpp>

#include <iostream>
#include <memory>
#include <optional>

namespace {

using quiver::bench::Stopwatch;

struct Settings {
  std::string model;
  std::string plugins = QUIVER_BUILD_DIR "/lib/quiver/plugins";
  std::string texts;
  int threads = 0;
  int samples = 8;
  int length = 128;
  int positions = 0;
  int group_size = 64;
  int every = 1;
  int whole = 8;
};

std::optional<Settings> parse(int argc, char** argv) {
  namespace po = boost::program_options;
  Settings s;
  po::options_description options("bench_sweep MODEL [option..]");
  const auto add = [&](const char* name, auto& target, const char* help) {
    options.add_options()(name, po::value(&target)->default_value(target), help);
  };
  options.add_options()("help", "print this help");
  add("MODEL", s.model, "model folder; the word without an option");
  add("plugin-path", s.plugins, "folder of plugins");
  add("threads", s.threads, "threads; 0 = all CPUs that this process may use");
  add("samples", s.samples, "texts");
  add("length", s.length, "tokens of a text");
  add("positions", s.positions, "scored tokens of a text; 0 = all");
  add("group-size", s.group_size, "weights that share their parameters");
  add("every", s.every, "sweep over every so many layers only");
  add("whole", s.whole, "layers whose widths are measured by whole passes; 0 = none");
  po::positional_options_description words;
  words.add("MODEL", 1);
  po::variables_map values;
  po::store(po::command_line_parser(argc, argv).options(options).positional(words).run(), values);
  po::notify(values);
  if (values.count("help") != 0 || s.model.empty()) {
    std::cout << options;
    return std::nullopt;
  }
  return s;
}

class Bench {
 public:
  explicit Bench(const Settings& settings)
      : settings_(settings),
        registry_(quiver::bench::open_registry(settings.plugins)),
        model_(quiver::bench::load_model(settings.model, registry_)),
        kv_(quiver::bench::kv_strategy("f32", registry_)),
        threads_(settings.threads) {
    const auto scheme = quiver::quant_scheme(*registry_, "affine");
    options_.bits = {4, 8};
    options_.encoder = {scheme, [scheme](auto weights, auto rows, auto columns, const auto& format,
                                         auto type, auto, auto parts) {
                          scheme->encode(weights, rows, columns, format, type, parts);
                        }};
    layers_ = quiver::quantizable_layers(*model_, *scheme, settings.group_size);
    // An embedding costs whole passes either way.
    std::erase_if(layers_, [](const auto& l) { return l.role == quiver::Role::embedding; });
    std::uint32_t state = 1;
    const auto vocabulary = static_cast<unsigned>(model_->text().info().vocabulary);
    for (int t = 0; t < settings.samples; ++t) {
      auto& text = texts_.emplace_back();
      for (int i = 0; i < settings.length; ++i) {
        state = state * 1664525U + 1013904223U;
        text.push_back(static_cast<std::int32_t>((state >> 8U) % vocabulary));
      }
    }
  }

  nlohmann::ordered_json run() {
    const double sweep = measure_sweep();
    const double whole = measure_whole(false);
    const double stacked = measure_whole(true);
    const auto probes = static_cast<double>(probes_);
    nlohmann::ordered_json json = {{"program", "quiver " QUIVER_VERSION},
                                   {"kernels", quiver::kernels().name},
                                   {"threads", threads_.threads()},
                                   {"samples", settings_.samples},
                                   {"length", settings_.length},
                                   {"positions", settings_.positions},
                                   {"probes", probes_},
                                   {"seconds", sweep},
                                   {"seconds_per_probe", sweep / probes}};
    if (settings_.whole > 0) {
      json["whole_seconds_per_probe"] = whole;
      json["speedup"] = whole / (sweep / probes);
      json["stacked_whole_seconds_per_probe"] = stacked;
      json["speedup_over_stacked"] = stacked / (sweep / probes);
    }
    return json;
  }

 private:
  double measure_sweep() {
    const Stopwatch watch;
    quiver::BlockRunner runner(model_, kv_, threads_, quiver::plain_inputs(texts_),
                               settings_.positions);
    quiver::trace_layers(runner, layers_, false);
    quiver::SweepHooks hooks;
    hooks.wants = [&](std::size_t index) {
      return index % static_cast<std::size_t>(settings_.every) == 0;
    };
    hooks.measured = [&](std::size_t, const quiver::WidthDivergences& kl) {
      probes_ += static_cast<int>(kl.size());
    };
    quiver::measure_layers(runner, layers_, options_, 0, threads_, hooks);
    return watch.read().wall;
  }

  /// Each layer and width by whole passes from the first token to the last logit, all positions
  /// scored: a pass a text, or all texts in one.
  double measure_whole(bool is_stacked) {
    if (settings_.whole == 0) return 0;
    std::vector<std::unique_ptr<quiver::BlockRunner>> runners;
    const auto add = [&](std::vector<std::vector<std::int32_t>> texts) {
      runners.push_back(std::make_unique<quiver::BlockRunner>(
          model_, kv_, threads_, quiver::plain_inputs(std::move(texts)), 0));
      runners.back()->run_reference({});
    };
    if (is_stacked) add(texts_);
    for (const auto& text : texts_) {
      if (!is_stacked) add({text});
    }
    int probes = 0;
    const Stopwatch watch;
    const std::size_t step =
        std::max<std::size_t>(1, layers_.size() / static_cast<std::size_t>(settings_.whole));
    for (std::size_t i = step / 2; i < layers_.size(); i += step) {
      for (const int bits : options_.bits) {
        const quiver::EncodedMatrix encoded(*layers_[i].matrix, layers_[i].name,
                                            quiver::QuantFormat{bits, layers_[i].group_size},
                                            options_.encoder, {}, threads_);
        const quiver::WeightVariant variant{{layers_[i].matrix, &encoded.matrix()}};
        for (const auto& runner : runners) runner->divergences({&variant, 1}, {});
        ++probes;
      }
    }
    return watch.read().wall / probes;
  }

  const Settings& settings_;
  quiver::bench::Registry registry_;
  std::shared_ptr<const quiver::LoadedModel> model_;
  std::shared_ptr<const quiver::KvStrategy> kv_;
  quiver::ThreadPool threads_;
  quiver::SweepOptions options_;
  std::vector<quiver::QuantizableLayer> layers_;
  std::vector<std::vector<std::int32_t>> texts_;
  int probes_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (quiver::is_rehearsal_call(argc, argv)) return quiver::rehearsal_main(argc, argv);
  try {
    const auto settings = parse(argc, argv);
    if (!settings) return 0;
    std::cout << Bench(*settings).run().dump() << std::endl;
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "bench_sweep: " << error.what() << "\n";
    return 1;
  }
}
