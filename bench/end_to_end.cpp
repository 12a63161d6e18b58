// Times a model folder from start to text: load, first token, prompts, decoding. Prints one line of
// JSON, which bench/peers reads.
#include "bench/load_model.hpp"
#include "bench/process_usage.hpp"
#include "core/decode/engine.hpp"
#include "core/decode/index_of_largest.hpp"
#include "core/kernels/kernel_table.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <boost/program_options.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace {

using quiver::Sequence;
using quiver::bench::median;
using quiver::bench::Stopwatch;
using Ids = std::vector<std::int32_t>;

constexpr int kFirstPrompt = 16;

struct Settings {
  std::string model;
  std::string plugins;
  std::string compute;
  std::string activations;
  std::string kv;
  int threads = 0;
  int prompt = 0;
  int generated = 0;
  int runs = 0;
  int depth = 0;
  int fed = 0;
  int sequences = 0;
  bool takes_turns = false;
  std::vector<int> verified;
  std::uint64_t seed = 0;
};

void require(bool is_met, const char* what) {
  if (!is_met) throw quiver::Error(quiver::ErrorCode::usage, what, "command line", "see --help");
}

void check(const Settings& settings) {
  const auto is_one_of = [](const std::string& value, std::initializer_list<const char*> choices) {
    return std::ranges::find(choices, value) != choices.end();
  };
  require(!settings.model.empty(), "MODEL is missing");
  require(is_one_of(settings.compute, {"fast", "exact"}), "--compute is neither fast nor exact");
  require(is_one_of(settings.activations, {"auto", "8", "16", "32"}),
          "--activations is none of auto, 8, 16 and 32");
  require(settings.threads >= 0 && settings.threads <= 1024, "--threads is not in [0, 1024]");
  require(settings.prompt >= 0 && settings.generated >= 0, "--prompt or --gen is negative");
  require(settings.runs >= 1 && settings.depth >= 1, "--runs or --depth is below 1");
  require(settings.fed >= 0 && settings.fed % quiver::KvStrategy::kTokens == 0,
          "--fed is not a multiple of the page size");
  require(settings.sequences >= 1, "--sequences is below 1");
  require(std::ranges::all_of(settings.verified, [](int rows) { return rows >= 1; }),
          "--verify has a number below 1");
}

/// The settings, or none where only help was wanted.
std::unique_ptr<Settings> parse(int argc, char** argv) {
  namespace po = boost::program_options;
  auto settings = std::make_unique<Settings>();
  Settings& s = *settings;
  po::options_description options("bench_end_to_end MODEL [option..]");
  const auto add = [&](const char* name, auto& target, auto preset, const char* help) {
    using Value = std::decay_t<decltype(target)>;
    options.add_options()(name, po::value(&target)->default_value(Value(preset)), help);
  };
  options.add_options()("help", "print this help");
  add("MODEL", s.model, "", "model folder; the word without an option");
  add("plugin-path", s.plugins, QUIVER_BUILD_DIR "/lib/quiver/plugins", "folder of plugins");
  add("threads", s.threads, 0, "threads; 0 = all CPUs that this process may use");
  add("prompt", s.prompt, 512, "tokens of a prompt; 0 = leave prompts out");
  add("gen", s.generated, 64, "tokens to decode per sequence; 0 = leave decoding out");
  add("runs", s.runs, 1, "times that each is measured");
  add("depth", s.depth, kFirstPrompt, "tokens of context before decoding begins");
  add("fed", s.fed, 0, "tokens of the context that are fed, and then repeated; 0 = all");
  add("sequences", s.sequences, 1, "sequences that decode together");
  add("compute", s.compute, "fast", "fast or exact");
  add("activations", s.activations, "auto", "auto, 8, 16 or 32 bits");
  add("kv", s.kv, "f16", "KV strategy, NAME[:K=V,..]");
  add("seed", s.seed, 1, "chooses all prompts; change it from run to run");
  options.add_options()(
      "turns", po::bool_switch(&s.takes_turns),
      "fill the contexts, print a line, and decode once for each line of the input");
  options.add_options()("verify", po::value(&s.verified)->multitoken(),
                        "numbers of rows: time passes that verify so many drafted tokens");
  po::positional_options_description words;
  words.add("MODEL", 1);
  po::variables_map values;
  po::store(po::command_line_parser(argc, argv).options(options).positional(words).run(), values);
  po::notify(values);
  if (values.count("help") != 0) {
    std::cout << options;
    return nullptr;
  }
  check(s);
  return settings;
}

quiver::ComputeOptions compute_options(const Settings& settings) {
  quiver::ComputeOptions options;
  if (settings.compute == "exact") options.mode = quiver::ComputeMode::exact;
  if (settings.activations == "8") options.activations = quiver::ActivationChoice::int8;
  if (settings.activations == "16") options.activations = quiver::ActivationChoice::int16;
  if (settings.activations == "32") options.activations = quiver::ActivationChoice::float32;
  return options;
}

