// Times speculative decoding against plain decoding: what a pass of n rows costs, and how many
// tokens a second come of it where drafts come true at a given rate. A replayed continuation stands
// for the model's own drafts, whose passes are run all the same. Prints one line of JSON.
#include "bench/load_model.hpp"
#include "bench/process_usage.hpp"
#include "core/decode/drafter.hpp"
#include "core/decode/speculative_decoder.hpp"
#include "core/kernels/kernel_table.hpp"

#include <quiver/block_prediction.hpp>
#include <quiver/draft_head.hpp>
#include <quiver/error.hpp>

#include <fmt/format.h>
#include <boost/program_options.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

using quiver::Drafter;
using quiver::PassPlan;
using quiver::TextState;
using quiver::bench::median;
using quiver::bench::Stopwatch;
using Ids = std::vector<std::int32_t>;

constexpr int kPrompt = 32;

struct Settings {
  std::string model;
  std::string plugins;
  std::string activations;
  std::string kv;
  int threads = 0;
  int generated = 0;
  int runs = 0;
  std::vector<int> rows;
  std::vector<double> rates;
};

/// Runs the pass of another drafter and proposes the recorded text, each token of it with a given
/// probability, else a wrong one.
class ReplayDrafter : public Drafter {
 public:
  ReplayDrafter(std::unique_ptr<Drafter> inner, const Ids& text, double rate)
      : inner_(std::move(inner)), text_(&text), rate_(rate) {}

  void begin(const TextState& text, int count) override {
    next_ = text.history().size();
    drafts_.clear();
    inner_->begin(text, count);
  }
  const PassPlan* plan() override {
    const PassPlan* plan = inner_->plan();
    if (plan == nullptr && drafts_.empty()) replay();
    return plan;
  }
  void take(const quiver::PassResult& result) override { inner_->take(result); }
  std::span<const std::int32_t> drafts() const override { return drafts_; }
  void finish() override { inner_->finish(); }
  double seconds(const quiver::DecodeStatistics& statistics, int count, int texts) const override {
    return inner_->seconds(statistics, count, texts);
  }
  quiver::AcceptanceRates& rates(quiver::DecodeStatistics& statistics) const override {
    return inner_->rates(statistics);
  }
  int most_drafts() const override { return inner_->most_drafts(); }
  int trial_drafts() const override { return inner_->trial_drafts(); }

 private:
  void replay() {
    const std::size_t count = inner_->drafts().size();
    for (std::size_t i = 0; i < count; ++i) {
      const bool is_known = next_ + i < text_->size();
      const std::int32_t right = is_known ? (*text_)[next_ + i] : 0;
      const double uniform = static_cast<double>(random_() >> 11U) * 0x1p-53;
      drafts_.push_back(uniform < rate_ ? right : right == 0 ? 1 : 0);
    }
  }

  std::unique_ptr<Drafter> inner_;
  const Ids* text_;
  double rate_;
  std::size_t next_ = 0;
  Ids drafts_;
  quiver::bench::RandomBits random_{7};
};

/// What one way of decoding took for a text.
struct Timed {
  double seconds = 0;
  quiver::DecodeCounts counts;
};

class Bench {
 public:
  explicit Bench(const Settings& settings)
      : settings_(settings),
        threads_(settings.threads),
        registry_(quiver::bench::open_registry(settings.plugins)),
        engine_(quiver::bench::load_model(settings.model, registry_),
                quiver::bench::kv_strategy(settings.kv, registry_), threads_, compute()) {
    const auto* blocks = static_cast<const quiver::BlockPrediction*>(
        engine_.model().model().extension(quiver::BlockPrediction::kInterfaceId));
    has_head_ = engine_.model().model().extension(quiver::DraftHead::kInterfaceId) != nullptr;
    if (blocks == nullptr && !has_head_) {
      throw quiver::Error(quiver::ErrorCode::usage,
                          "the model neither predicts blocks nor has a draft head");
    }
    if (blocks != nullptr) info_ = blocks->block_prediction();
    quiver::bench::RandomBits random(1);
    for (int i = 0; i < kPrompt; ++i) {
      text_.push_back(static_cast<std::int32_t>(
          random() % static_cast<std::uint64_t>(engine_.info().vocabulary)));
    }
    // The continuation that drafts replay.
    Ids continuation;
    decode(nullptr, 1, &continuation);
    text_ = continuation;
  }

  nlohmann::ordered_json report() {
    nlohmann::ordered_json json{{"program", "quiver " QUIVER_VERSION},
                                {"kernels", quiver::kernels().name},
                                {"threads", threads_.threads()},
                                {"activations", settings_.activations},
                                {"tokens", settings_.generated}};
    // Plain and drafted runs take turns, so that both meet the same machine.
    struct Way {
      int rows;
      double rate;
      std::vector<double> ratios;
      double tokens_per_round = 0;
    };
    std::vector<Way> ways;
    for (const double rate : settings_.rates) {
      for (const int rows : settings_.rows) ways.push_back({rows, rate, {}});
    }
    std::vector<double> plain_seconds;
    for (int run = 0; run < settings_.runs; ++run) {
      for (Way& way : ways) {
        const double plain = decode(nullptr, 1).seconds;
        engine_.statistics() = {};
        const Timed drafted = decode(drafter(way.rate), way.rows);
        plain_seconds.push_back(plain);
        way.ratios.push_back(plain / drafted.seconds);
        way.tokens_per_round =
            drafted.counts.rounds == 0
                ? 0
                : static_cast<double>(drafted.counts.accepted) / drafted.counts.rounds;
      }
    }
    json["plain_tokens_per_s"] = settings_.generated / median(plain_seconds);
    measure_costs();
    const quiver::PassCosts& costs = engine_.statistics().costs;
    const double plain_pass = costs.seconds(false, 1);
    const auto draft_seconds = [&](int rows) {
      return own_drafter()->seconds(engine_.statistics(), rows - 1, 1);
    };
    for (const int rows : kCostRows) {
      json["costs"].push_back({{"rows", rows},
                               {"verify_ms", 1e3 * costs.seconds(false, rows)},
                               {"draft_ms", 1e3 * draft_seconds(rows)},
                               {"verify_of_plain", costs.seconds(false, rows) / plain_pass},
                               {"draft_of_plain", draft_seconds(rows) / plain_pass}});
    }
    for (const Way& way : ways) {
      const double round = costs.seconds(false, way.rows) + draft_seconds(way.rows);
      const bool is_fixed = way.rows > 1;
      json["ways"].push_back(
          {{"rows", way.rows},
           {"rate", way.rate},
           {"tokens_per_round", way.tokens_per_round},
           {"of_plain", median(way.ratios)},
           {"predicted_of_plain", is_fixed ? way.tokens_per_round * plain_pass / round : 0.0}});
    }
    return json;
  }

 private:
  static constexpr int kCostRows[] = {1, 2, 3, 4, 5, 6, 8, 12, 16, 32};

  quiver::ComputeOptions compute() const {
    quiver::ComputeOptions options;
    if (settings_.activations == "8") options.activations = quiver::ActivationChoice::int8;
    if (settings_.activations == "16") options.activations = quiver::ActivationChoice::int16;
    return options;
  }

  quiver::Sequence new_sequence(bool is_drafted) {
    return is_drafted && has_head_ ? engine_.new_drafted_sequence() : engine_.new_sequence();
  }

  std::unique_ptr<Drafter> own_drafter() const {
    if (has_head_) return quiver::make_head_drafter(true);
    return quiver::make_block_drafter(info_.mask_token, info_.block_length, false);
  }

  std::unique_ptr<Drafter> drafter(double rate) const {
    return std::make_unique<ReplayDrafter>(own_drafter(), text_, rate);
  }

  /// Decodes the text behind the prompt; `rows` of a round, 0 to adapt.
  Timed decode(std::unique_ptr<Drafter> drafter, int rows, Ids* whole = nullptr) {
    quiver::TextRules rules;
    rules.max_tokens = settings_.generated;
    const quiver::SamplerChain greedy;
    TextState text(greedy, rules, {text_.begin(), text_.begin() + kPrompt}, 0);
    quiver::Sequence sequence = new_sequence(drafter != nullptr);
    quiver::SpeculativeDecoder decoder(text, std::move(drafter), rows, engine_.statistics(),
                                       nullptr);
    quiver::Logits logits = engine_.feed_prompt(sequence, text.given());
    decoder.begin(logits.values);
    const Stopwatch watch;
    while (!text.is_finished()) {
      const quiver::Feed feed = decoder.plan().feed(&sequence);
      logits = engine_.forward({&feed, 1});
      sequence.accept(decoder.settle({logits.values, logits.hidden}, 1));
      engine_.reuse(std::move(logits));
    }
    const Timed timed{watch.read().wall, decoder.counts()};
    if (whole != nullptr) whole->assign(text.history().begin(), text.history().end());
    return timed;
  }