std::unique_ptr<quiver::Engine> make_engine(const Settings& settings, quiver::ThreadPool& threads) {
  const auto registry = quiver::bench::open_registry(settings.plugins);
  return std::make_unique<quiver::Engine>(quiver::bench::load_model(settings.model, registry),
                                          quiver::bench::kv_strategy(settings.kv, registry),
                                          threads, compute_options(settings));
}

/// Bytes of weights that a decoded token reads. An embedding is read whole where it is the head
/// too, i.e. where no linear is; else a row of it, which is left out.
std::size_t weight_bytes(const quiver::WeightStore& weights) {
  std::size_t bytes = 0;
  bool has_head = false;
  for (const quiver::LinearPart& part : weights.linears()) {
    bytes += part.matrix.size_bytes() + sizeof(float) * part.bias.size();
    has_head = has_head || part.role == quiver::Role::head;
  }
  for (const quiver::EmbeddingPart& part : weights.embeddings()) {
    if (!has_head) bytes += part.matrix.size_bytes();
  }
  for (const quiver::NormPart& part : weights.norms()) bytes += sizeof(float) * part.weight.size();
  for (const quiver::CausalConvPart& part : weights.causal_convs()) {
    bytes += sizeof(float) * (part.weight.size() + part.bias.size());
  }
  return bytes;
}

/// Appends the bytes from the first one on, again and again, until there are `wanted`.
void repeat(std::vector<std::byte>& bytes, std::size_t wanted) {
  const std::size_t period = bytes.size();
  bytes.resize(wanted);
  for (std::size_t i = period; i < wanted; ++i) bytes[i] = bytes[i - period];
}

/// Makes a context of `length` tokens of a shorter one of whole pages, for measuring alone: what
/// the pages hold does not change the time of a token.
void lengthen(Sequence& sequence, int length) {
  quiver::SavedSequence saved = sequence.save();
  constexpr int kPage = quiver::KvStrategy::kTokens;
  const auto pages = static_cast<std::size_t>((length + kPage - 1) / kPage);
  for (std::size_t layer = 0; layer < saved.layers.size(); ++layer) {
    const quiver::PageSizes sizes = sequence.layout().sizes(layer);
    require(sizes.fresh == 0, "--fed needs a cache without recent tokens in full");
    repeat(saved.layers[layer].bytes, pages * sizes.stored);
    saved.layers[layer].stored = static_cast<int>(pages);
  }
  saved.length = length;
  sequence.truncate(0);
  sequence.restore(saved);
}

std::int32_t likeliest(std::span<const float> logits) {
  return static_cast<std::int32_t>(quiver::index_of_largest(logits));
}

class Bench {
 public:
  explicit Bench(const Settings& settings)
      : settings_(settings),
        threads_(settings.threads),
        engine_(make_engine(settings, threads_)),
        load_seconds_(started_.read().wall) {
    Sequence sequence = engine_->new_sequence();
    first_token_ = likeliest(engine_->feed_prompt(sequence, ids(kFirstPrompt)).row(0));
    first_token_seconds_ = started_.read().wall;
  }

  void prefill() {
    const Ids prompt = ids(settings_.prompt);
    Sequence sequence = engine_->new_sequence();
    const Stopwatch watch;
    engine_->feed_prompt(sequence, prompt);
    prefill_.add(watch);
  }

  /// Fills the contexts that decode() starts from.
  void fill() {
    while (static_cast<int>(contexts_.size()) < settings_.sequences) {
      contexts_.push_back(engine_->new_sequence());
      const int fed =
          settings_.fed == 0 ? settings_.depth : std::min(settings_.fed, settings_.depth);
      engine_->feed_prompt(contexts_.back(), ids(fed), quiver::Wanted::none);
      if (fed < settings_.depth) lengthen(contexts_.back(), settings_.depth);
    }
  }

  /// Decodes behind the contexts: copies of a sequence share what lies before.
  void decode() {
    std::vector<Sequence> sequences = contexts_;
    Ids tokens = ids(settings_.sequences);
    const Stopwatch watch;
    for (int step = 0; step < settings_.generated; ++step) decode_step(sequences, tokens);
    decode_.add(watch);
  }

  /// Lets programs with contexts that take long to fill decode in turns.
  void decode_in_turns() {
    fmt::print("ready\n");
    std::fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) {
      decode();
      fmt::print("{}\n", decode_.wall.back());
      std::fflush(stdout);
    }
  }

  /// Passes over several tokens behind the first context, in turns; none of them is kept.
  void verify() {
    constexpr int kRounds = 15;
    verified_.resize(settings_.verified.size());
    Sequence sequence = contexts_.front();
    for (int round = 0; round < kRounds; ++round) {
      for (std::size_t i = 0; i < settings_.verified.size(); ++i) {
        const Ids tokens = ids(settings_.verified[i]);
        const quiver::Feed feed{&sequence, tokens, quiver::Wanted::all, quiver::RowForm::decode};
        const Stopwatch watch;
        engine_->reuse(engine_->forward({&feed, 1}));
        verified_[i].add(watch);
        sequence.accept(0);
      }
    }
  }

  nlohmann::ordered_json report() const {
    const auto rate = [](double tokens, const std::vector<double>& seconds) {
      return seconds.empty() ? 0 : tokens / median(seconds);
    };
    const quiver::bench::Memory memory = quiver::bench::memory();
    const double decoded = static_cast<double>(settings_.generated) * settings_.sequences;
    nlohmann::ordered_json passes = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < verified_.size(); ++i) {
      passes.push_back({{"rows", settings_.verified[i]}, {"ms", 1e3 * median(verified_[i].wall)}});
    }
    return {{"program", "quiver " QUIVER_VERSION},
            {"system", quiver::kernel_choice()},
            {"kernels", quiver::kernels().name},
            {"threads", threads_.threads()},
            {"compute", settings_.compute},
            {"activations", settings_.activations},
            {"kv", settings_.kv},
            {"load_ms", 1e3 * load_seconds_},
            {"first_token_ms", 1e3 * first_token_seconds_},
            {"prefill_wall_s", prefill_.wall},
            {"prefill_cpu_s", prefill_.cpu},
            {"decode_wall_s", decode_.wall},
            {"decode_cpu_s", decode_.cpu},
            {"prefill_tokens_per_s", rate(settings_.prompt, prefill_.wall)},
            {"decode_tokens_per_s", rate(decoded, decode_.wall)},
            {"weight_bytes", weight_bytes(engine_->model().weights())},
            {"context_bytes", context_bytes()},
            {"peak_bytes", memory.peak},
            {"resident_bytes", memory.now},
            {"verify", std::move(passes)},
            {"first_token", first_token_}};
  }

 private:
  /// What a decoded token reads and writes of all contexts: caches are read, states of recurrences
  /// are read and written.
  std::size_t context_bytes() const {
    std::size_t bytes = 0;
    for (const Sequence& sequence : contexts_) {
      bytes += sequence.size_bytes();
      for (const auto& recurrence : sequence.layout().recurrences) {
        bytes += recurrence.state_size * sizeof(float);
      }
    }
    return bytes;
  }

  /// The next `count` ids of the stream that the seed chooses.
  Ids ids(int count) {
    Ids result(static_cast<std::size_t>(count));
    const auto vocabulary = static_cast<std::uint64_t>(engine_->info().vocabulary);
    for (std::int32_t& id : result) id = static_cast<std::int32_t>(random_() % vocabulary);
    return result;
  }

  void decode_step(std::vector<Sequence>& sequences, Ids& tokens) {
    std::vector<quiver::Feed> feeds;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      feeds.push_back(
          {&sequences[i], {&tokens[i], 1}, quiver::Wanted::last, quiver::RowForm::decode});
    }
    quiver::Logits logits = engine_->forward(feeds);
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      sequences[i].accept(1);
      tokens[i] = likeliest(logits.row(static_cast<int>(i)));
    }
    engine_->reuse(std::move(logits));
  }

  Stopwatch started_;
  const Settings& settings_;
  quiver::bench::RandomBits random_{settings_.seed};
  quiver::ThreadPool threads_;
  std::unique_ptr<quiver::Engine> engine_;
  double load_seconds_;
  double first_token_seconds_ = 0;
  std::int32_t first_token_ = 0;    // equal models of two programs should choose the same
  std::vector<Sequence> contexts_;  // after engine_, whose pool they use
  quiver::bench::Series prefill_;
  quiver::bench::Series decode_;
  std::vector<quiver::bench::Series> verified_;  // by number of rows
};

void run(const Settings& settings) {
  Bench bench(settings);
  for (int i = 0; i < settings.runs && settings.prompt > 0; ++i) bench.prefill();
  if (settings.generated > 0) bench.fill();
  if (settings.takes_turns) bench.decode_in_turns();
  for (int i = 0; i < settings.runs && settings.generated > 0 && !settings.takes_turns; ++i) {
    bench.decode();
  }
  if (!settings.verified.empty() && settings.generated > 0) bench.verify();
  fmt::print("{}\n", bench.report().dump());
}

}  // namespace

int main(int argc, char** argv) {
  if (quiver::is_rehearsal_call(argc, argv)) return quiver::rehearsal_main(argc, argv);
  try {
    if (const auto settings = parse(argc, argv)) run(*settings);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_end_to_end: {}\n", error.what());
    return 1;
  }
}