  /// Passes of many rows, drafting and verifying in turn; the engine records their times.
  void measure_costs() {
    engine_.statistics() = {};
    quiver::Sequence sequence = new_sequence(true);
    engine_.feed_prompt(sequence, std::span(text_).first(kPrompt));
    const auto drafter = own_drafter();
    quiver::TextRules rules;
    const quiver::SamplerChain greedy;
    const TextState text(greedy, rules, {text_.begin(), text_.begin() + kPrompt + 1}, 0);
    for (int run = 0; run < 12; ++run) {
      for (const int rows : kCostRows) {
        if (rows > 1 && rows - 1 <= drafter->most_drafts()) {
          drafter->begin(text, rows - 1);
          while (const PassPlan* plan = drafter->plan()) {
            const quiver::Feed draft = plan->feed(&sequence);
            quiver::Logits logits = engine_.forward({&draft, 1});
            sequence.accept(0);
            drafter->take({logits.values, logits.hidden});
          }
          drafter->finish();
        }
        const auto count = static_cast<std::size_t>(rows);
        const quiver::Feed verify{&sequence, std::span(text_).subspan(kPrompt, count),
                                  quiver::Wanted::all, quiver::RowForm::decode};
        engine_.forward({&verify, 1});
        sequence.accept(0);
      }
    }
  }

  const Settings& settings_;
  quiver::ThreadPool threads_;
  quiver::bench::Registry registry_;
  quiver::Engine engine_;
  quiver::BlockPredictionInfo info_;
  bool has_head_ = false;
  Ids text_;
};

std::unique_ptr<Settings> parse(int argc, char** argv) {
  namespace po = boost::program_options;
  auto settings = std::make_unique<Settings>();
  Settings& s = *settings;
  po::options_description options("bench_speculation MODEL [option..]");
  options.add_options()("help", "print this help");
  options.add_options()("MODEL", po::value(&s.model), "model folder; the word without an option");
  options.add_options()(
      "plugin-path", po::value(&s.plugins)->default_value(QUIVER_BUILD_DIR "/lib/quiver/plugins"),
      "folder of plugins");
  options.add_options()("threads", po::value(&s.threads)->default_value(0),
                        "threads; 0 = all CPUs that this process may use");
  options.add_options()("gen", po::value(&s.generated)->default_value(128),
                        "tokens of a text, at least 64");
  options.add_options()("runs", po::value(&s.runs)->default_value(3), "times of each way");
  options.add_options()("activations", po::value(&s.activations)->default_value("auto"),
                        "auto, 8 or 16 bits");
  options.add_options()("kv", po::value(&s.kv)->default_value("f16"), "KV strategy");
  options.add_options()("rows", po::value(&s.rows)->multitoken()->default_value({4, 0}, "4 0"),
                        "rows of a round; 0 adapts");
  options.add_options()("rates",
                        po::value(&s.rates)->multitoken()->default_value({0.9, 0.0}, "0.9 0"),
                        "probabilities that a draft comes true");
  po::positional_options_description words;
  words.add("MODEL", 1);
  po::variables_map values;
  po::store(po::command_line_parser(argc, argv).options(options).positional(words).run(), values);
  po::notify(values);
  if (values.count("help") != 0 || s.model.empty()) {
    std::cout << options;
    return nullptr;
  }
  if (s.generated < 64 || s.runs < 1) {
    throw quiver::Error(quiver::ErrorCode::usage, "--gen or --runs is too small");
  }
  return settings;
}

}  // namespace

int main(int argc, char** argv) {
  if (quiver::is_rehearsal_call(argc, argv)) return quiver::rehearsal_main(argc, argv);
  try {
    if (const auto settings = parse(argc, argv)) {
      fmt::print("{}\n", Bench(*settings).report().dump());
    }
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_speculation: {}\n", error.what());
    return 1;
  }
}
